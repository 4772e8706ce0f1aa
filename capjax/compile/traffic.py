"""Bytes that a compiled program reads from a chip's memory and writes to it."""

from collections.abc import Sequence

from capjax.compile.hlo import Instruction, Program, size_of

# They name arrays, or give them other shapes, without moving them.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional", "after-all",
    "partition-id", "replica-id", "iota", "copy-done", "slice-done", "opt-barrier",
}  # fmt: skip


def bytes_moved(program: Program, *, unknown: int = 1) -> int:
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
        total += times * _moved(program, one, known[where])
    return total


def _moved(program: Program, one: Instruction, known: dict[str, Instruction]) -> int:
    read = [known[name].shape if name in known else "" for name in one.operands]
    if one.opcode in ("fusion", "async-start"):
        return _fused(program.computations[one.named("calls")], read, one)
    if one.opcode == "dynamic-update-slice":
        return 2 * size_of(read[1])
    if one.opcode == "dynamic-slice":
        return 2 * in_memory(one.shape)
    if one.opcode in ("copy-start", "slice-start"):  # the result names source and copy
        return size_of(one.shape.split("), ")[0]) // 2 if one.opcode == "copy-start" else in_memory(one.shape)
    return sum(map(in_memory, read)) + in_memory(one.shape)


def _fused(body: Sequence[Instruction], read: Sequence[str], one: Instruction) -> int:
    """Of a fusion: what it reads of each operand, and what it writes."""
    parameters = {each.name: int(each.operands[0]) for each in body if each.opcode == "parameter"}
    users: dict[str, list[Instruction]] = {name: [] for name in parameters}
    for each in body:
        for name in each.operands:
            if name in users:
                users[name].append(each)
    shapes, total = {each.name: each.shape for each in body}, 0
    for name, number in parameters.items():
        shape = read[number] if number < len(read) else ""
        if not in_memory(shape):
            continue
        if users[name] and all(_of_a_part(each, name) for each in users[name]):
            total += sum(size_of(each.shape) for each in users[name] if each.opcode == "dynamic-slice")
        else:
            total += in_memory(shape)
    root = next(each for each in body if each.root)
    written = [each for each in body if each.name in root.operands] if root.opcode == "tuple" else [root]
    for each in written:
        if each.opcode == "dynamic-update-slice":
            total += size_of(shapes.get(each.operands[1], ""))
        elif one.opcode == "fusion":
            total += in_memory(each.shape)
    return total


def _of_a_part(one: Instruction, name: str) -> bool:
    """Whether it reads, or writes over, a part of an array only."""
    return one.opcode in ("dynamic-slice", "dynamic-update-slice") and one.operands[0] == name


def in_memory(shape: str) -> int:
    """Bytes of the arrays of a shape that lie in the large memory: S(1) and above are on the chip."""
    return 0 if not shape else sum(size_of(part) for part in shape.split("}") if "S(" not in part)
