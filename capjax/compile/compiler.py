"""The programs of a config, lowered and compiled for a TPU slice: the same that training and evaluation run."""

import math
import re
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from capjax.compile.dummy_vocabulary import dummy_vocabulary
from capjax.compile.hlo import HloProgram
from capjax.compile.topology import Topology
from capjax.data.pipeline import batch_shapes
from capjax.decode.generator import Generator
from capjax.models.flops import count_flops
from capjax.models.frozen_encoder import make_encoder
from capjax.models.pure_model import make_key
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from capjax.text.vocabulary import Vocabulary
from capjax.train.train_programs import make_programs

# Programs, each with its section of the config.
SECTIONS = {"train": "train", "decode": "eval"}


class DoesNotFitError(RuntimeError):
    """A program needs more memory than a chip has.

    Attributes:
      used: bytes per chip that the program needs.
      capacity: bytes per chip for programs.
      largest: (bytes, name) of the largest arrays.
    """

    def __init__(self, used: float, capacity: float, largest):
        super().__init__(f"it needs {used / 1e9:.2f} GB a chip, which has {capacity / 1e9:.2f} GB for programs")
        self.used, self.capacity, self.largest = used, capacity, largest


class CompilerError(ValueError):
    """The compiler fails on a valid program."""


@dataclass
class LoweredProgram:
    """A program of a config, lowered for a mesh.

    Attributes:
      name: a key of SECTIONS.
      parameters: number of the model's parameters.
      batch_size: items over all chips.
      flops: operations of matrix products and convolutions, over all chips.
      model_flops: the same without rematerialization.
      arguments: {name: bytes per chip}.
      max_trips: upper limit of loops whose length depends on the data.
      assumptions: sentences on inputs that do not exist yet.
    """

    name: str
    mesh: Mesh
    lowered: jax.stages.Lowered
    parameters: int
    batch_size: int
    flops: int
    model_flops: int
    arguments: dict[str, int]
    max_trips: int
    assumptions: tuple[str, ...] = ()


@dataclass
class CompiledProgram:
    """A compiled program.

    Attributes:
      program: its HLO.
      memory: the compiler's figures per chip, in bytes: `peak`, the most that is in use at a time; `arguments`;
        `outputs` that do not reuse their memory; `temporaries`, the space reserved for intermediate results;
        `program`, the code.
      seconds: compile time.
    """

    program: HloProgram
    memory: dict[str, int]
    seconds: float


def mesh_of(config, topology: Topology) -> Mesh:
    """Returns the mesh of a config over a topology's devices.

    Raises:
      ValueError: the mesh does not fit the devices.
      TopologyError: the compiler does not know the topology.
    """
    return make_mesh(config.mesh, topology.devices)


def batch_of(config, name: str) -> int:
    """Returns the batch size of a program, over all chips."""
    return config[SECTIONS[name]].batch_size


