"""Collectives of a compiled program: kind, bytes, mesh axes, estimated seconds, source line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capjax.compile.hlo import HloProgram, Instruction, sizes_of
from capjax.compile.topology import Topology

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
# Latency in seconds from a chip to its neighbor, and from a slice to another.
HOP, NETWORK_HOP = 1e-6, 2e-5


@dataclass(frozen=True)
class Collective:
    """One collective of a program.

    Attributes:
      kind: one of KINDS.
      bytes: of the whole array on one chip: of what is reduced, or of the gathered result.
      axes: the mesh axes along which chips exchange.
      seconds: estimated duration of one run, alone.
      source: `file:line` behind it, as far as known (`HloProgram.cause`).
    """

    kind: str
    bytes: int
    axes: tuple[str, ...]
    seconds: float
    source: str


def kind_of(instruction: Instruction) -> str:
    """Returns the kind of the collective that an instruction is, or starts; empty for other instructions."""
    kind = instruction.opcode.removesuffix("-start")
    return kind if kind in KINDS else ""


def inside(program: HloProgram, instruction: Instruction) -> tuple[Instruction, list[Instruction]] | None:
    """Returns (collective, all instructions) inside a fusion or asynchronous call; None without a collective."""
    if instruction.opcode not in ("fusion", "async-start") or not instruction.called("calls"):
        return None
    body = program.body_of(instruction)
    collective = next((one for one in body if kind_of(one)), None)
    return None if collective is None else (collective, body)


def describe(
    program: HloProgram, instruction: Instruction, wrapper: Instruction | None, mesh, topology: Topology
) -> Collective:
    """Describes a collective of a program that was compiled for a mesh of a topology's devices.

    Args:
      wrapper: the fusion or asynchronous call around it, if any.
    """
    kind, size = kind_of(instruction), instruction.bytes
    body = program.body_of(wrapper) if wrapper else ()
    group = _group(instruction.attributes, mesh.size)
    starts = instruction.opcode.endswith("-start")
    if starts and kind != "all-reduce":
        size = max(sizes_of(instruction.shape))  # the shape holds operand and result
    if kind == "all-reduce" and any(one.opcode == "dynamic-slice" for one in body):
        kind = "reduce-scatter"  # each chip keeps its part
    elif kind == "reduce-scatter" and not starts:
        size *= len(group)
    coordinates = np.asarray(np.unravel_index(group, tuple(mesh.shape.values())))
    axes = tuple(name for name, along in zip(mesh.shape, coordinates, strict=True) if len(set(along.tolist())) > 1)
    devices = [mesh.devices.flat[index] for index in group]
    # An all-gather is caused by the user of the whole array, a sum by the producer of its parts.
    source = program.source(instruction) or program.cause(wrapper or instruction, uses=kind == "all-gather")
    return Collective(kind, size, axes, _seconds(kind, size, devices, topology), source)


def describe_transfer(program: HloProgram, send: Instruction, kind: str, topology: Topology) -> Collective:
    """Describes a transfer between slices, which starts with a `send`: each chip exchanges with its counterparts."""
    size, slices = max(sizes_of(send.shape)), topology.slices
    rounds = 2 * (slices - 1) / slices if kind == "all-reduce" else slices - 1
    seconds = rounds * size / topology.chip.network + 2 * (slices - 1) * NETWORK_HOP
    return Collective(kind, size, ("replica",), seconds, program.cause(send, uses=False))


def _seconds(kind: str, size: int, devices: Sequence, topology: Topology) -> float:
    """Seconds on rings in both directions; over several slices first within each, then between them."""
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
    """The first replica group of an instruction; all chips where it names none."""
    if match := re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", attributes):
        return int(match[1]), int(match[2])
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return _numbers(match[1])
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", attributes):
        return tuple(_iota(match[3]).reshape(int(match[1]), int(match[2]))[0].tolist())
    by_name = r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((\[[\d,]+\](?:T\([\d,]+\))?)\))? \{([^}]*)\}"
    if match := re.search(by_name, attributes):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", match[1])}
        ids = _iota(match[2]) if match[2] else np.arange(count)
        group_axes = re.findall(r"'([^']+)'", match[3])
        index = tuple(slice(None) if name in group_axes else 0 for name in sizes)
        return tuple(ids.reshape(tuple(sizes.values()))[index].flatten().tolist())
    return tuple(range(count))


def _iota(text: str) -> np.ndarray:
    """The device ids of HLO's iota notation, such as [4,4]T(1,0): counted, then transposed."""
    sizes, _, order = text.partition("T")
    shape = _numbers(sizes)
    ids = np.arange(np.prod(shape)).reshape(shape)
    return (ids.transpose(_numbers(order)) if order else ids).flatten()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.strip("[]()").split(",")))
