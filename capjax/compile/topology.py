"""TPU slices by name: their chips, peak rates of a chip, and links between chips."""

import importlib.util
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


class TopologyError(ValueError):
    """There is no such slice, or no compiler for it; the message lists those that exist."""


@dataclass(frozen=True)
class Chip:
    """Peak rates of a chip as Google publishes them (cloud.google.com/tpu/docs, pages v5e, v5p and v6e).

    Attributes:
      flops: bfloat16 operations per second.
      memory: bytes of main memory.
      bandwidth: bytes per second of main memory.
      link: bytes per second of one link to a neighboring chip, one way.
      network: bytes per second of a chip's share of the network between slices, one way.
      clock: cycles per second, the unit of the compiler's estimates.
      shapes: names of the slices that exist, for kinds whose slices have two sides.
    """

    flops: float
    memory: float
    bandwidth: float
    link: float
    network: float
    clock: float
    shapes: tuple[str, ...] = ()

    @property
    def vector(self) -> float:
        """Elementwise operations per second: four units of 1,024 lanes (jax-ml.github.io/scaling-book, on TPUs)."""
        return 4 * 1024 * self.clock


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CHIPS = {
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 50e9, 3.125e9, 1.5e9, _FLAT),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 100e9, 6.25e9, 1.75e9),
    "v6e": Chip(918e12, 32 * 2**30, 1600e9, 100e9, 12.5e9, 1.75e9, _FLAT),
}  # fmt: skip
# A side of this many chips, or a multiple, is closed to a ring.
_RING = {"v5e": 16, "v6e": 16, "v5p": 4}


@dataclass(frozen=True)
class Topology:
    """A TPU slice such as v5e:16x16, or several, such as 4xv5e:16x16.

    Attributes:
      kind: kind of chip, a key of CHIPS.
      shape: chips along each side.
      slices: number of slices.
    """

    kind: str
    shape: tuple[int, ...]
    slices: int = 1

    @classmethod
    def parse(cls, text: str) -> "Topology":
        """Parses a name.

        Raises:
          TopologyError: there is no such slice.
        """
        match = re.fullmatch(r"(?:(?P<slices>\d{1,3})x)?(?P<kind>[a-z]\w+):(?P<shape>\d+(?:x\d+)*)", text)
        if match is None:
            raise TopologyError(
                f"topology {text!r}: write KIND:SIDES, such as v5e:16x16, or 4xv5e:16x16 for four slices"
            )
        kind, shape = match["kind"], match["shape"]
        if kind not in CHIPS:
            raise TopologyError(f"topology {text!r}: no chip {kind!r}; there are {', '.join(CHIPS)}")
        chip, sides = CHIPS[kind], tuple(map(int, shape.split("x")))
        if chip.shapes and shape not in chip.shapes:
            raise TopologyError(f"topology {text!r}: slices of {kind} are {', '.join(chip.shapes)}")
        if not chip.shapes and not _is_box(sides):
            raise TopologyError(
                f"topology {text!r}: slices of {kind} have three sides, such as 2x2x1, 2x2x2, 2x2x4, 4x4x4 or 4x4x8: "
                "each 1, 2 or a multiple of 4, in rising order"
            )
        if (slices := int(match["slices"] or 1)) < 1:
            raise TopologyError(f"topology {text!r}: at least one slice")
        return cls(kind, sides, slices)

    def __str__(self) -> str:
        name = f"{self.kind}:{'x'.join(map(str, self.shape))}"
        return name if self.slices == 1 else f"{self.slices}x{name}"

    @property
    def chip(self) -> Chip:
        return CHIPS[self.kind]

    @property
    def count(self) -> int:
        """Number of chips of all slices."""
        return self.slices * math.prod(self.shape)

    @cached_property
    def devices(self) -> list:
        """The abstract devices of the slice, to compile for.

        Raises:
          TopologyError: the compiler is not installed, or does not know the slice.
        """
        prepare_compiler()
        import jax
        from jax.experimental import topologies

        options: dict = {"num_slices": self.slices} if self.slices > 1 else {}
        if math.prod(self.shape) == 1:  # a host has four chips otherwise
            options["chips_per_host_bounds"] = (1, 1, 1)
        name = f"{self.kind}:{'x'.join(map(str, self.shape))}"
        try:
            return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices)
        except (jax.errors.JaxRuntimeError, RuntimeError, ValueError) as error:
            raise TopologyError(f"topology {self}: the TPU compiler does not know it: {error}") from error

    def links(self, devices: Sequence) -> tuple[float, float]:
        """Returns bytes per second (within a slice, between slices) into each device of a group that exchanges all to
        all; inf for links that the group does not use.

        A ring along a side that the group spans wholly gives two links, another side one.
        """
        chip, coordinates = self.chip, np.asarray([device.coords for device in devices])
        links = 0
        for side, length in enumerate(self.shape):
            spanned = len(set(coordinates[:, side].tolist()))
            if spanned > 1:
                ring = spanned == length and length % _RING[self.kind] == 0
                links += 2 if ring else 1
        across = len({getattr(device, "slice_index", 0) for device in devices}) > 1
        return links * chip.link if links else math.inf, chip.network if across else math.inf


def _is_box(sides: Sequence[int]) -> bool:
    allowed = all(side in (1, 2) or (side and side % 4 == 0) for side in sides)
    return len(sides) == 3 and allowed and list(sides) in (sorted(sides), [2, 2, 1])


def prepare_compiler():
    """Sets the environment so that JAX uses the TPU compiler without looking for a TPU.

    Raises:
      TopologyError: the compiler is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise TopologyError("the TPU compiler is not installed: pip install 'capjax[tpu]'")
    # libtpu would ask Google's metadata server which machine this is.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
    # No TPU is in use, so several processes may load libtpu at a time.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
