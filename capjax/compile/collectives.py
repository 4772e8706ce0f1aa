"""What chips tell each other in a compiled program: how much, along which mesh axis, and for how long."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capjax.compile.hlo import HloProgram, Instruction, sizes_of
from capjax.compile.topology import Topology

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
# Seconds from a chip to its neighbor, and from a slice to another.
HOP, NETWORK_HOP = 1e-6, 2e-5


@dataclass(frozen=True)
class Collective:
    """Attributes:
    kind: one of KINDS; bytes: of the whole array on one chip: what is reduced, or what has been gathered.
    axes: of the mesh; group: the chips that take part together, as their places in the mesh.
    seconds: that it takes alone, once; source: the line that asked for it, as far as it is known (`HloProgram.cause`).
    """

    kind: str
    bytes: int
    axes: tuple[str, ...]
    group: tuple[int, ...]
    seconds: float
    source: str


def kind_of(one: Instruction) -> str | None:
    """Which collective an instruction is, or starts; None: none."""
    kind = one.opcode.removesuffix("-start")
    return kind if kind in KINDS else None


def inside(program: HloProgram, one: Instruction) -> tuple[Instruction, list[Instruction]] | None:
    """(the collective that a fusion or an asynchronous call is made around, all that is in it); None: there is none."""
    name = one.named("calls")
    if name is None or one.opcode not in ("fusion", "async-start"):
        return None
    body = program.computations[name]
    found = next((each for each in body if kind_of(each)), None)
    return None if found is None else (found, body)


def describe(program: HloProgram, one: Instruction, around: Instruction | None, mesh, topology: Topology) -> Collective:
    """A collective of a program compiled for a mesh of a topology's devices; `around` is the fusion or asynchronous
    call that it is made in, if any."""
    kind, size = kind_of(one), one.bytes
    body = program.computations[around.named("calls")] if around else ()
    group = _group(one.attributes, mesh.size)
    starts = one.opcode.endswith("-start")
    if starts and kind != "all-reduce":
        size = max(sizes_of(one.shape))  # it names what it reads beside what it makes
    if kind == "all-reduce" and any(each.opcode == "dynamic-slice" for each in body):
        kind = "reduce-scatter"  # of which each chip keeps its part
    elif kind == "reduce-scatter" and not starts:
        size *= len(group)
    places = np.asarray(np.unravel_index(group, tuple(mesh.shape.values())))
    axes = tuple(name for name, along in zip(mesh.shape, places, strict=True) if len(set(along.tolist())) > 1)
    devices = [mesh.devices.flat[place] for place in group]
    # Who needs the whole asked for a gathering; who made the parts, for a sum.
    source = program.source(one) or program.cause(around or one, uses=kind == "all-gather")
    return Collective(kind, size, axes, group, _seconds(kind, size, devices, topology), source)


def describe_transfer(program: HloProgram, one: Instruction, topology: Topology) -> Collective:
    """What a chip's host exchanges with those of the same place in other slices, which begins with a `send`."""
    kind, _ = one.between_slices
    size, slices = max(sizes_of(one.shape)), topology.slices
    rounds = 2 * (slices - 1) / slices if kind == "all-reduce" else slices - 1
    seconds = rounds * size / topology.chip.network + 2 * (slices - 1) * NETWORK_HOP
    source = program.cause(one, uses=False)
    return Collective(kind, size, ("replica",), tuple(range(slices)), seconds, source)


def _seconds(kind: str, size: int, devices: Sequence, topology: Topology) -> float:
    """On rings, in both directions; over several slices in steps: within each, then between them."""
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    chips, (link, network) = len(devices) // slices, topology.links(devices)
    hops = sum(len(set(side)) - 1 for side in zip(*(device.coords for device in devices), strict=True))
    if kind == "collective-permute":
        return (size / network if slices > 1 else size / topology.chip.link) + HOP
    if kind == "all-to-all":  # on a ring of n each part travels n / 4 on average
        return size * chips / (4 * link) + size * (slices - 1) / slices / network + hops * HOP
    rounds = 2 if kind == "all-reduce" else 1
    within = size * (chips - 1) / chips / link
    between = size / chips * (slices - 1) / slices / network
    return rounds * (within + between + hops * HOP)


def _group(attributes: str, count: int) -> tuple[int, ...]:
    """The first of the groups that an instruction names; all, if it names none."""
    if found := re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", attributes):
        return int(found[1]), int(found[2])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return tuple(map(int, found[1].split(",")))
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", attributes):
        return tuple(_iota(found[3]).reshape(int(found[1]), int(found[2]))[0].tolist())
    named = r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((\[[\d,]+\](?:T\([\d,]+\))?)\))? \{([^}]*)\}"
    if found := re.search(named, attributes):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", found[1])}
        ids = _iota(found[2]) if found[2] else np.arange(count)
        wanted = re.findall(r"'([^']+)'", found[3])
        index = tuple(slice(None) if name in wanted else 0 for name in sizes)
        return tuple(ids.reshape(tuple(sizes.values()))[index].flatten().tolist())
    return tuple(range(count))


def _iota(text: str) -> np.ndarray:
    """Counted numbers in a transposed order, as HLO writes them: [4,4]T(1,0)."""
    sizes, _, order = text.partition("T")
    ids = np.arange(np.prod(numbers := _numbers(sizes))).reshape(numbers)
    return (ids.transpose(_numbers(order)) if order else ids).flatten()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.strip("[]()").split(",")))