def lower(config, mesh: Mesh, name: str) -> LoweredProgram:
    """Traces and lowers a program of a config: `train` is the training loop's step, `decode` the evaluation of a batch.

    Raises:
      ConfigError: the model cannot be built.
      ValueError: the batch does not divide over the mesh.
    """
    (vocabulary, assumptions), shape = _vocabulary(config), _feature_shape(config)
    rules = ShardingRules(mesh, config.mesh.logical_axis_rules)
    programs = make_programs(config, rules, vocabulary, feature_shape=shape)
    size = batch_of(config, name)
    rules.batch(size // config.train.gradient_accumulation_steps if name == "train" else size)
    sharding = rules.batch(size)
    batch = {
        entry: jax.ShapeDtypeStruct(entry_shape, dtype, sharding=sharding)
        for entry, (entry_shape, dtype) in batch_shapes(
            vocabulary,
            config.data,
            batch_size=size,
            feature_shape=shape,
            loss_weights=name == "train" and config.mitigation.balance == "weights",
        ).items()
    }
    arguments: tuple
    if name == "train":
        function, arguments = programs.step_fn, (programs.state, batch)
    else:
        generator = Generator(
            programs.pure_model, vocabulary, config.decode, config.data, rules=rules,
            xla_options=config.eval.xla_options,
        )  # fmt: skip
        function = generator.generate
        arguments = (*programs.state.for_eval(), batch, generator.prefix(config.data.languages[0], size), make_key(0))
    traced = function.trace(*arguments)
    flops = count_flops(traced.jaxpr, trips=config.decode.max_len)
    model_flops = flops
    if name == "train" and (without_remat := _without_remat(config)) is not None:
        programs_without = make_programs(without_remat, rules, vocabulary, feature_shape=shape)
        model_flops = count_flops(programs_without.step_fn.trace(programs_without.state, batch).jaxpr)
    return LoweredProgram(
        name, mesh, traced.lower(),
        sum(value.size for value in programs.pure_model.shapes.values()), size, flops, model_flops,
        _bytes_by_name(arguments), config.decode.max_len, assumptions,
    )  # fmt: skip


def compile_lowered(lowered: LoweredProgram) -> CompiledProgram:
    """Compiles a program.

    Raises:
      DoesNotFitError: the program needs more memory than a chip has.
      CompilerError: the compiler fails.
    """
    started = time.perf_counter()
    try:
        compiled = lowered.lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise _does_not_fit(str(error)) or CompilerError(
            f"the TPU compiler fails on the {lowered.name} program with this mesh: {str(error)[:300]} ...\n"
            f"Another mesh, or other {SECTIONS[lowered.name]}.xla_options, may help"
        ) from error
    seconds = time.perf_counter() - started
    stats: Any = compiled.memory_analysis()
    memory = {
        "peak": stats.peak_memory_in_bytes,
        "arguments": stats.argument_size_in_bytes,
        "outputs": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "program": stats.generated_code_size_in_bytes,
    }
    return CompiledProgram(HloProgram.parse(compiled.as_text() or ""), memory, seconds)


def _vocabulary(config) -> tuple[Vocabulary, tuple[str, ...]]:
    """The config's vocabulary; where it does not exist, a dummy of the expected size, and a sentence that says so."""
    path, size = config.data.vocabulary, config.compile.vocabulary
    if Path(path).is_file():
        return Vocabulary.load(path), ()
    times = config.data.time_bins if config.data.task == "dense" else 0
    reason = f"data.vocabulary = {path} is no file" if path else "data.vocabulary is empty"
    assumption = f"The vocabulary has {size:,} tokens (compile.vocabulary), as {reason}."
    return dummy_vocabulary(size, languages=config.data.languages, times=times), (assumption,)


def _feature_shape(config) -> tuple[int, int, int] | None:
    """The shape of an item's extracted features from the config's encoder; None where frames are encoded."""
    if not config.data.features:
        return None
    encoder = make_encoder(
        config.model.encoder.name, image_size=config.data.image_size, options=config.model.encoder.options
    )
    images = jax.ShapeDtypeStruct((1, config.data.image_size, config.data.image_size, 3), "uint8")
    shape = jax.eval_shape(
        lambda params, batch_stats, images: encoder.bind(params, batch_stats)(images),
        encoder.shapes, encoder.batch_stat_shapes, images,
    ).shape  # fmt: skip
    return tuple(shape[-3:])


def _without_remat(config):
    """The config without rematerialization; None if it has none."""
    parts = (config.model.encoder, config.model.temporal, config.model.decoder)
    if not any(part.options.get("remat", "none") != "none" for part in parts):
        return None
    changed = deepcopy(config)
    for part in (changed.model.encoder, changed.model.temporal, changed.model.decoder):
        if "remat" in part.options:
            part.options.remat = "none"
    return changed


def _bytes_by_name(arguments) -> dict[str, int]:
    """Bytes of each argument on one chip."""
    sizes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(arguments):
        name = jax.tree_util.keystr(path, simple=True, separator="/").partition("/")[2]
        sharding = getattr(leaf, "sharding", None)
        shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
        sizes[name] = math.prod(shape) * leaf.dtype.itemsize
    return sizes


_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _does_not_fit(message: str) -> DoesNotFitError | None:
    """The error for the compiler's message that memory is exhausted; None for other messages."""
    match = re.search(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm", message) or re.search(
        r"temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)", message
    )
    if match is None:
        return None
    largest = re.findall(
        r"Size: ([\d.]+)([KMGT]?)B?\n(?:\s+Operator: op_name=\"([^\"]*)\"[^\n]*\n)?\s+Shape: (\S+)", message
    )
    return DoesNotFitError(
        float(match[1]) * _UNITS[match[2]], float(match[3]) * _UNITS[match[4]],
        [(float(size) * _UNITS[unit], f"{shape} {name}".strip()) for size, unit, name, shape in largest],
    )  # fmt: skip
