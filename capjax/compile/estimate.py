"""How long a compiled program takes, as far as the compiler tells: an estimate, never a measurement.

The compiler writes beside each fusion how many cycles it expects. Here these are multiplied by how often each runs
(`HloProgram.trips`) and divided by the clock; where its cost model was not asked, memory and vector unit tell
(`elementwise.py`). To them comes what the chips tell each other and do not overlap with computing. A second figure, the
roofline (Williams et al. 2009), knows nothing of the compiler's cycles: what the counted operations or the bytes of
memory that are read and written take at the chip's peak, whichever is more.
"""

from collections import Counter
from dataclasses import dataclass, field

from capjax.compile.collectives import Collective, describe, describe_transfer, inside, kind_of
from capjax.compile.elementwise import loop_seconds
from capjax.compile.hlo import HloProgram, Instruction
from capjax.compile.topology import Topology
from capjax.compile.traffic import bytes_moved


@dataclass
class Exchange:
    """A collective with how often it runs.

    Attributes:
      exposed: seconds a step, over all its runs, in which nothing is computed beside it.
      overlaps: at least a part of it runs beside computing.
    """

    collective: Collective
    runs: int
    exposed: float
    overlaps: bool


@dataclass
class Estimate:
    """Attributes:
    compute: seconds, of fusions and copies; by_cycles: the same by the compiler's cycles alone.
    exposed: seconds, of collectives that nothing overlaps.
    memory_bytes: read and written a chip; by_source: {line of capjax: its seconds of compute}.
    unknown_loops: whose length depends on the data, or is not told: each trip of theirs counts `trips` times.
    """

    compute: float = 0.0
    by_cycles: float = 0.0
    exposed: float = 0.0
    memory_bytes: int = 0
    exchanges: list[Exchange] = field(default_factory=list)
    by_source: Counter = field(default_factory=Counter)
    unknown_loops: int = 0

    @property
    def seconds(self) -> float:
        return self.compute + self.exposed


def estimate(program: HloProgram, mesh, topology: Topology, *, trips: int = 1) -> Estimate:
    """Reads a program that was compiled for a mesh of a topology's devices.

    Args:
      trips: of a loop that does not say how long it is.
    """
    walk = _Walk(program, mesh, topology, trips)
    walk.run(program.entry, 1)
    walk.found.memory_bytes = bytes_moved(program, unknown=trips)
    return walk.found


class _Open:
    """A collective that has been started: the seconds of it that nothing has overlapped yet."""

    def __init__(self, collective: Collective):
        self.collective, self.left = collective, collective.seconds


class _Walk:
    """Goes through a program in the order in which it runs."""

    def __init__(self, program: HloProgram, mesh, topology: Topology, trips: int):
        self.program, self.mesh, self.topology, self.trips = program, mesh, topology, trips
        self.found = Estimate()
        # What has begun, of the computation that is gone through and of those that run it.
        self.begun: list[dict[str, _Open]] = []

    def run(self, name: str, times: int) -> float:
        """Adds a computation that runs `times` times; returns the seconds of one run."""
        begun, total = {}, 0.0
        self.begun.append(begun)
        for one in self.program.computations[name]:
            total += self._one(one, name, times, begun)
        self.begun.pop()
        for each in begun.values():
            total += self._finish(each, times)
        return total

    def _one(self, one: Instruction, where: str, times: int, begun: dict[str, _Open]) -> float:
        """Seconds of one instruction of the computation `where`, with all that it runs."""
        if one.opcode == "while":
            trips = self.program.trips(one)
            self.found.unknown_loops += trips is None
            trips = self.trips if trips is None else trips
            return self._beside(trips * self.run(one.named("body"), times * trips), begun)
        if one.opcode == "call":
            return self._beside(self.run(one.named("to_apply"), times), begun)
        if one.opcode == "conditional":
            return self._beside(max(self.run(branch, times) for branch in self.program.branches(one)), begun)
        if one.opcode == "send" and (met := one.between_slices):
            begun[met[1]] = _Open(describe_transfer(self.program, one, self.topology))
            return 0.0
        if one.opcode == "recv-done" and (met := self.program.known(where)[one.operands[0]].between_slices):
            return self._finish(begun.pop(met[1]), times) if met[1] in begun else 0.0
        if one.opcode.endswith("-done"):
            return self._finish(begun.pop(one.operands[0]), times) if one.operands[0] in begun else 0.0
        if kind_of(one):
            return self._exchange(one, None, one.opcode.endswith("-start"), times, begun, one.name)
        if found := inside(self.program, one):
            collective, body = found
            key, targets = f"channel {collective.channel}", {each.target for each in body}
            if "AsyncCollectiveDone" in targets:
                return self._finish(begun.pop(key), times) if key in begun else 0.0
            if not any(key in each for each in self.begun):
                starts = one.opcode == "async-start" or "AsyncCollectiveStart" in targets
                key = one.name if one.opcode == "async-start" else key
                return self._exchange(collective, one, starts, times, begun, key)
            # A step of computing that moves a part of it along, perhaps in a loop that runs between start and end.
        seconds = self._seconds(one, where)
        self.found.compute += seconds * times
        self.found.by_cycles += (one.cycles or 0) / self.topology.chip.clock * times
        if seconds:
            self.found.by_source[self.program.source(one) or f"({one.opcode})"] += seconds * times
        return self._beside(seconds, begun)

    def _seconds(self, one: Instruction, where: str) -> float:
        """Of computing, once."""
        seconds = (one.cycles or 0) / self.topology.chip.clock
        if not seconds or one.modelled:
            return seconds
        simple = loop_seconds(self.program, one, self.program.known(where), self.topology.chip)
        return seconds if simple is None else min(seconds, simple)

    @staticmethod
    def _beside(seconds: float, begun: dict[str, _Open]) -> float:
        """Lets computing of so many seconds hide what has begun, one after another: they share the links."""
        room = seconds
        for each in begun.values():
            hidden = min(room, each.left)
            each.left, room = each.left - hidden, room - hidden
        return seconds

    def _exchange(self, one, around: Instruction | None, starts: bool, times: int, begun: dict, key: str) -> float:
        collective = describe(self.program, one, around, self.mesh, self.topology)
        if starts:
            begun[key] = _Open(collective)
            return 0.0
        return self._add(collective, collective.seconds, times)

    def _finish(self, one: _Open, times: int) -> float:
        return self._add(one.collective, one.left, times)

    def _add(self, collective: Collective, exposed: float, times: int) -> float:
        self.found.exposed += exposed * times
        self.found.exchanges.append(Exchange(collective, times, exposed * times, exposed < collective.seconds))
        return exposed
