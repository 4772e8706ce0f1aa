"""The programs of a config as they would be run on a TPU slice: what training and evaluation call, compiled for it."""

import math
import re
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import jax
from jax.sharding import Mesh

from capjax.compile.dummy_vocabulary import dummy_vocabulary
from capjax.compile.flops import count_flops
from capjax.compile.hlo import HloProgram
from capjax.compile.topology import Topology
from capjax.data.pipeline import batch_shapes
from capjax.decode.generator import Generator
from capjax.models.build import make_encoder
from capjax.models.pure_model import make_key
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from capjax.text.vocabulary import Vocabulary
from capjax.train.train_programs import make_programs

NAMES = ("train", "decode")


class DoesNotFitError(RuntimeError):
    """A program needs more memory than a chip has.

    Attributes:
      used, capacity: bytes; largest: (bytes, name) of what takes most.
    """

    def __init__(self, used: float, capacity: float, largest):
        super().__init__(f"it needs {used / 1e9:.2f} GB a chip, which has {capacity / 1e9:.2f} GB for programs")
        self.used, self.capacity, self.largest = used, capacity, largest


class CompilerError(ValueError):
    """The compiler cannot make a program, by a fault of its own."""


@dataclass
class Lowered:
    """One program of a config, for a mesh.

    Attributes:
      name: one of NAMES; parameters: of the model; batch_size: items over all chips.
      flops: of matrix products and convolutions, over all chips; model_flops: without what is computed twice to save
        memory.
      arguments: {name: bytes a chip}.
      trips: of loops whose length depends on the data, at most.
      assumed: sentences on what was not there and was taken to be.
    """

    name: str
    mesh: Mesh
    lowered: jax.stages.Lowered
    parameters: int
    batch_size: int
    flops: int
    model_flops: int
    arguments: dict[str, int]
    trips: int
    assumed: tuple[str, ...] = ()


@dataclass
class Compiled:
    """Attributes:
    program: what the compiler made.
    memory: the compiler's figures a chip, in bytes: `peak`, what is held at most at a time; `arguments`, of which what
      the step gives back takes the place; `outputs` beside them; `temporaries`, the space set aside for what the
      program makes; `program`, its code.
    seconds: that compiling took.
    """

    program: HloProgram
    memory: dict[str, int]
    seconds: float


def mesh_of(config, topology: Topology) -> Mesh:
    """The mesh of a config over a topology's devices.

    Raises:
      ValueError: it cannot be laid over them; TopologyError: there are none.
    """
    return make_mesh(config.mesh, topology.devices)


def batch_of(config, name: str) -> int:
    """The batch size of a program, over all chips."""
    return config.train.batch_size if name == "train" else config.eval.batch_size


def lower(config, mesh: Mesh, name: str) -> Lowered:
    """Traces a program of a config: for `train` the step that the training loop runs, for `decode` the call that
    evaluation makes for a batch.

    Raises:
      ConfigError: the model cannot be made; ValueError: the batch does not divide.
    """
    (vocabulary, assumed), shape = _vocabulary(config), _feature_shape(config)
    rules = ShardingRules(mesh, config.mesh.logical_axis_rules)
    programs = make_programs(config, rules, vocabulary, feature_shape=shape)
    size = batch_of(config, name)
    rules.batch(size // config.train.gradient_accumulation_steps if name == "train" else size)
    sharding = rules.batch(size)
    batch = {
        each: jax.ShapeDtypeStruct(of_batch, dtype, sharding=sharding)
        for each, (of_batch, dtype) in batch_shapes(
            vocabulary, config.data, batch_size=size, feature_shape=shape
        ).items()
    }
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
    if name == "train" and (kept := _without_remat(config)) is not None:
        other = make_programs(kept, rules, vocabulary, feature_shape=shape)
        model_flops = count_flops(other.step_fn.trace(other.state, batch).jaxpr)
    return Lowered(
        name, mesh, traced.lower(),
        sum(value.size for value in programs.pure_model.shapes.values()), size, flops, model_flops,
        _bytes_by_name(arguments), config.decode.max_len, assumed,
    )  # fmt: skip


def compile_lowered(lowered: Lowered) -> Compiled:
    """Compiles a program.

    Raises:
      DoesNotFitError: it needs more memory than there is; CompilerError: the compiler fails.
    """
    started = time.perf_counter()
    try:
        compiled = lowered.lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        section = "train" if lowered.name == "train" else "eval"
        raise _does_not_fit(str(error)) or CompilerError(
            f"the TPU compiler fails on the {lowered.name} program with this mesh: {str(error)[:300]} ...\n"
            f"Another mesh, or other {section}.xla_options, may do"
        ) from error
    seconds, stats = time.perf_counter() - started, compiled.memory_analysis()
    memory = {
        "peak": stats.peak_memory_in_bytes,
        "arguments": stats.argument_size_in_bytes,
        "outputs": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "program": stats.generated_code_size_in_bytes,
    }
    return Compiled(HloProgram.parse(compiled.as_text()), memory, seconds)


def _vocabulary(config) -> tuple[Vocabulary, tuple[str, ...]]:
    """The config's; where it is not made yet, one of the size that it may have, and a sentence that says so."""
    path, size = config.data.vocabulary, config.compile.vocabulary
    if Path(path).is_file():
        return Vocabulary.load(path), ()
    times = config.data.time_bins if config.data.task == "dense" else 0
    why = f"data.vocabulary = {path} is no file" if path else "data.vocabulary is empty"
    note = f"The vocabulary has {size:,} pieces (compile.vocabulary), as {why}."
    return dummy_vocabulary(size, languages=config.data.languages, times=times), (note,)


def _feature_shape(config) -> tuple[int, int, int] | None:
    """Of extracted features, as the config's encoder would make them."""
    if not config.data.features:
        return None
    encoder = make_encoder(
        config.model.encoder.name, image_size=config.data.image_size, options=config.model.encoder.options
    )
    pictures = jax.ShapeDtypeStruct((1, config.data.image_size, config.data.image_size, 3), "uint8")
    shape = jax.eval_shape(
        lambda params, stats, images: encoder.bind(params, stats)(images),
        encoder.shapes,
        encoder.batch_stat_shapes,
        pictures,
    ).shape
    return tuple(shape[-3:])


def _without_remat(config):
    """The config with nothing computed twice; None if nothing is."""
    parts = (config.model.encoder, config.model.temporal, config.model.decoder)
    if not any(part.options.get("remat", "none") != "none" for part in parts):
        return None
    kept = deepcopy(config)
    for part in (kept.model.encoder, kept.model.temporal, kept.model.decoder):
        if "remat" in part.options:
            part.options.remat = "none"
    return kept


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
    """What the compiler says of memory; None if it says something else."""
    found = re.search(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm", message) or re.search(
        r"temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)", message
    )
    if found is None:
        return None
    largest = re.findall(
        r"Size: ([\d.]+)([KMGT]?)B?\n(?:\s+Operator: op_name=\"([^\"]*)\"[^\n]*\n)?\s+Shape: (\S+)", message
    )
    return DoesNotFitError(
        float(found[1]) * _UNITS[found[2]], float(found[3]) * _UNITS[found[4]],
        [(float(size) * _UNITS[unit], f"{shape} {name}".strip()) for size, unit, name, shape in largest],
    )  # fmt: skip
