"""Settings to try for a TPU slice: meshes, batch sizes, and what saves memory; written as on the command line."""

import inspect
import math
from collections.abc import Iterator, Sequence
from functools import partial

from capjax.compile.compiler import batch_of
from capjax.compile.topology import Topology
from capjax.config import ConfigError
from capjax.models.decoders import DECODERS
from capjax.models.encoders import ENCODERS

BATCH = {"train": "train.batch_size", "decode": "eval.batch_size"}
# What is split over `tensor` is exchanged in every layer: only among few neighbors.
MOST_TENSOR = 8


def meshes(topology: Topology, *, rows: int) -> list[list[str]]:
    """Ways to lay out a slice whose parts are powers of two, where a batch of so many rows divides."""
    chips = math.prod(topology.shape)
    powers = [2**i for i in range(chips.bit_length()) if chips % 2**i == 0]
    return [
        [f"mesh.data={chips // (fsdp * tensor)}", f"mesh.fsdp={fsdp}", f"mesh.tensor={tensor}"]
        for tensor in powers
        for fsdp in powers
        if tensor <= MOST_TENSOR and fsdp * tensor <= chips and rows % (topology.slices * chips // tensor) == 0
    ]


def _laid_out(config, mesh: list[str]) -> list[str]:
    """With one copy of the model a slice, whatever the config has."""
    return mesh if config.mesh.replica == 1 else ["mesh.replica=1", *mesh]


def sweep(config, topology: Topology, batches: Sequence[int] = ()) -> list[list[str]]:
    """Settings of all meshes with all batch sizes of training; without `batches`, the config's alone.

    Raises:
      ConfigError: no mesh divides one of them.
    """
    accumulate, found = config.train.gradient_accumulation_steps, []
    for size in batches or (config.train.batch_size,):
        here = meshes(topology, rows=size // accumulate) if size > 0 and size % accumulate == 0 else []
        if not here:
            chips = math.prod(topology.shape)
            least = accumulate * topology.slices * chips // math.gcd(chips, MOST_TENSOR)
            raise ConfigError(
                f"--sweep on {topology}: no mesh divides a batch of {size} over its {topology.count} chips; use "
                f"multiples of {least} in --batches or train.batch_size"
            )
        found += [[*_laid_out(config, mesh), f"train.batch_size={size}"] for mesh in here]
    return found


def smaller(config, topology: Topology, program: str) -> Iterator[list[str]]:
    """Settings of less and less memory: parameters over all chips, layers computed twice, smaller batches."""
    chips, size = math.prod(topology.shape), batch_of(config, program)
    micros = config.train.gradient_accumulation_steps if program == "train" else 1
    over = micros * topology.slices * chips
    split = _laid_out(config, ["mesh.data=1", f"mesh.fsdp={chips}", "mesh.tensor=1"])
    said = split if size % over == 0 and chips > 1 else []
    if said and config.mesh.fsdp != chips:
        yield said
    if program == "train":
        for registry, part in ((ENCODERS, "encoder"), (DECODERS, "decoder")):
            here = config.model[part]
            if _takes_remat(registry, here.name) and here.options.get("remat") != "full":
                said = [*said, f"model.{part}.options.remat=full"]
        if any("remat" in setting for setting in said):
            yield said
    # Where the mesh stays, its `tensor` shares a batch.
    over //= 1 if any("mesh" in setting for setting in said) else max(config.mesh.tensor, 1)
    while size % 2 == 0 and (size := size // 2) % over == 0:
        yield [*said, f"{BATCH[program]}={size}"]


def _takes_remat(registry, name: str) -> bool:
    maker = registry.get(name)
    cls = maker.func if isinstance(maker, partial) else maker
    return "remat" in inspect.signature(cls.__init__).parameters
