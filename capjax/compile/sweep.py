"""Settings to try for a TPU slice: meshes, batch sizes, and ways to save memory, each as on the command line."""

import inspect
import math
from collections.abc import Iterator, Sequence
from functools import partial

from capjax.compile.compiler import SECTIONS, batch_of
from capjax.compile.topology import Topology
from capjax.config import ConfigError
from capjax.models.decoders import DECODERS
from capjax.models.encoders import ENCODERS

# Arrays sharded over `tensor` are exchanged in every layer, which only few neighbors do fast.
MAX_TENSOR = 8


def meshes(topology: Topology, *, rows: int) -> list[list[str]]:
    """Returns the meshes of a slice with sizes that are powers of two and divide a batch of `rows`."""
    chips = math.prod(topology.shape)
    powers = [2**i for i in range(chips.bit_length()) if chips % 2**i == 0]
    return [
        [f"mesh.data={chips // (fsdp * tensor)}", f"mesh.fsdp={fsdp}", f"mesh.tensor={tensor}"]
        for tensor in powers
        for fsdp in powers
        if tensor <= MAX_TENSOR and fsdp * tensor <= chips and rows % (topology.slices * chips // tensor) == 0
    ]


def _one_copy_per_slice(config, mesh: list[str]) -> list[str]:
    return mesh if config.mesh.replica == 1 else ["mesh.replica=1", *mesh]


def sweep(config, topology: Topology, batches: Sequence[int] = ()) -> list[list[str]]:
    """Returns the settings of all meshes with all training batch sizes; without `batches`, with the config's.

    Raises:
      ConfigError: no mesh divides a batch size.
    """
    micro_batches, combinations = config.train.gradient_accumulation_steps, []
    for size in batches or (config.train.batch_size,):
        fitting = meshes(topology, rows=size // micro_batches) if size > 0 and size % micro_batches == 0 else []
        if not fitting:
            chips = math.prod(topology.shape)
            divisor = micro_batches * topology.slices * chips // math.gcd(chips, MAX_TENSOR)
            raise ConfigError(
                f"--sweep on {topology}: no mesh divides a batch of {size} over its {topology.count} chips; use "
                f"multiples of {divisor} in --batches or train.batch_size"
            )
        combinations += [[*_one_copy_per_slice(config, mesh), f"train.batch_size={size}"] for mesh in fitting]
    return combinations


def smaller(config, topology: Topology, program: str) -> Iterator[list[str]]:
    """Yields settings that need less and less memory: parameters sharded over all chips, rematerialization, smaller
    batches."""
    chips, size = math.prod(topology.shape), batch_of(config, program)
    micro_batches = config.train.gradient_accumulation_steps if program == "train" else 1
    divisor = micro_batches * topology.slices * chips
    fsdp = _one_copy_per_slice(config, ["mesh.data=1", f"mesh.fsdp={chips}", "mesh.tensor=1"])
    settings = fsdp if size % divisor == 0 and chips > 1 else []
    if settings and config.mesh.fsdp != chips:
        yield settings
    if program == "train":
        for registry, part in ((ENCODERS, "encoder"), (DECODERS, "decoder")):
            section = config.model[part]
            if _takes_remat(registry, section.name) and section.options.get("remat") != "full":
                settings = [*settings, f"model.{part}.options.remat=full"]
        if any("remat" in setting for setting in settings):
            yield settings
    # Where the mesh is the config's, the chips along its `tensor` share a batch.
    divisor //= 1 if any("mesh" in setting for setting in settings) else max(config.mesh.tensor, 1)
    while size % 2 == 0 and (size := size // 2) % divisor == 0:
        yield [*settings, f"{SECTIONS[program]}.batch_size={size}"]


def _takes_remat(registry, name: str) -> bool:
    factory = registry.get(name)
    cls = factory.func if isinstance(factory, partial) else factory
    return "remat" in inspect.signature(cls.__init__).parameters
