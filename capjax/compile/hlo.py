"""HLO text of compiled programs: computations, how often each instruction runs, and the source line it comes from."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

_BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4, "s64": 8, "u64": 8,
    "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16,
}  # fmt: skip
_PACKAGE = "capjax/"
# Search radius of `HloProgram.cause`, in instructions.
_CAUSE_RADIUS = 12
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = (?P<rest>.*)$")


def _arrays(shape: str) -> list[tuple[str, int]]:
    """(dtype, elements) of each array of a shape."""
    return [(dtype, math.prod(map(int, sides.split(","))) if sides else 1) for dtype, sides in _ARRAY.findall(shape)]


def sizes_of(shape: str) -> list[int]:
    """Returns the bytes of each array of a shape in HLO's notation (one array or a tuple), without padding."""
    return [int(n * _BYTES.get(dtype, 1 if dtype.startswith("f8") else 0)) for dtype, n in _arrays(shape)]


def size_of(shape: str) -> int:
    """Returns the bytes of all arrays of a shape, as `sizes_of`."""
    return sum(sizes_of(shape))


def elements_of(shape: str) -> int:
    """Returns the number of elements of all arrays of a shape."""
    return sum(n for _, n in _arrays(shape))


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction of an HLO computation.

    Attributes:
      shape: of the result, in HLO's notation.
      operands: names; of a constant its value, of a parameter its number.
      attributes: the text behind the operands.
      root: whether it is the result of its computation.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    attributes: str
    root: bool

    def _find(self, pattern: str) -> str | None:
        match = re.search(pattern, self.attributes)
        return match[1] if match else None

    @property
    def bytes(self) -> int:
        return size_of(self.shape)

    @property
    def cycles(self) -> int | None:
        """The compiler's estimate of its cycles; None where there is none."""
        cycles = self._find(r'"estimated_cycles":"(\d+)"')
        return int(cycles) if cycles else None

    @property
    def has_cost_model(self) -> bool:
        """Whether `cycles` comes from the compiler's cost model; otherwise it is a rough count."""
        return '"cost_model_type":"COST_MODEL_TYPE_INVALID"' not in self.attributes

    def called(self, attribute: str) -> str:
        """The name of the computation in an attribute such as `body`; empty where it has no such attribute."""
        return self._find(rf"\b{attribute}=%?([\w.\-]+)") or ""

    @property
    def frame(self) -> int | None:
        frame = self._find(r"stack_frame_id=(\d+)")
        return int(frame) if frame else None

    @property
    def op_name(self) -> str:
        """The path of names from JAX; empty for instructions that the compiler made."""
        return self._find(r'op_name="([^"]*)"') or ""

    @property
    def channel(self) -> str | None:
        """The id that the parts of one collective share."""
        return self._find(r"channel_id=(\d+)")

    @property
    def host_transfer(self) -> tuple[str, str] | None:
        """(kind of collective, name shared by its `send` and `recv`) of a transfer between slices, which their hosts
        carry out; None for other instructions."""
        kind = self._find(r'_xla_megascale_transfer_type="(\w+)"')
        name = self._find(r'_xla_host_transfer_rendezvous="([^"]*)"')
        return (kind.lower().replace("_", "-"), name) if kind and name else None

    @property
    def custom_call_target(self) -> str | None:
        return self._find(r'custom_call_target="([^"]*)"')


