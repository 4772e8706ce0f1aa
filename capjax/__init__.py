"""From photos and videos to captions: training, decoding and scoring in JAX.

>>> import capjax
>>> capjax.load("runs/demo").caption(["photo.jpg"])
"""

import importlib

from capjax import _deprecated

__all__ = ["explain", "load"]

_deprecated.install()


def __getattr__(name: str):
    if name == "explain":  # a package that is also a function, imported on use, since it imports JAX
        return importlib.import_module("capjax.explain")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(workdir, *, plugins=(), **decode):
    """The trained model of a workdir: see `capjax.predict.load`."""
    try:
        from capjax.predict import load  # imported on use, since it imports JAX
    except ModuleNotFoundError as error:
        from capjax import extras

        raise ModuleNotFoundError(extras.explain(error) or str(error), name=error.name) from error
    return load(workdir, plugins=plugins, **decode)
