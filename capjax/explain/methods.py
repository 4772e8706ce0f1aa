"""The registry of explanation methods, and their options.

A method is a function

  method(model: CaptionModel, batch: CaptionedBatch, options: Options) -> list[HeatMaps]

that returns the maps of each item of a batch, in order. To add one, register it here by name, add its options to
`Options`, and import its module in `capjax.explain.explainer`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from capjax.models.captioner import FEATURES
from capjax.registry import Registry, nearest

METHODS = Registry("explanation method")


@dataclass(frozen=True)
class Options:
    """Options of the methods.

    Attributes:
      attention_layer: layer of the decoder, from 0; None: the mean over layers.
      attention_head: head of that layer, or of all layers, from 0; None: the mean over heads.
      rollout: follow the attention on through the encoder's own.
      gradcam_layer: a name of `CaptionModel.layers`: `features`, the encoder's features as its connector hands them to
        the decoder, or a layer within the encoder.
      segments: of occlusion and LIME: roughly the number of superpixels of a photo, or the largest number of moments of
        a video; occlusion hides larger ones too.
      samples: perturbed inputs of LIME.
    """

    attention_layer: int | None = None
    attention_head: int | None = None
    rollout: bool = False
    gradcam_layer: str = FEATURES
    segments: int = 50
    samples: int = 1000


def make_options(options: Mapping) -> Options:
    """Returns the options of a call.

    Raises:
      ValueError: there is no such option, or its value is out of range.
    """
    names = [each.name for each in fields(Options)]
    for name in options:
        if name not in names:
            raise ValueError(f"unknown option of explanations {name!r}; {nearest(name, names)}")
    for name in ("segments", "samples"):
        if options.get(name, 2) < 2:
            raise ValueError(f"{name} = {options[name]}: expected 2 or more")
    return Options(**options)


def method_names(method: str | Sequence[str]) -> list[str]:
    """Returns the names of methods given as a sequence, or in one string separated by commas.

    Raises:
      ValueError: there is no such method, or none is given.
    """
    names = [name.strip() for name in method.split(",")] if isinstance(method, str) else list(method)
    if not names:
        raise ValueError(f"no method given; {nearest('', METHODS.names())}")
    for name in names:
        METHODS.get(name)
    return list(dict.fromkeys(names))
