"""Compiled programs as XLA prints them: computations, how often each runs, and which line of Python asked for what."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

_BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4, "s64": 8, "u64": 8,
    "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16,
}  # fmt: skip
# How far a cause is looked for, in instructions.
_NEAR = 12
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_HEAD = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = (?P<rest>.*)$")


def sizes_of(shape: str) -> list[int]:
    """Bytes of the arrays of a shape as HLO writes it, one or those of a tuple; without the padding of layouts."""
    arrays = [(dtype, math.prod(map(int, sides.split(","))) if sides else 1) for dtype, sides in _ARRAY.findall(shape)]
    return [int(count * _BYTES.get(dtype, 1 if dtype.startswith("f8") else 0)) for dtype, count in arrays]


def size_of(shape: str) -> int:
    """Bytes of all arrays of a shape, as `sizes_of`."""
    return sum(sizes_of(shape))


def elements_of(shape: str) -> int:
    """Numbers in all arrays of a shape."""
    return sum(math.prod(map(int, sides.split(","))) if sides else 1 for _, sides in _ARRAY.findall(shape))


@dataclass(frozen=True, slots=True)
class Instruction:
    """Attributes:
    shape: of the result, as it is written; operands: names; attributes: what stands behind them.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    attributes: str
    root: bool

    @property
    def bytes(self) -> int:
        return size_of(self.shape)

    @property
    def cycles(self) -> int | None:
        """What the compiler thinks it takes; None: it does not say."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.attributes)
        return int(found[1]) if found else None

    @property
    def modelled(self) -> bool:
        """Whether the cycles are of the compiler's cost model, and not of a rough count."""
        return '"cost_model_type":"COST_MODEL_TYPE_INVALID"' not in self.attributes

    def named(self, attribute: str) -> str | None:
        """A computation that it calls, such as `body`."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return found[1] if found else None

    @property
    def frame(self) -> int | None:
        found = re.search(r"stack_frame_id=(\d+)", self.attributes)
        return int(found[1]) if found else None

    @property
    def op_name(self) -> str:
        """The path of names that JAX gave it; empty: the compiler made it."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    @property
    def channel(self) -> str | None:
        """What the parts of one collective have in common."""
        found = re.search(r"channel_id=(\d+)", self.attributes)
        return found[1] if found else None

    @property
    def between_slices(self) -> tuple[str, str] | None:
        """(what the hosts of several slices do with an array that is sent or received, such as all-reduce, and the name
        by which sender and receiver meet); None: it is no such transfer."""
        kind = re.search(r'_xla_megascale_transfer_type="(\w+)"', self.attributes)
        name = re.search(r'_xla_host_transfer_rendezvous="([^"]*)"', self.attributes)
        return (kind[1].lower().replace("_", "-"), name[1]) if kind and name else None

    @property
    def target(self) -> str | None:
        """Of a custom call."""
        found = re.search(r'custom_call_target="([^"]*)"', self.attributes)
        return found[1] if found else None


