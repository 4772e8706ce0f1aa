"""Hand-written gradients, a way to do without them, and gradients that explain.

Several operations here have a gradient of their own, faster or smaller than what JAX derives. Such a gradient serves
reverse mode, once: `jax.jvp`, and with it second derivatives, needs the operation that JAX can differentiate itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps

import jax

from capjax.parallel.sharding_rules import by_slice

_PLAIN: ContextVar[bool] = ContextVar("plain_gradients", default=False)


@contextmanager
def plain_gradients() -> Iterator[None]:
    """Within this context models are traced without hand-written gradients.

    Needed for `jax.jvp`, `jax.jacfwd` and second derivatives, whose values equal those of the hand-written gradients up
    to rounding, at the price of speed. A program that `jax.jit` traced outside the context stays as it is: call
    `jax.jit` again for a function to use within the context.

    >>> with plain_gradients():
    ...     jax.jvp(lambda images: jax.nn.logsumexp(model(images)), (images,), (direction,))
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


_HOLD: ContextVar[bool] = ContextVar("weights_held", default=False)


@contextmanager
def weights_held() -> Iterator[None]:
    """Within this context the gradients of models treat attention weights and the scale of layer norms as constants.

    The outputs of models stay the same.

    Activation times gradient then is the contribution of an activation to the output, through what was attended to
    rather than through where it was attended (Ali et al. 2022, "XAI for Transformers: Better Explanations through
    Conservative Propagation"). With the derivative of a layer norm the products of its input would sum to 0.
    """
    token = _HOLD.set(True)
    try:
        yield
    finally:
        _HOLD.reset(token)


def are_weights_held() -> bool:
    """Whether a model is traced within `weights_held`."""
    return _HOLD.get()


def hold(x: jax.Array) -> jax.Array:
    """Returns x; within `weights_held` it is constant in gradients."""
    return jax.lax.stop_gradient(x) if _HOLD.get() else x


def custom_gradient(forward: Callable, backward: Callable, *, nondiff_argnums=()) -> Callable:
    """Decorator that gives a function its own gradient, except within `plain_gradients`.

    Args:
      forward, backward, nondiff_argnums: as in `jax.custom_vjp`.
    """

    def decorate(function: Callable) -> Callable:
        fast = jax.custom_vjp(function, nondiff_argnums=nondiff_argnums)
        fast.defvjp(forward, backward)

        @wraps(function)
        def call(*args):
            return (function if _PLAIN.get() else fast)(*args)

        return call

    return decorate


def by_platform(cpu: Callable, default: Callable) -> Callable:
    """Returns one differentiable function of arrays that is computed one way on CPU and another way elsewhere.

    Each way has its own gradient. The backward pass keeps the arguments alone and computes anew what else it needs.
    """

    def compute(*args):
        return jax.lax.platform_dependent(*args, cpu=cpu, default=default)

    def gradient(function, saved, dout):
        return jax.vjp(function, *saved)[1](dout)

    def backward(saved, dout):
        ways = {"cpu": partial(gradient, cpu), "default": by_slice(partial(gradient, default))}
        return jax.lax.platform_dependent(saved, dout, **ways)

    return custom_gradient(lambda *args: (compute(*args), args), backward)(compute)
