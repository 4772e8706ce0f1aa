"""Floating-point operations of a traced program, every trip of a scan included."""

import math
from collections.abc import Mapping

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


def count_flops(traced, *, trips: int = 1) -> int:
    """Returns the floating-point operations of matrix products and convolutions, over all devices together.

    A multiplication with its addition counts as two; other operations do not count, as in model-FLOPs utilization.

    Args:
      traced: a jaxpr, from `jax.make_jaxpr` or `jax.jit(...).trace(...).jaxpr`.
      trips: trips of a loop whose length depends on the data.
    """
    jaxpr = traced.jaxpr if isinstance(traced, ClosedJaxpr) else traced
    needed, total = {var for var in jaxpr.outvars if not isinstance(var, Literal)}, 0
    for equation in reversed(jaxpr.eqns):
        # Equations that no result depends on are not computed.
        if equation.effects or not needed.isdisjoint(equation.outvars):
            needed.update(var for var in equation.invars if not isinstance(var, Literal))
            total += _flops(equation, trips)
    return total


def _flops(equation, trips: int) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left, out = equation.invars[0].aval, equation.outvars[0].aval
        return 2 * out.size * math.prod(left.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, out, numbers = equation.invars[1].aval, equation.outvars[0].aval, params["dimension_numbers"]
        taps = kernel.size // kernel.shape[numbers.rhs_spec[0]]
        # A dilated input has zeros between its pixels.
        return 2 * out.size * taps // math.prod(params["lhs_dilation"])
    if name == "scan":
        return params["length"] * count_flops(params["jaxpr"], trips=trips)
    if name == "while":
        return trips * sum(count_flops(params[part], trips=trips) for part in ("body_jaxpr", "cond_jaxpr"))
    if name == "cond":
        return max(count_flops(branch, trips=trips) for branch in params["branches"])
    return sum(count_flops(inner, trips=trips) for inner in _jaxprs(params))


def _jaxprs(params: Mapping) -> list:
    """The jaxprs among an equation's parameters: of jit, rematerialization and custom gradients."""
    leaves = jax.tree.leaves(dict(params), is_leaf=lambda leaf: isinstance(leaf, Jaxpr | ClosedJaxpr))
    return [leaf for leaf in leaves if isinstance(leaf, Jaxpr | ClosedJaxpr)]
