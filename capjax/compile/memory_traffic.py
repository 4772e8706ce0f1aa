"""Memory traffic of a compiled program: bytes read from and written to a chip's main memory (HBM)."""

import re
from collections.abc import Sequence

from capjax.compile.collectives import kind_of
from capjax.compile.hlo import HloProgram, Instruction, size_of

_ARRAY = re.compile(r"\w+\[[\d,]*\]")
_TILED = re.compile(r"(?P<dtype>\w+)\[(?P<sides>[\d,]+)\]\{(?P<order>[\d,]+):T\((?P<tile>[\d,]+)\)")

# Opcodes that name or reshape arrays without moving them.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional", "after-all",
    "partition-id", "replica-id", "iota", "copy-done", "slice-done", "opt-barrier",
}  # fmt: skip


def bytes_moved(program: HloProgram, *, default_trips: int = 1) -> int:
    """Returns the memory traffic of one chip, in bytes.

    Arrays that the compiler keeps in on-chip memory do not count, nor do the layers of a stack that are not read.

    Args:
      default_trips: trips of a loop whose length is unknown.
    """
    return sum(
        count * moved(program, instruction)
        for instruction, count in program.runs(default_trips)
        if instruction.opcode not in FREE and not instruction.opcode.endswith("-done")
    )


def moved(program: HloProgram, instruction: Instruction) -> int:
    """Returns the memory traffic of one run of an instruction, in bytes."""
    siblings = program.siblings(instruction)
    operands = [siblings[name].shape if name in siblings else "" for name in instruction.operands]
    if instruction.opcode in ("fusion", "async-start"):
        return _moved_by_fusion(program, instruction, operands)
    if instruction.opcode == "dynamic-update-slice":
        return 2 * size_of(operands[1])
    if instruction.opcode == "dynamic-slice":
        return 2 * in_memory(instruction.shape)
    if instruction.opcode in ("copy-start", "slice-start"):
        # The shape names source and result, a copy's result first, a slice's second; either may be on the chip.
        first, second = [part for part in instruction.shape.split("}") if _ARRAY.search(part)][:2]
        return padded_size(second) * (("S(" not in first) + ("S(" not in second))
    return sum(map(in_memory, operands)) + in_memory(instruction.shape)


def _moved_by_fusion(program: HloProgram, fusion: Instruction, operands: Sequence[str]) -> int:
    """The bytes that a fusion reads of each operand and writes.

    A fusion that moves a collective along beside its own computation passes the collective's arrays through: they count
    where the collective ends.
    """
    body = program.body_of(fusion)
    root = next(one for one in body if one.root)
    results = [one for one in body if one.name in root.operands] if root.opcode == "tuple" else [root]
    if any(one.opcode == "parameter" for one in results):
        ends = any(one.custom_call_target == "AsyncCollectiveDone" for one in body)
        passed_through = {one.name for one in body if kind_of(one) and not ends} | {root.name}
        body = [one for one in body if one.name not in passed_through]
        results = [one for one in results if one.opcode != "parameter" and one.name not in passed_through]
    total = 0
    for parameter in (one for one in body if one.opcode == "parameter"):
        number = int(parameter.operands[0])
        size = in_memory(operands[number]) if number < len(operands) else 0
        total += min(size, _read(program, body, parameter.name, size)) if size else 0
    shapes = {one.name: one.shape for one in body}
    for result in results:
        if result.opcode == "dynamic-update-slice":
            total += padded_size(shapes.get(result.operands[1], ""))
        elif fusion.opcode == "fusion":
            total += in_memory(result.shape)
    return total


def _read(program: HloProgram, body: Sequence[Instruction], name: str, size: int) -> int:
    """The bytes that a fusion reads of its array `name` of `size` bytes: of a stack of layers usually one layer."""
    total = 0
    for user in body:
        if name not in user.operands:
            continue
        if user.opcode in ("dynamic-slice", "slice", "gather") and user.operands[0] == name:
            total += padded_size(user.shape)
        elif user.opcode == "bitcast":
            total += _read(program, body, user.name, size)
        elif user.opcode == "fusion":
            inner = program.body_of(user)
            numbers = {str(number) for number, operand in enumerate(user.operands) if operand == name}
            parameters = [one.name for one in inner if one.opcode == "parameter" and one.operands[0] in numbers]
            total += sum(_read(program, inner, parameter, size) for parameter in parameters)
        elif user.opcode != "dynamic-update-slice" or user.operands[0] != name:  # which overwrites a part
            total += size
    return total


def in_memory(shape: str) -> int:
    """Returns the bytes of the arrays of a shape that lie in main memory."""
    return sum(size for _, size in arrays_in_memory(shape))


def arrays_in_memory(shape: str) -> list[tuple[str, int]]:
    """Returns ("bf16[8,128]", bytes) of each array of a shape in main memory; memory spaces S(1) and up are on chip."""
    parts = [part for part in shape.split("}") if "S(" not in part]
    # A layout in braces follows its array; scalars, which have none, come before it.
    return [(arrays[-1], padded_size(part)) for part in parts if (arrays := _ARRAY.findall(part))]


def padded_size(shape: str) -> int:
    """Returns the bytes of one array with its padding: in tiles of 8 x 128 each row of a [196, 64] array has 128."""
    match = _TILED.search(shape)
    if match is None:
        return size_of(shape)
    sides, order, tile = ([int(part) for part in match[name].split(",")] for name in ("sides", "order", "tile"))
    for axis, length in zip(order, reversed(tile), strict=False):  # both from the minor axis on
        sides[axis] = -(-sides[axis] // length) * length
    return size_of(f"{match['dtype']}[{','.join(map(str, sides))}]")