@dataclass
class HloProgram:
    """Attributes:
    computations: {name: instructions in the order in which they run}; entry: the name of the first.
    """

    computations: dict[str, list[Instruction]]
    entry: str
    _tables: dict[str, dict[int, str]] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "HloProgram":
        """Reads what `compiled.as_text()` gives.

        Raises:
          ValueError: there is no entry computation in it.
        """
        computations, tables, entry = {}, {}, ""
        current, table = None, None
        for line in text.splitlines():
            if not line or line == "}":
                current = table = None
            elif current is not None:
                if found := _INSTRUCTION.match(line):
                    current.append(_instruction(found))
            elif found := _HEAD.match(line):
                current = computations[found["name"]] = []
                entry = found["name"] if found["entry"] else entry
            elif line in ("FileNames", "FunctionNames", "FileLocations", "StackFrames"):
                table = tables[line] = {}
            elif table is not None:
                number, _, rest = line.partition(" ")
                table[int(number)] = rest
        if not entry:
            raise ValueError("no program: the text has no ENTRY computation")
        return cls(computations, entry, tables)

    def known(self, computation: str) -> dict[str, Instruction]:
        """A computation's instructions by name."""
        return self._known[computation]

    @cached_property
    def _known(self) -> dict[str, dict[str, Instruction]]:
        return {name: {one.name: one for one in body} for name, body in self.computations.items()}

    def trips(self, loop: Instruction) -> int | None:
        """How often the body of a `while` runs: what its counter, from 0 on, is compared with, by the counter's steps;
        None: it depends on the data, or is not known."""
        condition = self.computations[loop.named("condition")]
        constants = {one.name: one for one in condition if one.opcode == "constant"}
        limits = []
        for one in condition:
            if one.opcode == "compare" and "direction=LT" in one.attributes and one.operands[1] in constants:
                limits.append((_value(constants[one.operands[1]]), self._step(loop, condition, one.operands[0])))
            elif one.opcode == "fusion":  # the comparison is inside; its constant is outside or inside
                inner = self.computations[one.named("calls")]
                if any(i.opcode == "compare" and "direction=LT" in i.attributes for i in inner):
                    given = [constants[name] for name in one.operands if name in constants]
                    steps = [self._step(loop, condition, name) for name in one.operands if name not in constants]
                    step = max(steps, default=1)
                    limits += [(_value(c), step) for c in given + [i for i in inner if i.opcode == "constant"]]
        found = [-(-limit // step) for limit, step in limits if limit is not None]
        return found[0] if len(found) == 1 else None

    def _step(self, loop: Instruction, condition: list[Instruction], counter: str) -> int:
        """What the body adds to the counter that the condition reads under this name; 1 where it is not seen."""
        known = {one.name: one for one in self.computations[loop.named("body")]}
        read = next((one for one in condition if one.name == counter), None)
        place = re.search(r"\bindex=(\d+)", read.attributes) if read else None
        root = next(one for one in known.values() if one.root)
        if place is None or root.opcode != "tuple":
            return 1
        following = known.get(root.operands[int(place[1])])
        if following is None or following.opcode != "add":
            return 1
        added = [known[name] for name in following.operands if name in known and known[name].opcode == "constant"]
        return (_value(added[0]) or 1) if len(added) == 1 else 1

    def runs(self, unknown: int = 1) -> Iterator[tuple[Instruction, int, str]]:
        """Every instruction with how often it runs, and its computation; what a fusion is made of is not listed.

        Args:
          unknown: trips of a loop that does not say.
        """
        yield from self._runs(self.entry, 1, unknown)

    def _runs(self, name: str, times: int, unknown: int):
        for one in self.computations[name]:
            yield one, times, name
            if one.opcode == "while":
                trips = self.trips(one)
                yield from self._runs(one.named("body"), times * (unknown if trips is None else trips), unknown)
            elif one.opcode == "call":
                yield from self._runs(one.named("to_apply"), times, unknown)
            elif one.opcode == "conditional":
                for branch in self.branches(one):
                    yield from self._runs(branch, times, unknown)

    def branches(self, conditional: Instruction) -> list[str]:
        """The computations of which a `conditional` runs one."""
        found = re.search(r"branch_computations=\{([^}]*)\}", conditional.attributes)
        if found:
            return [name.strip().lstrip("%") for name in found[1].split(",")]
        return [name for name in map(conditional.named, ("true_computation", "false_computation")) if name]

    @cached_property
    def _frames(self) -> dict[int, tuple[int, int]]:
        """{stack frame: (file location, parent frame)}."""
        pattern = re.compile(r"file_location_id=(\d+)(?: parent_frame_id=(\d+))?")
        found = {number: pattern.search(text) for number, text in self._tables.get("StackFrames", {}).items()}
        return {number: (int(match[1]), int(match[2] or 0)) for number, match in found.items() if match}

    def source(self, one: Instruction, package: str = "capjax/") -> str:
        """`file:line` in `package` that asked for an instruction, the innermost of its call stack, or nothing."""
        locations, names = self._tables.get("FileLocations", {}), self._tables.get("FileNames", {})
        frame = one.frame
        while frame in self._frames:
            location, parent = self._frames[frame]
            found = re.search(r"file_name_id=(\d+) .*?\bline=(\d+)", locations.get(location, ""))
            if found:
                path = names.get(int(found[1]), "").strip('"')
                if package in path:
                    return f"{package}{path.rpartition(package)[2]}:{found[2]}"
            # A frame's parent is counted from 1 up: that which equals the frame itself is the outermost.
            frame = parent - 1 if parent else None
        return ""

    def cause(self, one: Instruction, *, uses: bool) -> str:
        """`file:line` that asked for an instruction, as `source`. Of what the compiler made, or made out of several, it
        is that of the nearest instruction that uses the result, if `uses`, else of the nearest that an operand comes
        from; of as near ones up to three; of the other direction where this one ends without."""
        for way in (uses, not uses):
            met, ring = {one.name}, [one]
            for _ in range(_NEAR):
                if found := list(dict.fromkeys(filter(None, map(self._source_inside, ring)))):
                    return ", ".join(found[:3])
                following = {each.name: each for here in ring for each in self._beside(here, way)}
                ring = [each for name, each in following.items() if name not in met]
                met.update(following)
        return ""

    def _source_inside(self, one: Instruction) -> str:
        """The source of an instruction, or of the last that it is made of and that has one."""
        body = self.computations[one.named("calls")] if one.opcode == "fusion" else ()
        return next(filter(None, map(self.source, (one, *reversed(body)))), "")

    def _beside(self, one: Instruction, uses: bool) -> list[Instruction]:
        """In its computation: the users of an instruction, or its operands."""
        home = self._homes[one.name]
        if uses:
            return self._users[home].get(one.name, [])
        known = self.known(home)
        found = [known[name] for name in one.operands if name in known]
        if one.opcode == "get-tuple-element" and home in self._bodies and found[0].opcode == "parameter":
            # What a loop carries comes from its trip before.
            root = next(each for each in known.values() if each.root)
            place = int(re.search(r"\bindex=(\d+)", one.attributes)[1])
            found += [known[root.operands[place]]] if root.opcode == "tuple" else []
        return found

    @cached_property
    def _homes(self) -> dict[str, str]:
        """{instruction: its computation}."""
        return {one.name: name for name, body in self.computations.items() for one in body}

    @cached_property
    def _bodies(self) -> set[str]:
        """The computations that are bodies of loops."""
        return {one.named("body") for body in self.computations.values() for one in body if one.opcode == "while"}

    @cached_property
    def _users(self) -> dict[str, dict[str, list[Instruction]]]:
        """{computation: {instruction: those that it is an operand of}}."""
        users = {name: {} for name in self.computations}
        for name, body in self.computations.items():
            for one in body:
                for operand in dict.fromkeys(one.operands):
                    users[name].setdefault(operand, []).append(one)
        return users


def _value(constant: Instruction) -> int | None:
    return int(constant.operands[0]) if constant.operands and constant.operands[0].isdigit() else None


def _instruction(found: re.Match) -> Instruction:
    rest = found["rest"]
    if rest.startswith("("):
        end = _closing(rest, 0) + 1
        shape, rest = rest[:end], rest[end + 1 :]
    else:
        shape, _, rest = rest.partition(" ")
    opcode, _, _ = rest.partition("(")
    end = _closing(rest, len(opcode))
    inside = re.sub(r"/\*.*?\*/", "", rest[len(opcode) + 1 : end])
    operands = re.findall(r"%([\w.\-]+)", inside) or ([inside] if inside else [])
    return Instruction(found["name"], opcode, shape, tuple(operands), rest[end + 1 :], bool(found["root"]))


def _closing(text: str, start: int) -> int:
    """The place of the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if not depth:
            return place
    return len(text)
