"""Experimental estimate of how long a compiled program takes; it has never been checked against a TPU.

The compiler writes beside each fusion how many cycles it expects. These are multiplied by how often each runs
(`HloProgram.trips`) and divided by the clock; where its cost model does not apply, memory and vector unit decide
(`loop_fusions.py`). Collectives add the time that no computation overlaps. A second figure, the roofline (Williams et
al. 2009), does without the compiler's cycles: the time of the counted operations or of the memory traffic at the chip's
peak, whichever is more.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from capjax.compile.collectives import Collective, describe, describe_transfer, inside, kind_of
from capjax.compile.hlo import HloProgram, Instruction
from capjax.compile.loop_fusions import loop_seconds
from capjax.compile.memory_traffic import bytes_moved
from capjax.compile.topology import Topology


@dataclass
class CollectiveTime:
    """The time of a collective in a step.

    Attributes:
      runs: how often it runs.
      exposed: seconds per step, over all runs, without computation beside it.
      overlaps: whether at least a part of it runs beside computation.
    """

    collective: Collective
    runs: int
    exposed: float
    overlaps: bool


@dataclass
class Estimate:
    """Estimated time of a program on one chip.

    Attributes:
      compute: seconds of fusions and copies.
      by_cycles: the same by the compiler's cycle counts alone.
      exposed: seconds of collectives that nothing overlaps.
      memory_bytes: memory traffic.
      collectives: each with its time.
      by_source: {source line: its seconds of `compute`}.
      unknown_loops: number of loops whose length depends on the data or is unknown.
    """

    compute: float = 0.0
    by_cycles: float = 0.0
    exposed: float = 0.0
    memory_bytes: int = 0
    collectives: list[CollectiveTime] = field(default_factory=list)
    by_source: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    unknown_loops: int = 0

    @property
    def seconds(self) -> float:
        return self.compute + self.exposed


def estimate(program: HloProgram, mesh, topology: Topology, *, default_trips: int = 1) -> Estimate:
    """Estimates a program that was compiled for a mesh of a topology's devices.

    Args:
      default_trips: trips of a loop whose length is unknown.
    """
    simulation = _Simulation(program, mesh, topology, default_trips)
    simulation.run(program.entry, 1)
    simulation.result.memory_bytes = bytes_moved(program, default_trips=default_trips)
    return simulation.result


class _InFlight:
    """A collective that has started: `left` are its seconds that nothing has overlapped yet."""

    def __init__(self, collective: Collective):
        self.collective, self.left = collective, collective.seconds


class _Simulation:
    """Runs a program in the order of its schedule and adds up times in `result`."""

    def __init__(self, program: HloProgram, mesh, topology: Topology, default_trips: int):
        self.program, self.mesh, self.topology, self.default_trips = program, mesh, topology, default_trips
        self.result = Estimate()
        # Collectives in flight by key: of the current computation, and of those that run it.
        self.in_flight: list[dict[str, _InFlight]] = []

    def run(self, computation: str, count: int) -> float:
        """Adds a computation that runs `count` times; returns the seconds of one run."""
        in_flight: dict[str, _InFlight] = {}
        self.in_flight.append(in_flight)
        seconds = 0.0
        for instruction in self.program.computations[computation].values():
            seconds += self._step(instruction, count, in_flight)
        self.in_flight.pop()
        for collective in in_flight.values():
            seconds += self._finish(collective, count)
        return seconds

    def _step(self, instruction: Instruction, count: int, in_flight: dict[str, _InFlight]) -> float:
        """Adds an instruction with all that it runs; returns the seconds of one run."""
        opcode = instruction.opcode
        bodies, trips = self.program.bodies(instruction, self.default_trips)
        if bodies:
            self.result.unknown_loops += opcode == "while" and self.program.trips(instruction) is None
            return self._overlap(trips * max(self.run(body, count * trips) for body in bodies), in_flight)
        if opcode == "send" and (transfer := instruction.host_transfer):
            kind, key = transfer
            in_flight[key] = _InFlight(describe_transfer(self.program, instruction, kind, self.topology))
            return 0.0
        if opcode.endswith("-done"):
            start = self.program.siblings(instruction).get(instruction.operands[0])
            transfer = start.host_transfer if start and opcode == "recv-done" else None
            return self._finish(in_flight.pop(transfer[1] if transfer else instruction.operands[0], None), count)
        if kind_of(instruction):
            return self._collective(instruction, None, opcode.endswith("-start"), count, in_flight, instruction.name)
        if wrapped := inside(self.program, instruction):
            collective, body = wrapped
            key, targets = f"channel {collective.channel}", {one.custom_call_target for one in body}
            if "AsyncCollectiveDone" in targets:
                return self._finish(in_flight.pop(key, None), count)
            if not any(key in started for started in self.in_flight):
                starts = opcode == "async-start" or "AsyncCollectiveStart" in targets
                key = instruction.name if opcode == "async-start" else key
                return self._collective(collective, instruction, starts, count, in_flight, key)
            # Otherwise a computation that moves a part of the collective along, perhaps in a loop between its start
            # and its end.
        return self._compute(instruction, count, in_flight)

    def _compute(self, instruction: Instruction, count: int, in_flight: dict[str, _InFlight]) -> float:
        chip = self.topology.chip
        seconds = cycle_seconds = (instruction.cycles or 0) / chip.clock
        if seconds and not instruction.has_cost_model:
            loop = loop_seconds(self.program, instruction, chip)
            seconds = seconds if loop is None else min(seconds, loop)
        self.result.compute += seconds * count
        self.result.by_cycles += cycle_seconds * count
        if seconds:
            self.result.by_source[self.program.source(instruction) or f"({instruction.opcode})"] += seconds * count
        return self._overlap(seconds, in_flight)

    @staticmethod
    def _overlap(seconds: float, in_flight: dict[str, _InFlight]) -> float:
        """Lets a computation hide collectives in flight, one after another, for they share the links."""
        available = seconds
        for collective in in_flight.values():
            hidden = min(available, collective.left)
            collective.left, available = collective.left - hidden, available - hidden
        return seconds

    def _collective(
        self, instruction: Instruction, wrapper: Instruction | None, starts: bool, count: int, in_flight: dict, key: str
    ) -> float:
        started = _InFlight(describe(self.program, instruction, wrapper, self.mesh, self.topology))
        if starts:
            in_flight[key] = started
            return 0.0
        return self._finish(started, count)

    def _finish(self, ended: _InFlight | None, count: int) -> float:
        """Adds a collective that ends; returns its exposed seconds of one run, 0 where none has started."""
        if ended is None:
            return 0.0
        self.result.exposed += ended.left * count
        overlaps = ended.left < ended.collective.seconds
        self.result.collectives.append(CollectiveTime(ended.collective, count, ended.left * count, overlaps))
        return ended.left
