"""Reads the weights of a graph model of TensorFlow.js: `NAME.json`, and the files of bytes that it lists."""

import math
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np

from capjax.metrics.json_types import Rule, check_type
from capjax.metrics.strict_json import parse
from capjax.models.pretrained.torch_pickle import WeightsError

_DTYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "bool": "?"}
_Shape = Annotated[list[int], Rule("a list of lengths", lambda shape: all(length >= 0 for length in shape))]
# A name in the folder of the JSON file, so that no other file is read.
_FileName = Annotated[str, Rule("the name of a file", lambda name: Path(name).name == name)]


class _Quantization(TypedDict):
    dtype: str


class _Tensor(TypedDict):
    name: str
    shape: _Shape
    dtype: str
    quantization: NotRequired[_Quantization]


class _Group(TypedDict):
    paths: list[_FileName]
    weights: list[_Tensor]


def read_graph_model(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a graph model by name, as they are stored.

    Args:
      path: the JSON file. The files that it lists lie in the same folder.

    Raises:
      FileNotFoundError: there is no such file, or one that it lists is missing.
      WeightsError: it is no graph model, or the files do not have the sizes of its tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no graph model at {path}; give the JSON file of a model of TensorFlow.js")
    data: Any = parse(path)
    groups = data.get("weightsManifest") if isinstance(data, dict) else None
    if not isinstance(groups, list) or not groups:
        raise WeightsError(f"{path}: it has no weightsManifest, so it is no graph model of TensorFlow.js")
    tensors: dict[str, np.ndarray] = {}
    for number, group in enumerate(groups):
        try:
            check_type(group, _Group, f"weightsManifest[{number}]")
        except ValueError as error:
            raise WeightsError(f"{path}: {error}; download it again") from error
        tensors |= _read_group(path, group)
    return tensors


def _read_group(path: Path, group: _Group) -> dict[str, np.ndarray]:
    """Reads the tensors of one entry of the manifest, which lie one after another in its files."""
    layout = []
    for tensor in group["weights"]:
        stored = tensor.get("quantization", {"dtype": tensor["dtype"]})["dtype"]
        if stored not in _DTYPES:
            raise WeightsError(
                f"{path}: {tensor['name']:.80} is stored as {stored:.20}; only {', '.join(_DTYPES)} are supported"
            )
        layout.append((tensor["name"], tensor["shape"], np.dtype(_DTYPES[stored])))
    files = [path.with_name(name) for name in group["paths"]]
    if missing := [file for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{missing[0]} is missing; {path.name} lists it. Put both into one folder")
    expected = sum(math.prod(shape) * dtype.itemsize for _, shape, dtype in layout)
    size = sum(file.stat().st_size for file in files)
    if size != expected:  # checked before the files are read
        names = ", ".join(map(str, files))
        raise WeightsError(
            f"{names}: {size:,} bytes, but the tensors of {path.name} take {expected:,}; download both again"
        )
    data, start = b"".join(file.read_bytes() for file in files), 0
    tensors = {}
    for name, shape, dtype in layout:
        count = math.prod(shape)
        tensors[name] = np.frombuffer(data, dtype, count, start).reshape(shape)
        start += count * dtype.itemsize
    return tensors