@dataclass
class HloProgram:
    """A compiled program.

    Attributes:
      computations: {name: {name of an instruction: instruction}}, instructions in the order of their schedule.
      entry: the name of the computation that runs first.
    """

    computations: dict[str, dict[str, Instruction]]
    entry: str
    _tables: dict[str, dict[int, str]] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "HloProgram":
        """Parses the text of `compiled.as_text()`.

        Raises:
          ValueError: the text has no entry computation.
        """
        computations: dict[str, dict[str, Instruction]] = {}
        tables: dict[str, dict[int, str]] = {}
        entry = ""
        computation, table = None, None
        for line in text.splitlines():
            if not line or line == "}":
                computation = table = None
            elif computation is not None:
                if match := _INSTRUCTION.match(line):
                    instruction = _parse_instruction(match)
                    computation[instruction.name] = instruction
            elif match := _COMPUTATION.match(line):
                computation = computations[match["name"]] = {}
                entry = match["name"] if match["entry"] else entry
            elif line in ("FileNames", "FunctionNames", "FileLocations", "StackFrames"):
                table = tables[line] = {}
            elif table is not None:
                number, _, rest = line.partition(" ")
                table[int(number)] = rest
        if not entry:
            raise ValueError("no program: the text has no ENTRY computation")
        return cls(computations, entry, tables)

    def siblings(self, instruction: Instruction) -> dict[str, Instruction]:
        """Returns the instructions of an instruction's computation, by name."""
        return self.computations[self._homes[instruction.name]]

    def body_of(self, fusion: Instruction) -> list[Instruction]:
        """Returns the instructions that a fusion or an asynchronous call is made of."""
        return list(self.computations[fusion.called("calls")].values())

    def trips(self, loop: Instruction) -> int | None:
        """Returns how often the body of a `while` runs; None where that depends on the data or is not recognized.

        It is the constant that the counter, which starts at 0, is compared with, over the counter's increment.
        """
        condition = self.computations[loop.called("condition")]
        constants = {name: one for name, one in condition.items() if one.opcode == "constant"}
        limits = []
        for instruction in condition.values():
            if _is_less_than(instruction) and instruction.operands[1] in constants:
                increment = self._increment(loop, instruction.operands[0])
                limits.append((_value(constants[instruction.operands[1]]), increment))
            elif instruction.opcode == "fusion":  # around the comparison, with its constant outside or inside
                body = self.body_of(instruction)
                if any(map(_is_less_than, body)):
                    candidates = [constants[name] for name in instruction.operands if name in constants]
                    candidates += [one for one in body if one.opcode == "constant"]
                    counters = [name for name in instruction.operands if name not in constants]
                    increment = max((self._increment(loop, name) for name in counters), default=1)
                    limits += [(_value(constant), increment) for constant in candidates]
        trips = [-(-limit // increment) for limit, increment in limits if limit is not None]
        return trips[0] if len(trips) == 1 else None

    def _increment(self, loop: Instruction, counter: str) -> int:
        """The increment of the counter that a loop's condition reads under this name; 1 where it is not recognized."""
        body = self.computations[loop.called("body")]
        read = self.computations[loop.called("condition")].get(counter)
        index = read._find(r"\bindex=(\d+)") if read else None
        root = _root(body.values())
        if index is None or root.opcode != "tuple":
            return 1
        following = body.get(root.operands[int(index)])
        if following is None or following.opcode != "add":
            return 1
        added = [body[name] for name in following.operands if name in body and body[name].opcode == "constant"]
        return (_value(added[0]) or 1) if len(added) == 1 else 1

    def runs(self, default_trips: int = 1) -> Iterator[tuple[Instruction, int]]:
        """Yields every instruction with how often it runs; those inside fusions are not listed.

        Args:
          default_trips: trips of a loop whose length is unknown.
        """
        yield from self._runs(self.entry, 1, default_trips)

    def _runs(self, computation: str, count: int, default_trips: int):
        for instruction in self.computations[computation].values():
            yield instruction, count
            bodies, trips = self.bodies(instruction, default_trips)
            for body in bodies:
                yield from self._runs(body, count * trips, default_trips)

    def bodies(self, instruction: Instruction, default_trips: int) -> tuple[list[str], int]:
        """Returns (names of computations, number of times) that a loop, a call or a conditional runs, of whose several
        branches one runs; no names for other instructions.

        Args:
          default_trips: trips of a loop whose length is unknown.
        """
        if instruction.opcode == "while":
            trips = self.trips(instruction)
            return [instruction.called("body")], default_trips if trips is None else trips
        if instruction.opcode == "call":
            return [instruction.called("to_apply")], 1
        if instruction.opcode != "conditional":
            return [], 0
        if names := instruction._find(r"branch_computations=\{([^}]*)\}"):
            return [name.strip().lstrip("%") for name in names.split(",")], 1
        branches = map(instruction.called, ("true_computation", "false_computation"))
        return [name for name in branches if name], 1

    @cached_property
    def _frames(self) -> dict[int, tuple[int, int]]:
        """{stack frame: (file location, parent frame)}."""
        pattern = re.compile(r"file_location_id=(\d+)(?: parent_frame_id=(\d+))?")
        matches = {number: pattern.search(text) for number, text in self._tables.get("StackFrames", {}).items()}
        return {number: (int(match[1]), int(match[2] or 0)) for number, match in matches.items() if match}

    def source(self, instruction: Instruction) -> str:
        """Returns the innermost `file:line` in capjax of an instruction's call stack; empty where there is none."""
        locations, names = self._tables.get("FileLocations", {}), self._tables.get("FileNames", {})
        frame = instruction.frame
        while frame in self._frames:
            location, parent = self._frames[frame]
            match = re.search(r"file_name_id=(\d+) .*?\bline=(\d+)", locations.get(location, ""))
            if match and _PACKAGE in (path := names.get(int(match[1]), "").strip('"')):
                return f"{_PACKAGE}{path.rpartition(_PACKAGE)[2]}:{match[2]}"
            # Parents are counted from 1 up: a frame whose parent equals itself is the outermost.
            frame = parent - 1 if parent else None
        return ""

    def cause(self, instruction: Instruction, *, uses: bool) -> str:
        """Returns the `file:line` behind an instruction that the compiler made, or made of several.

        It is the `source` of the nearest instruction that uses the result, if `uses`, else of the nearest that an
        operand comes from; of equally near ones up to three; of the other direction where this one finds none.
        """
        for along_uses in (uses, not uses):
            visited, ring = {instruction.name}, [instruction]
            for _ in range(_CAUSE_RADIUS):
                if sources := list(dict.fromkeys(filter(None, map(self._source_inside, ring)))):
                    return ", ".join(sources[:3])
                neighbors = {one.name: one for member in ring for one in self._neighbors(member, along_uses)}
                ring = [one for name, one in neighbors.items() if name not in visited]
                visited.update(neighbors)
        return ""

    def _source_inside(self, instruction: Instruction) -> str:
        """The source of an instruction, else of the last one inside it that has one."""
        body = self.body_of(instruction) if instruction.opcode == "fusion" else ()
        return next(filter(None, map(self.source, (instruction, *reversed(body)))), "")

    def _neighbors(self, instruction: Instruction, uses: bool) -> list[Instruction]:
        """The users of an instruction in its computation, or its operands."""
        home = self._homes[instruction.name]
        if uses:
            return self._users[home].get(instruction.name, [])
        siblings = self.computations[home]
        operands = [siblings[name] for name in instruction.operands if name in siblings]
        if (
            instruction.opcode == "get-tuple-element"
            and home in self._loop_bodies
            and operands[0].opcode == "parameter"
        ):
            # The value comes from the loop's previous trip.
            root = _root(siblings.values())
            index = int(instruction._find(r"\bindex=(\d+)") or 0)
            operands += [siblings[root.operands[index]]] if root.opcode == "tuple" else []
        return operands

    @cached_property
    def _homes(self) -> dict[str, str]:
        """{instruction: its computation}."""
        return {name: computation for computation, body in self.computations.items() for name in body}

    @cached_property
    def _loop_bodies(self) -> set[str]:
        instructions = (one for body in self.computations.values() for one in body.values())
        return {one.called("body") for one in instructions if one.opcode == "while"}

    @cached_property
    def _users(self) -> dict[str, dict[str, list[Instruction]]]:
        """{computation: {instruction: those that it is an operand of}}."""
        users: dict[str, dict[str, list[Instruction]]] = {computation: {} for computation in self.computations}
        for computation, body in self.computations.items():
            for instruction in body.values():
                for operand in dict.fromkeys(instruction.operands):
                    users[computation].setdefault(operand, []).append(instruction)
        return users


def _root(body) -> Instruction:
    return next(instruction for instruction in body if instruction.root)


def _is_less_than(instruction: Instruction) -> bool:
    return instruction.opcode == "compare" and "direction=LT" in instruction.attributes


def _value(constant: Instruction) -> int | None:
    return int(constant.operands[0]) if constant.operands and constant.operands[0].isdigit() else None


def _parse_instruction(match: re.Match) -> Instruction:
    rest = match["rest"]
    if rest.startswith("("):
        end = _closing(rest, 0) + 1
        shape, rest = rest[:end], rest[end + 1 :]
    else:
        shape, _, rest = rest.partition(" ")
    opcode, _, _ = rest.partition("(")
    end = _closing(rest, len(opcode))
    arguments = re.sub(r"/\*.*?\*/", "", rest[len(opcode) + 1 : end])
    operands = re.findall(r"%([\w.\-]+)", arguments) or ([arguments] if arguments else [])
    return Instruction(match["name"], opcode, shape, tuple(operands), rest[end + 1 :], bool(match["root"]))


def _closing(text: str, start: int) -> int:
    """The index of the parenthesis that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if not depth:
            return index
    return len(text)
