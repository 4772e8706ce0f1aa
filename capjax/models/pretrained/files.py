"""Reads weight files to numpy arrays by name, without torch: `.pth` in both formats of torch, and `.safetensors`.

Memory and time are in proportion to the size of the file, whatever it claims to contain.
"""

import functools
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from capjax.models.pretrained.torch_pickle import Tensor, TorchPickle, WeightsError

# The legacy format starts with this number, pickled; torch.serialization.MAGIC_NUMBER.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def _array(tensor: Tensor, data) -> np.ndarray:
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
    return {str(name): _array(item, read(item.storage.key)) for name, item in items if isinstance(item, Tensor)}


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickled = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
        root = pickled[0].removesuffix("data.pkl") if pickled else ""
        if not pickled:
            raise WeightsError("it is a zip archive without data.pkl, so torch.save did not write it")
        if f"{root}constants.pkl" in names:
            raise WeightsError("it is a TorchScript program; save its state_dict() instead")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise WeightsError("it is a compressed archive, so torch.save did not write it")
        size = path.stat().st_size
        if sum(info.file_size for info in archive.infolist()) > size:
            raise WeightsError(f"its entries claim to be larger than the file of {size:,} bytes; download it again")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise WeightsError("it was written on a big-endian machine; save it again on another")
        value = TorchPickle().load(io.BytesIO(archive.read(pickled[0])))
        # Several tensors may share a storage: it is read once.
        return _arrays(value, functools.cache(lambda key: archive.read(f"{root}data/{key}")))


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if TorchPickle().load(file) != _LEGACY_MAGIC:
            raise WeightsError("it is not a file that torch.save wrote")
        TorchPickle().load(file)  # version of the protocol
        system = TorchPickle().load(file)
        if not isinstance(system, dict) or not system.get("little_endian", False):
            raise WeightsError("it was written on a big-endian machine; save it again on another")
        pickled = TorchPickle()
        value, keys = pickled.load(file), TorchPickle().load(file)
        if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
            raise WeightsError("it has no list of storages; download it again")
        data: dict[str, bytes] = {}
        left = path.stat().st_size - file.tell()
        for key in map(str, keys):
            count, storage = int.from_bytes(file.read(8), "little"), pickled.storages.get(key)
            if storage is None or storage.numel != count:
                raise WeightsError(f"the size of its storage {key} does not fit its tensors; download it again")
            left -= count * storage.dtype.itemsize
            if left < 0:  # checked before so much memory is allocated
                raise WeightsError("it ends early; download it again")
            data[key] = file.read(count * storage.dtype.itemsize)
    return _arrays(value, lambda key: data.get(key, b""))


def parse_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors in the bytes of a `.safetensors` file by name.

    Raises:
      WeightsError: they are damaged; the message does not name the file.
    """
    # Not by safetensors.numpy, which does not support bfloat16.
    dtypes = {
        "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
        "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
    }  # fmt: skip
    try:
        entries = safetensors.deserialize(data)
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
            arrays = parse_safetensors(path.read_bytes())
        else:
            arrays = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly any exception
        raise WeightsError(
            f"{path} cannot be read as a file that torch.save wrote ({type(error).__name__}: {error!s:.120}); "
            "is it whole? Download it again"
        ) from error
    if not arrays:
        raise WeightsError(f"{path} contains no dict of tensors; save model.state_dict()")
    return {name.removeprefix("module."): array for name, array in arrays.items()}
