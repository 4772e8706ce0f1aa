"""How long simple loops take: copies, zeroes, and fusions of elementwise operations and sums.

For products and what is fused with them the compiler's cost model chooses how they are computed, and says how many
cycles that takes. For simple loops it writes the cycles of a rough count (`cost_model_type` is invalid): a plain copy
gets two and a half times what its bytes need, zeroes seven times. They are bound by memory, or by the vector unit.
"""

import re
from collections.abc import Mapping

from capjax.compile.hlo import HloProgram, Instruction, elements_of
from capjax.compile.topology import Chip
from capjax.compile.traffic import moved

# Operations of the vector unit on each number; what takes it several steps counts as so many.
_ONE = (
    "abs", "add", "and", "clamp", "compare", "convert", "maximum", "minimum", "multiply", "negate", "not", "or",
    "select", "shift-left", "shift-right-arithmetic", "shift-right-logical", "sign", "subtract", "xor",
)  # fmt: skip
_SEVERAL = (
    "divide", "erf", "exponential", "exponential-minus-one", "log", "log-plus-one", "logistic", "power", "rsqrt",
    "sqrt", "tanh",
)  # fmt: skip
_WEIGHTS = dict.fromkeys(_ONE, 1) | dict.fromkeys(_SEVERAL, 8)
# They name or place numbers without computing.
_FREE = {
    "parameter", "constant", "bitcast", "broadcast", "dynamic-slice", "dynamic-update-slice", "slice", "iota", "tuple",
    "get-tuple-element",
}  # fmt: skip


def loop_seconds(program: HloProgram, one: Instruction, known: Mapping[str, Instruction], chip: Chip) -> float | None:
    """Of an instruction without a cost model; None: it is no simple loop, or numbers change their lanes in it.

    Args:
      known: instructions of its computation, by name.
    """
    if one.opcode == "copy":
        source = known.get(one.operands[0])
        operations = None if source is None or _layout(source.shape) != _layout(one.shape) else 0
    else:
        operations = _operations(program, one)
    if operations is None:
        return None
    return max(moved(program, one, known) / chip.bandwidth, operations / chip.vector)


def _operations(program: HloProgram, one: Instruction) -> int | None:
    if one.opcode == "fusion":
        body = program.computations[one.named("calls")]
        shapes = {each.name: each.shape for each in body}
        # A sum adds every number that goes into it.
        sums = sum(elements_of(shapes[each.operands[0]]) for each in body if each.opcode == "reduce")
        counts = [_operations(program, each) for each in body if each.opcode != "reduce"]
        return None if None in counts else sums + sum(counts)
    if one.opcode in _FREE:
        return 0
    weight = _WEIGHTS.get(one.opcode)
    return None if weight is None else weight * elements_of(one.shape)


def _layout(shape: str) -> str:
    """The order of the axes of an array."""
    found = re.search(r"\{([\d,]*)", shape)
    return found[1] if found else ""
