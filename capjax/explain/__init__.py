"""Explanations of captions: attention, Grad-CAM and other heat maps of what each word was written from.

>>> import capjax
>>> model = capjax.load("runs/demo/model")
>>> explanations = capjax.explain(model, ["photo.jpg"], method="attention,gradcam")
>>> explanations[0].map("attention", "dog").values
"""

import sys
from types import ModuleType

from capjax.explain.explainer import explain, explain_each
from capjax.explain.explanation import Explanation, Geometry, HeatMaps, Word, load, save
from capjax.explain.methods import METHODS

__all__ = ["METHODS", "Explanation", "Geometry", "HeatMaps", "Word", "explain", "explain_each", "load", "save"]


class _CallableModule(ModuleType):
    """`capjax.explain` is this package, and importing any module of it sets the attribute of `capjax` to the package:
    a function of that name would be replaced. So the package itself is callable."""

    def __call__(self, *args, **kwargs) -> list[Explanation]:
        return explain(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
