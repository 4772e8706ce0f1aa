"""Settings to try for a TPU slice: meshes, batch sizes, and what saves memory; written as on the command line."""

import inspect
import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial

from capjax import config as config_lib
from capjax.compile.programs import batch_of
from capjax.compile.topology import Topology
from capjax.models.decoders import DECODERS
from capjax.models.encoders import ENCODERS

BATCH = {"train": "train.batch_size", "decode": "eval.batch_size"}
# What is split over `tensor` is exchanged in every layer: only among few neighbours.
MOST_TENSOR = 8


def changed(config, settings: Sequence[str]):
    """The config with settings such as "mesh.fsdp=16".

    Raises:
      ConfigError: there is no such setting, or the config is not possible so.
    """
    config = deepcopy(config)
    for setting in settings:
        config_lib.override(config, setting)
    config_lib.check(config)
    return config


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


def sweep(config, topology: Topology, batches: Sequence[int] = ()) -> Iterator[list[str]]:
    """Settings of all meshes with all batch sizes of training; without `batches`, the config's alone."""
    for size in batches or (config.train.batch_size,):
        for mesh in meshes(topology, rows=size // config.train.accumulate):
            yield [*mesh, f"train.batch_size={size}"]


def smaller(config, topology: Topology, program: str) -> Iterator[list[str]]:
    """Settings of less and less memory: parameters over all chips, layers computed twice, smaller batches."""
    chips, size = math.prod(topology.shape), batch_of(config, program)
    said = ["mesh.data=1", f"mesh.fsdp={chips}", "mesh.tensor=1"] if size % (chips * topology.slices) == 0 else []
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
    over = topology.slices * chips // (1 if any("mesh" in setting for setting in said) else max(config.mesh.tensor, 1))
    while size % 2 == 0 and (size := size // 2) % over == 0:
        yield [*said, f"{BATCH[program]}={size}"]


def _takes_remat(registry, name: str) -> bool:
    maker = registry.get(name)
    cls = maker.func if isinstance(maker, partial) else maker
    return "remat" in inspect.signature(cls.__init__).parameters
