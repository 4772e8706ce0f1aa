"""Bytes that a compiled program reads from a chip's memory and writes to it."""

import re
from collections.abc import Mapping, Sequence

from capjax.compile.collectives import kind_of
from capjax.compile.hlo import HloProgram, Instruction, size_of

_ARRAY = re.compile(r"\w+\[[\d,]*\]")
_TILED = re.compile(r"(?P<dtype>\w+)\[(?P<sides>[\d,]+)\]\{(?P<order>[\d,]+):T\((?P<tile>[\d,]+)\)")

# They name arrays, or give them other shapes, without moving them.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional", "after-all",
    "partition-id", "replica-id", "iota", "copy-done", "slice-done", "opt-barrier",
}  # fmt: skip


def bytes_moved(program: HloProgram, *, unknown: int = 1) -> int:
    """Of one chip. Arrays that the compiler keeps on the chip do not count, nor do the parts of a stack of layers that
    are not read.

    Args:
      unknown: trips of a loop that does not say.
    """
    total, known = 0, {}
    for one, times, where in program.runs(unknown):
        if one.opcode in FREE or one.opcode.endswith("-done"):
            continue
        if where not in known:
            known[where] = {each.name: each for each in program.computations[where]}
        total += times * moved(program, one, known[where])
    return total


def moved(program: HloProgram, one: Instruction, known: Mapping[str, Instruction]) -> int:
    """Of one run of an instruction; `known` are those of its computation, by name."""
    read = [known[name].shape if name in known else "" for name in one.operands]
    if one.opcode in ("fusion", "async-start"):
        return _fused(program, program.computations[one.named("calls")], read, one)
    if one.opcode == "dynamic-update-slice":
        return 2 * size_of(read[1])
    if one.opcode == "dynamic-slice":
        return 2 * in_memory(one.shape)
    if one.opcode in ("copy-start", "slice-start"):
        # The result names both, a copy before its source, a slice behind it; either may lie on the chip.
        source, part = [each for each in one.shape.split("}") if _ARRAY.search(each)][:2]
        return padded_size(part) * (("S(" not in source) + ("S(" not in part))
    return sum(map(in_memory, read)) + in_memory(one.shape)


def _fused(program: HloProgram, body: Sequence[Instruction], read: Sequence[str], one: Instruction) -> int:
    """Of a fusion: what it reads of each operand, and what it writes. One that moves an exchange along beside its own
    computing hands the exchanged arrays on: they count where the exchange is done."""
    root = next(each for each in body if each.root)
    written = [each for each in body if each.name in root.operands] if root.opcode == "tuple" else [root]
    if any(each.opcode == "parameter" for each in written):
        ends = any(each.target == "AsyncCollectiveDone" for each in body)
        aside = {each.name for each in body if kind_of(each) and not ends} | {root.name}
        body = [each for each in body if each.name not in aside]
        written = [each for each in written if each.opcode != "parameter" and each.name not in aside]
    total = 0
    for each in body:
        if each.opcode == "parameter":
            number = int(each.operands[0])
            whole = in_memory(read[number]) if number < len(read) else 0
            total += min(whole, _read(program, body, each.name, whole)) if whole else 0
    shapes = {each.name: each.shape for each in body}
    for each in written:
        if each.opcode == "dynamic-update-slice":
            total += padded_size(shapes.get(each.operands[1], ""))
        elif one.opcode == "fusion":
            total += in_memory(each.shape)
    return total


def _read(program: HloProgram, body: Sequence[Instruction], name: str, whole: int) -> int:
    """Bytes that a fusion reads of an array of `whole` bytes, by its name there: of a stack of layers mostly one."""
    total = 0
    for each in body:
        if name not in each.operands:
            continue
        if each.opcode in ("dynamic-slice", "slice", "gather") and each.operands[0] == name:
            total += padded_size(each.shape)
        elif each.opcode == "bitcast":
            total += _read(program, body, each.name, whole)
        elif each.opcode == "fusion":
            inner = program.computations[each.named("calls")]
            places = {str(place) for place, operand in enumerate(each.operands) if operand == name}
            names = [one.name for one in inner if one.opcode == "parameter" and one.operands[0] in places]
            total += sum(_read(program, inner, one, whole) for one in names)
        elif each.opcode != "dynamic-update-slice" or each.operands[0] != name:  # which writes over a part
            total += whole
    return total


def in_memory(shape: str) -> int:
    """Bytes of the arrays of a shape that lie in the large memory."""
    return sum(size for _, size in arrays_in_memory(shape))


def arrays_in_memory(shape: str) -> list[tuple[str, int]]:
    """("bf16[8,128]", bytes) of each array of a shape that lies in the large memory: S(1) and above are on the chip."""
    parts = [part for part in shape.split("}") if "S(" not in part]
    # A layout in braces follows its array; scalars, which have none, stand before.
    return [(found[-1], padded_size(part)) for part in parts if (found := _ARRAY.findall(part))]


def padded_size(shape: str) -> int:
    """Bytes of one array with what fills its tiles: of a [196, 64] array in tiles of 8 x 128 each row is 128 wide."""
    found = _TILED.search(shape)
    if found is None:
        return size_of(shape)
    sides, order, tile = ([int(each) for each in found[name].split(",")] for name in ("sides", "order", "tile"))
    for axis, length in zip(order, reversed(tile), strict=False):  # both from the minor axis on
        sides[axis] = -(-sides[axis] // length) * length
    return size_of(f"{found['dtype']}[{','.join(map(str, sides))}]")
