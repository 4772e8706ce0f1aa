"""Reads weight files to numpy arrays by name, without torch: `.pth` in both formats of torch, and `.safetensors`.

A `.pth` file is a pickle, which can run any program when it is loaded. It is read by an unpickler that accepts a dozen
names: tensors, their storages and OrderedDict. Any other name in the file is an error.
"""

import functools
import io
import math
import pickle  # noqa: S403 - only pickletools' constants and a restricted Unpickler are used
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors


class WeightsError(ValueError):
    """Weights that cannot be used; the message names the file and the remedy."""


# The legacy format starts with this number, pickled; torch.serialization.MAGIC_NUMBER.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


@dataclass(frozen=True, slots=True)
class _Storage:
    """Reference to a storage in a file: the key of its bytes, their type and the number of entries."""

    key: str
    dtype: np.dtype
    numel: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor whose bytes have not been read yet."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _AllowedCall:
    """A function that a file may call. It has no attributes, so that a file cannot modify it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable):
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name, value):
        raise TypeError("this object cannot be modified")

    def __call__(self, *args):
        return self._call(*args)


def _rebuild_tensor(storage, offset, shape, strides, *_) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise WeightsError("a tensor has no storage")
    shape, strides = tuple(int(n) for n in shape), tuple(int(n) for n in strides)
    size = math.prod(shape)
    last = int(offset) + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if min((*shape, *strides, offset, 0)) < 0 or (size and last >= storage.numel) or size > storage.numel:
        raise WeightsError(f"a tensor of shape {shape} does not fit into its storage of {storage.numel} entries")
    return _Tensor(storage, int(offset), shape, strides)


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _AllowedCall(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _AllowedCall(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _AllowedCall(lambda tensor, *_: tensor),
    ("torch", "Size"): _AllowedCall(tuple),
    **{("torch", name): _AllowedCall(lambda: None) for name in _STORAGES},
}
_DTYPES = {id(_ALLOWED["torch", name]): np.dtype(dtype) for name, dtype in _STORAGES.items()}


class _Unpickler(pickle.Unpickler):
    """An unpickler that accepts the names in `_ALLOWED`, and collects the storages of tensors by key."""

    def __init__(self, file):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise WeightsError(
                f"it contains {module}.{name}, and only tensors are read. Save the weights alone: "
                "torch.save(model.state_dict(), path), or safetensors"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid):
        kind, storage, key, _, numel, *view = pid
        if kind != "storage" or id(storage) not in _DTYPES or (view and view[0] is not None):
            raise WeightsError(f"it refers to a {kind!r} of an unknown kind")
        self.storages[str(key)] = _Storage(str(key), _DTYPES[id(storage)], int(numel))
        return self.storages[str(key)]


def _array(tensor: _Tensor, data) -> np.ndarray:
    storage = tensor.storage
    if len(data) < storage.numel * storage.dtype.itemsize:
        raise WeightsError("it ends early; download it again")
    flat = np.frombuffer(data, storage.dtype, storage.numel)
    strides = [n * storage.dtype.itemsize for n in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)


def _arrays(value, read: Callable[[str], bytes]) -> dict[str, np.ndarray]:
    """The arrays of a state dict, or of a checkpoint that holds one; `read` returns the bytes of a storage."""
    for key in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    items = value.items() if isinstance(value, dict) else ()
    return {str(name): _array(item, read(item.storage.key)) for name, item in items if isinstance(item, _Tensor)}


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickled = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
        root = pickled[0].removesuffix("data.pkl") if pickled else ""
        if not pickled:
            raise WeightsError("it is a zip archive without data.pkl, so torch.save did not write it")
        if f"{root}constants.pkl" in names:
            raise WeightsError("it is a TorchScript program; save its state_dict() instead")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise WeightsError("it was written on a big-endian machine; save it again on another")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise WeightsError("it is a compressed archive, so torch.save did not write it")
        value = _Unpickler(io.BytesIO(archive.read(pickled[0]))).load()
        # Several tensors may share a storage: it is read once.
        return _arrays(value, functools.cache(lambda key: archive.read(f"{root}data/{key}")))


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if _Unpickler(file).load() != _LEGACY_MAGIC:
            raise WeightsError("it is not a file that torch.save wrote")
        _Unpickler(file).load()  # version of the protocol
        if not _Unpickler(file).load().get("little_endian", False):
            raise WeightsError("it was written on a big-endian machine; save it again on another")
        unpickler = _Unpickler(file)
        value, keys = unpickler.load(), [str(key) for key in _Unpickler(file).load()]
        data: dict[str, bytes] = {}
        left = path.stat().st_size - file.tell()
        for key in keys:
            count, storage = int.from_bytes(file.read(8), "little"), unpickler.storages.get(key)
            if storage is None or storage.numel != count:
                raise WeightsError(f"the size of its storage {key} does not fit its tensors; download it again")
            if count * storage.dtype.itemsize > left:  # checked before so much memory is allocated
                raise WeightsError("it ends early; download it again")
            data[key] = file.read(count * storage.dtype.itemsize)
    return _arrays(value, lambda key: data.get(key, b""))


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    # Not by safetensors.numpy, which does not support bfloat16.
    dtypes = {
        "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
        "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
    }  # fmt: skip
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise WeightsError(f"it is not a whole safetensors file ({error}); download it again") from error
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in dtypes:
            raise WeightsError(f"{name} has type {entry['dtype']}, which is not supported")
        arrays[name] = np.frombuffer(entry["data"], dtypes[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a `.pth`, `.pt`, `.bin` or `.safetensors` file by name.

    The file may be a training checkpoint with a state dict under `state_dict` or `model`. The prefix `module.` of
    DistributedDataParallel is removed.

    Raises:
      FileNotFoundError: no such file.
      WeightsError: the file is not a weight file, is damaged, or contains other objects than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            arrays = _read_safetensors(path)
        else:
            arrays = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly any exception
        raise WeightsError(
            f"{path} cannot be read as a file that torch.save wrote ({type(error).__name__}: {error}); "
            "is it whole? Download it again"
        ) from error
    if not arrays:
        raise WeightsError(f"{path} contains no dict of tensors; save model.state_dict()")
    return {name.removeprefix("module."): array for name, array in arrays.items()}
