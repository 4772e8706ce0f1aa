"""Reads the pickles in files of torch.save, without unpickling them.

A pickle is a program that can call any function, and a few bytes of it can ask for gigabytes: a length or an index far
beyond the file, references that are nested such that each level is several times as large as the one below. Its opcodes
are therefore interpreted here. Of the objects in the file only tensors, their storages and containers are made, at a
cost in proportion to the length of the pickle.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import ml_dtypes
import numpy as np


class WeightsError(ValueError):
    """Weights that cannot be used; the message names the file and the remedy."""


STORAGES = {
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
# Names that a file may contain.
_ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
    *(("torch", name) for name in STORAGES),
}
# Limits far above those of real files: opcodes of a pickle, bytes of one of its values, and dimensions of a tensor.
_MAX_OPCODES, _MAX_VALUE, _MAX_DIMENSIONS = 5_000_000, 2**26, 64
# Types of keys that have a hash at a cost in proportion to their size. Tuples have not: their entries may be shared.
_KEYS = (str, bytes, int, float, type(None))


@dataclass(frozen=True, slots=True)
class Storage:
    """Reference to a storage in a file: the key of its bytes, their type and the number of entries."""

    key: str
    dtype: np.dtype
    numel: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor whose bytes have not been read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """A function or class that the file names."""

    module: str
    name: str


class _BoundedFile:
    """A file from which no value larger than the limit is read, whatever its length field says."""

    def __init__(self, file: BinaryIO):
        self._file, self.tell = file, file.tell

    def read(self, size: int) -> bytes:
        if size > _MAX_VALUE:
            raise WeightsError(f"it asks for a value of {size:,} bytes")
        return self._file.read(size)

    def readline(self) -> bytes:
        return self._file.readline(_MAX_VALUE)


class TorchPickle:
    """Interpreter of one pickle.

    Attributes:
      storages: the storages that its tensors refer to, by key.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._opcodes = self._copied = 0

    def load(self, file: BinaryIO) -> Any:
        """Returns the value of the pickle at the position of a file, which is afterwards at its end.

        Dicts and OrderedDicts are dicts, without entries whose key is no text or number; sets are lists.

        Raises:
          WeightsError: it contains other objects, or something that torch.save does not write.
        """
        for opcode, argument, _ in pickletools.genops(cast(BinaryIO, _BoundedFile(file))):
            self._opcodes += 1
            if self._opcodes > _MAX_OPCODES:
                raise WeightsError(f"it has more than {_MAX_OPCODES:,} entries; save model.state_dict() alone")
            if opcode.name == "STOP":
                return self._stack.pop()
            if opcode.name in _CONSTANTS:
                self._stack.append(argument if opcode.arg else _CONSTANTS[opcode.name]())
            elif action := _ACTIONS.get(opcode.name):
                action(self, argument)
            else:
                raise WeightsError(f"it contains the opcode {opcode.name}, which torch.save does not write")
        raise WeightsError("it ends early; download it again")

    # ---- Opcodes

    def _mark(self, argument):
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _pop(self, argument):
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def _duplicate(self, argument):
        self._stack.append(self._stack[-1])

    def _make_list(self, argument):
        self._stack.append(self._since_mark())

    def _make_tuple(self, argument):
        self._stack.append(tuple(self._since_mark()))

    def _make_short_tuple(self, count: int):
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def _make_dict(self, argument):
        items = self._since_mark()
        self._stack.append(_updated({}, zip(items[::2], items[1::2], strict=True)))

    def _append(self, items: list):
        if type(self._stack[-1]) is not list:
            raise WeightsError("it appends to something else than a list")
        self._stack[-1].extend(items)

    def _set_items(self, items: list):
        if type(self._stack[-1]) is not dict:
            raise WeightsError("it sets entries of something else than a dict")
        _updated(self._stack[-1], zip(items[::2], items[1::2], strict=True))

    def _put(self, index):
        self._memo[int(index)] = self._stack[-1]

    def _memoize(self, argument):
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index):
        self._stack.append(self._memo[int(index)])

    def _name(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise WeightsError(
                f"it contains {module:.80}.{name:.80}, and only tensors are read. Save the weights alone: "
                "torch.save(model.state_dict(), path), or safetensors"
            )
        self._stack.append(_Name(module, name))

    def _name_of_stack(self, argument):
        name, module = self._stack.pop(), self._stack.pop()
        self._name(str(module) if type(module) is str else "", name if type(name) is str else "")

    def _build(self, argument):
        self._stack.pop()  # attributes, such as _metadata of a state dict
        if type(self._stack[-1]) is not dict:
            raise WeightsError("it sets attributes of something else than an OrderedDict")

    def _persistent(self, argument):
        pid = self._stack.pop()
        if type(pid) is not tuple or not 5 <= len(pid) <= 6:
            raise WeightsError("it refers to something of an unknown kind")
        kind, storage, key, _, numel, *view = pid
        is_storage = isinstance(storage, _Name) and storage.module == "torch" and storage.name in STORAGES
        if kind != "storage" or not is_storage or type(key) not in (str, int) or (view and view[0] is not None):
            raise WeightsError("it refers to a storage of an unknown kind")
        (count,) = _sizes((numel,))
        self.storages[str(key)] = Storage(str(key), np.dtype(STORAGES[storage.name]), count)
        self._stack.append(self.storages[str(key)])

    def _call(self, argument):
        arguments, function = self._stack.pop(), self._stack.pop()
        if type(arguments) is not tuple or not isinstance(function, _Name):
            raise WeightsError("it calls something that is no function")
        self._stack.append(self._result(function.name, arguments))

    def _result(self, name: str, arguments: tuple) -> Any:
        if name.startswith("_rebuild_tensor") and len(arguments) >= 4:
            return _rebuild_tensor(*arguments[:4])
        if name == "_rebuild_parameter" and arguments and isinstance(arguments[0], Tensor):
            return arguments[0]
        if name in ("OrderedDict", "Size") and not arguments:
            return {} if name == "OrderedDict" else ()
        if name in ("OrderedDict", "Size") and len(arguments) == 1 and type(arguments[0]) in (list, tuple):
            (items,) = arguments
            self._copied += len(items)
            if self._copied > self._opcodes:  # the same list, copied again and again
                raise WeightsError("it copies its lists over and over")
            if name == "Size":
                return tuple(items)
            if all(type(item) in (list, tuple) and len(item) == 2 for item in items):
                return _updated({}, items)
        raise WeightsError(f"it calls {name} with arguments that torch.save does not write")


def _updated(target: dict, items) -> dict:
    target.update((key, value) for key, value in items if isinstance(key, _KEYS))
    return target


def _sizes(values: object) -> tuple[int, ...]:
    if type(values) is not tuple or len(values) > _MAX_DIMENSIONS or not all(type(n) is int for n in values):
        raise WeightsError("a tensor has a shape that is no tuple of whole numbers")
    if not all(0 <= n < 2**63 for n in values):
        raise WeightsError("a tensor has a negative or impossible size")
    return values


def _rebuild_tensor(storage, offset, shape, strides) -> Tensor:
    if not isinstance(storage, Storage):
        raise WeightsError("a tensor has no storage")
    (offset,), shape, strides = _sizes((offset,)), _sizes(shape), _sizes(strides)
    size = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if (size and last >= storage.numel) or size > storage.numel:
        raise WeightsError(f"a tensor of shape {shape} does not fit into its storage of {storage.numel} entries")
    return Tensor(storage, offset, shape, strides)


# Opcodes that put a value on the stack: their argument, or what the function returns.
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict, "EMPTY_SET": list,
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
         "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
         "BINBYTES8", "BYTEARRAY8"),
        str,
    ),
}  # fmt: skip
_ACTIONS: dict[str, Callable[[TorchPickle, Any], None]] = {
    "PROTO": lambda pickle, argument: None,
    "FRAME": lambda pickle, argument: None,
    "MARK": TorchPickle._mark,
    "POP": TorchPickle._pop,
    "POP_MARK": lambda pickle, argument: pickle._since_mark().clear(),
    "DUP": TorchPickle._duplicate,
    "LIST": TorchPickle._make_list,
    "TUPLE": TorchPickle._make_tuple,
    "FROZENSET": TorchPickle._make_tuple,
    "TUPLE1": lambda pickle, argument: pickle._make_short_tuple(1),
    "TUPLE2": lambda pickle, argument: pickle._make_short_tuple(2),
    "TUPLE3": lambda pickle, argument: pickle._make_short_tuple(3),
    "DICT": TorchPickle._make_dict,
    "APPEND": lambda pickle, argument: pickle._append([pickle._stack.pop()]),
    "APPENDS": lambda pickle, argument: pickle._append(pickle._since_mark()),
    "ADDITEMS": lambda pickle, argument: pickle._append(pickle._since_mark()),
    "SETITEM": lambda pickle, argument: pickle._set_items([pickle._stack.pop(-2), pickle._stack.pop()]),
    "SETITEMS": lambda pickle, argument: pickle._set_items(pickle._since_mark()),
    "PUT": TorchPickle._put,
    "BINPUT": TorchPickle._put,
    "LONG_BINPUT": TorchPickle._put,
    "MEMOIZE": TorchPickle._memoize,
    "GET": TorchPickle._get,
    "BINGET": TorchPickle._get,
    "LONG_BINGET": TorchPickle._get,
    "GLOBAL": lambda pickle, argument: pickle._name(*argument.split(" ", 1)),
    "INST": lambda pickle, argument: pickle._name(*argument.split(" ", 1)),
    "STACK_GLOBAL": TorchPickle._name_of_stack,
    "BINPERSID": TorchPickle._persistent,
    "REDUCE": TorchPickle._call,
    "BUILD": TorchPickle._build,
}
