"""Operations of a program, counted from what JAX traced: every trip of a scan, whatever the compiler makes of it."""

import math
from collections.abc import Mapping

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


def count_flops(traced, *, trips: int = 1) -> int:
    """Floating-point operations of matrix products and convolutions, two a multiplication with its addition, over all
    devices together; what else there is does not count, as in everyone's utilization.

    Args:
      traced: what `jax.make_jaxpr` or `jax.jit(...).trace(...).jaxpr` gives.
      trips: of a loop whose length depends on the data.
    """
    jaxpr = traced.jaxpr if isinstance(traced, ClosedJaxpr) else traced
    needed, total = {each for each in jaxpr.outvars if not isinstance(each, Literal)}, 0
    for equation in reversed(jaxpr.eqns):
        # What no result depends on is not computed.
        if equation.effects or not needed.isdisjoint(equation.outvars):
            needed.update(each for each in equation.invars if not isinstance(each, Literal))
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
        # Between the pixels of a dilated input are zeros.
        return 2 * out.size * taps // math.prod(params["lhs_dilation"])
    if name == "scan":
        return params["length"] * count_flops(params["jaxpr"], trips=trips)
    if name == "while":
        return trips * sum(count_flops(params[part], trips=trips) for part in ("body_jaxpr", "cond_jaxpr"))
    if name == "cond":
        return max(count_flops(branch, trips=trips) for branch in params["branches"])
    return sum(count_flops(inner, trips=trips) for inner in _jaxprs(params))


def _jaxprs(params: Mapping) -> list:
    """The programs among an equation's parameters: of what is jitted, rematerialised or has a gradient of its own."""
    leaves = jax.tree.leaves(dict(params), is_leaf=lambda leaf: isinstance(leaf, Jaxpr | ClosedJaxpr))
    return [leaf for leaf in leaves if isinstance(leaf, Jaxpr | ClosedJaxpr)]
