"""Time of simple loops: copies, zero fills, and fusions of elementwise operations and sums.

For matrix products and their fusions the compiler's cost model gives the cycles. For simple loops it writes rough
counts (`cost_model_type` is invalid) that are several times too high; they are bound by memory or by the vector unit.
"""

import re

from capjax.compile.hlo import HloProgram, Instruction, elements_of
from capjax.compile.memory_traffic import moved
from capjax.compile.topology import Chip

# Vector-unit operations per element, by opcode.
_SINGLE = (
    "abs", "add", "and", "clamp", "compare", "convert", "maximum", "minimum", "multiply", "negate", "not", "or",
    "select", "shift-left", "shift-right-arithmetic", "shift-right-logical", "sign", "subtract", "xor",
)  # fmt: skip
_TRANSCENDENTAL = (
    "divide", "erf", "exponential", "exponential-minus-one", "log", "log-plus-one", "logistic", "power", "rsqrt",
    "sqrt", "tanh",
)  # fmt: skip
_FREE = (
    "parameter", "constant", "bitcast", "broadcast", "dynamic-slice", "dynamic-update-slice", "slice", "iota", "tuple",
    "get-tuple-element",
)  # fmt: skip
_OPERATIONS = dict.fromkeys(_FREE, 0) | dict.fromkeys(_SINGLE, 1) | dict.fromkeys(_TRANSCENDENTAL, 8)


def loop_seconds(program: HloProgram, instruction: Instruction, chip: Chip) -> float | None:
    """Returns the seconds of a copy or loop fusion; None for other instructions and where elements change lanes."""
    if instruction.opcode == "copy":
        source = program.siblings(instruction).get(instruction.operands[0])
        same_layout = source is not None and _layout(source.shape) == _layout(instruction.shape)
        operations = 0 if same_layout else None
    else:
        operations = _operations(program, instruction)
    if operations is None:
        return None
    return max(moved(program, instruction) / chip.bandwidth, operations / chip.vector)


def _operations(program: HloProgram, instruction: Instruction) -> int | None:
    if instruction.opcode != "fusion":
        weight = _OPERATIONS.get(instruction.opcode)
        return None if weight is None else weight * elements_of(instruction.shape)
    body = program.body_of(instruction)
    shapes = {one.name: one.shape for one in body}
    total = 0
    for one in body:
        # A sum adds every element of its operand.
        operations = elements_of(shapes[one.operands[0]]) if one.opcode == "reduce" else _operations(program, one)
        if operations is None:
            return None
        total += operations
    return total


def _layout(shape: str) -> str:
    """The order of the axes of an array."""
    match = re.search(r"\{([\d,]*)", shape)
    return match[1] if match else ""
