"""Checks arrays against the shapes and dtypes that capjax gives in signatures, with jaxtyping and beartype."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, get_args

import beartype
import jaxtyping

# Packages whose functions are checked: those with arrays in signatures.
PACKAGES = ("capjax.data", "capjax.decode", "capjax.explain", "capjax.models", "capjax.parallel", "capjax.train")

# An int can stand for a float.
_TYPE_CHECK = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def install_shape_checks():
    """From now on the functions and dataclasses of PACKAGES check their arrays. Call it before capjax is imported."""
    jaxtyping.install_import_hook(PACKAGES, f"{__name__}.check_arrays")


@contextmanager
def without_shape_checks() -> Iterator[None]:
    """Within this context nothing is checked, for tests of the errors that users get."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def check_arrays(function: Callable) -> Callable:
    """The type checker of the import hook. It checks the arrays of a signature alone: mypy checks all other types, of
    which tests pass doubles."""
    hints = {name: hint for name, hint in function.__annotations__.items() if any(_arrays_of(hint))}
    if not hints:
        return function
    function.__annotations__ = hints
    for hint in hints.values():
        for array in _arrays_of(hint):
            if array.array_type is jaxtyping.Array:
                array.array_type = Any  # a NumPy array can stand for one of JAX, and a shape in abstract evaluation
    checked = _TYPE_CHECK(function)
    return _unless_pytree(checked) if function.__name__ == "__init__" else checked


def _arrays_of(hint) -> Iterator[Any]:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        yield hint
    for part in get_args(hint):
        yield from _arrays_of(part)


def _unless_pytree(init: Callable) -> Callable:
    """The check of a dataclass's arrays, except of pytrees: JAX creates them with leaves of any kind."""

    @wraps(init)
    def check(self, *args, **kwargs):
        if not hasattr(type(self), "_flax_dataclass"):
            init(self, *args, **kwargs)

    return check
