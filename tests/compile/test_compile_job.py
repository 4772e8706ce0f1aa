import importlib.util
import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from capjax.compile import compile_job
from capjax.compile.compiler import CompilerError, DoesNotFitError, compile_lowered, lower, mesh_of
from capjax.compile.estimate import estimate
from capjax.compile.hlo import HloProgram
from capjax.compile.sweep import meshes, smaller, sweep
from capjax.compile.topology import Topology
from capjax.config import ConfigError, load, with_overrides
from capjax.models.flops import count_flops
from capjax.models.layers import gelu
from capjax.parallel.mesh import make_mesh
from capjax.train import loop
from tests.helpers.tiny_job import ROOT

needs_compiler = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra `tpu`")
SMALL = Topology.parse("v5e:2x2")


@pytest.fixture
def config(common_config):
    config = common_config
    config.name = "tiny"
    config.data.image_size, config.data.target_len, config.decode.max_len = 32, 12, 6
    config.model.width = 128
    config.model.encoder.name = "vit_tiny"
    config.model.encoder.options = {"depth": 2}
    config.model.decoder.options = {"layers": 2, "heads": 2}
    config.train.batch_size = config.eval.batch_size = 16
    config.compile.topologies = ("v5e:2x2",)
    config.compile.vocabulary = 512
    return config


@needs_compiler
def test_reports_contain_memory_operations_collectives_and_time(config, tmp_path):
    messages = []
    assert compile_job.run(config, tmp_path, (), batches=None, say=messages.append)
    train, decode = (
        json.loads((tmp_path / "compile" / f"{name}-v5e-2x2.json").read_text()) for name in ("train", "decode")
    )
    assert train["chips"] == 4
    assert train["mesh"] == {"replica": 1, "data": 4, "fsdp": 1, "tensor": 1}
    # Parameters and two moments of Adam's, in float32, and little else.
    assert train["memory"]["arguments"] == pytest.approx(3 * 4 * train["parameters"], rel=0.1)
    assert train["memory"]["arguments"] < train["memory"]["peak"] < train["memory"]["chip"]
    assert train["flops"] == train["model_flops"] > decode["flops"] > 0
    sums = [row for row in train["collectives"] if row["kind"] == "all-reduce"]
    assert {tuple(row["axes"]) for row in sums} == {("data",)}
    assert any(row["source"].startswith("capjax/models/") for row in sums)
    guess = train["estimated"]
    assert guess["seconds"] == pytest.approx(guess["compute_seconds"] + guess["exposed_collective_seconds"])
    assert 0 < guess["utilization"] < 1
    assert guess["seconds"] <= guess["seconds_by_rough_counts"]
    assert not decode["collectives"], "captions of a batch need nothing of another chip's"
    assert len(messages) == 2, "one per program"
    for name, text in zip(("train", "decode"), messages, strict=True):
        path = tmp_path / "compile" / f"{name}-v5e-2x2.md"
        assert "| estimated time (experimental) |" in text and "## Assumptions" in text
        assert text == f"{path.read_text()}\nwritten: {path}\n"
        assert "The vocabulary has 512 tokens (compile.vocabulary), as data.vocabulary is empty." in text


@needs_compiler
def test_the_vocabulary_of_the_workdir_takes_precedence(tiny, config, tmp_path, monkeypatch):
    vocabularies = []

    def remember(config, topology, program):
        vocabularies.append(config.data.vocabulary)
        return {"memory": {"fits": True}}

    monkeypatch.setattr(compile_job, "compile_program", remember)
    monkeypatch.setattr(compile_job, "write_report", lambda *_: tmp_path)
    monkeypatch.setattr(compile_job, "to_markdown", lambda _: "")
    compile_job.run(config, tmp_path, (), batches=None, say=lambda _: None)
    path = tmp_path / "vocabulary.model"
    path.write_bytes((tiny.path / "vocabulary.model").read_bytes())
    compile_job.run(config, tmp_path, (), batches=None, say=lambda _: None)
    assert vocabularies == ["", "", str(path), str(path)]
    config.data.vocabulary = str(path)
    config.compile.topologies = ()
    lowered = lower(config, mesh_of(config, SMALL), "train")
    assert not lowered.assumptions
    config.data.vocabulary = "no/such.model"
    (assumption,) = lower(config, mesh_of(config, SMALL), "train").assumptions
    assert "no/such.model is no file" in assumption


@needs_compiler
def test_slices_exchange_once_per_step(config):
    config.train.batch_size, topology = 32, Topology.parse("2xv5e:2x2")
    lowered = lower(config, mesh_of(config, topology), "train")
    estimated = estimate(compile_lowered(lowered).program, lowered.mesh, topology)
    between = [each for each in estimated.collectives if "replica" in each.collective.axes]
    assert between and all(each.runs == 1 for each in between)
    # Each of a slice's four chips sends its quarter of the gradient, and some small arrays whole.
    sent = sum(each.collective.bytes for each in between)
    assert lowered.parameters < sent < 1.2 * lowered.parameters


@needs_compiler
def test_gradients_of_kernels_are_reduce_scattered_within_slices(config):
    config.model.width, config.train.batch_size = 512, 512
    config.model.encoder.options = {"width": 512, "depth": 2, "heads": 4, "class_token": False}
    config.model.decoder.options = {"layers": 2, "heads": 4}
    config.model.dtype, config.mesh.fsdp, topology = "bfloat16", 16, Topology.parse("2xv5e:16x16")
    lowered = lower(config, mesh_of(config, topology), "train")
    estimated = estimate(compile_lowered(lowered).program, lowered.mesh, topology)
    sizes = dict.fromkeys(("all-reduce", "reduce-scatter"), 0)
    for each in estimated.collectives:
        if each.collective.axes == ("fsdp",) and each.collective.kind in sizes:
            sizes[each.collective.kind] += each.collective.bytes * each.runs
    # Attention has 3 and 1 kernels of width x width, across 1, 2 and 1 more, an MLP 4 and 4.
    assert sizes["reduce-scatter"] > 0.9 * 2 * 2 * (12 + 16) * 512**2
    assert sizes["all-reduce"] < 0.01 * sizes["reduce-scatter"]


@pytest.mark.slow
@needs_compiler
def test_a_mesh_whose_fsdp_divides_the_heads_compiles():
    # With the gradient of attention's output kernel sharded by heads, the compiler failed on its all-reduce.
    config = load(
        str(ROOT / "configs/pod_3b.py"),
        ["model.encoder.options.depth=2", "model.decoder.options.layers=2", "train.batch_size=512", "mesh.fsdp=8"],
    )
    config.compile.vocabulary = 512
    compile_lowered(lower(config, mesh_of(config, Topology.parse("v5e:16x16")), "train"))


@needs_compiler
def test_scanned_and_unrolled_layers_are_estimated_alike_and_not_faster_than_the_chip():
    topology = Topology.parse("v5e:2x2")
    mesh = make_mesh({"replica": 1, "data": 4, "fsdp": 1, "tensor": 1}, topology.devices)

    def step(w, x, unroll):
        def loss(w):
            def layer(x, w):
                return x + gelu(x @ w), None

            return jax.lax.scan(layer, x, w, unroll=unroll)[0].astype(jnp.float32).sum()

        return jax.grad(loss)(w)

    # Wide enough that products take the time: what the backward pass needs a scan copies to its stacks.
    w = jax.ShapeDtypeStruct((3, 4096, 4096), jnp.bfloat16, sharding=NamedSharding(mesh, PartitionSpec()))
    x = jax.ShapeDtypeStruct((32768, 4096), jnp.bfloat16, sharding=NamedSharding(mesh, PartitionSpec("data")))
    estimates, flops = [], []
    for unroll in (1, 3):
        traced = jax.jit(step, static_argnums=2).trace(w, x, unroll)
        flops.append(count_flops(traced.jaxpr))
        text = traced.lower().compile().as_text()
        estimates.append(estimate(HloProgram.parse(text), mesh, topology))
    assert flops[0] == flops[1] == 3 * 2 * 3 * 32768 * 4096 * 4096
    fastest = flops[0] / 4 / topology.chip.flops
    for each in estimates:
        assert fastest < each.compute < 1.5 * fastest
        assert each.compute <= each.by_cycles
    assert estimates[0].seconds == pytest.approx(estimates[1].seconds, rel=0.1)


@needs_compiler
def test_the_step_that_is_compiled_for_a_slice_is_the_step_that_is_trained(tiny, tmp_path, monkeypatch):
    """The text of the training loop's step on eight CPU devices equals that of the step for a slice of eight chips."""
    settings = ("mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2", "train.steps=1", "data.eval=", "model.width=32")
    config = tiny.config(*settings)
    captured, make_programs = [], loop.make_programs

    def remember(*args, **how):
        programs = make_programs(*args, **how)

        def step(state, batch):
            captured.append(
                jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), (state, batch))
            )
            return programs.step_fn(state, batch)

        step.lower, step.trace = programs.step_fn.lower, programs.step_fn.trace
        captured.append(programs.step_fn)
        return replace(programs, step_fn=step)

    monkeypatch.setattr(loop, "make_programs", remember)
    loop.train(config, tmp_path)
    step_fn, arguments = captured
    trained = step_fn.trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()
    compiled = lower(config, mesh_of(config, Topology.parse("v5e:2x4")), "train").lowered.as_text()
    order = re.compile(r", device_ids=\[[^\]]*\]")  # chips of a slice are numbered by where they are
    assert order.sub("", trained) == order.sub("", compiled)
    assert '"fsdp"' in trained


def test_a_sweep_tries_every_mesh_that_divides_the_batch():
    candidates = meshes(Topology.parse("v5e:2x4"), rows=4)
    assert ["mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2"] in candidates
    for sizes in candidates:
        data, fsdp, tensor = (int(setting.partition("=")[2]) for setting in sizes)
        assert data * fsdp * tensor == 8
        assert 4 % (data * fsdp) == 0
    assert (
        len(candidates) == len({tuple(sizes) for sizes in candidates}) == 3 + 2 + 1
    )  # tensor 2 with fsdp 1, 2, 4; 4 with 1, 2; 8


def test_settings_that_save_memory_are_tried_from_the_mildest_to_the_smallest_batch(config):
    candidates = list(smaller(config, SMALL, "train"))
    assert candidates[0] == ["mesh.data=1", "mesh.fsdp=4", "mesh.tensor=1"]
    assert candidates[1] == [*candidates[0], "model.encoder.options.remat=full", "model.decoder.options.remat=full"]
    assert [settings[-1] for settings in candidates[2:]] == ["train.batch_size=8", "train.batch_size=4"]
    for settings in candidates:
        with_overrides(config, settings)


def test_on_one_chip_no_mesh_saves_memory(config):
    candidates = list(smaller(config, Topology.parse("v5e:1x1"), "train"))
    assert candidates[0] == ["model.encoder.options.remat=full", "model.decoder.options.remat=full"]
    assert candidates[1] == [*candidates[0], "train.batch_size=8"]


@needs_compiler
def test_the_largest_arrays_are_arguments_where_the_compiler_names_none(config, monkeypatch):
    def refuses(lowered):
        raise DoesNotFitError(3e9, 2e9, [])

    monkeypatch.setattr(compile_job, "compile_lowered", refuses)
    report = compile_job.compile_program(config, SMALL, "train")
    sizes = [one["bytes"] for one in report["memory"]["largest"]]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 0
    assert report["memory"]["largest"][0]["name"].startswith(("params/", "opt_state/", "frames"))


def test_settings_that_save_memory_fit_micro_batches_and_replicas(config):
    config.train.gradient_accumulation_steps, config.mesh.replica = 2, 4
    candidates = list(smaller(config, SMALL, "train"))
    assert candidates[0] == ["mesh.replica=1", "mesh.data=1", "mesh.fsdp=4", "mesh.tensor=1"]
    assert candidates[-1][-1] == "train.batch_size=8", "two micro-batches of a row a chip"


@needs_compiler
def test_the_report_of_a_program_that_does_not_fit_names_settings_that_do(config, tmp_path, monkeypatch):
    monkeypatch.setattr(compile_job, "compile_lowered", _small_memory(config))
    messages = []
    assert not compile_job.run(config, tmp_path, ("v5e:2x2",), batches=None, say=messages.append)
    advice = "\n".join(messages)
    assert "train does not fit on v5e:2x2" in advice
    assert "it needs 3.00 GB a chip, which has 2.00 GB for programs" in advice
    assert "2.5e+03 MB, array: the table" in advice
    assert "It fits" in advice
    assert "--config.mesh.fsdp=4" in advice
    report = json.loads((tmp_path / "compile" / "train-v5e-2x2.json").read_text())
    assert not report["memory"]["fits"] and "--config.mesh.fsdp=4" in report["advice"] and "estimated" not in report
    assert report["advice"] in (tmp_path / "compile" / "train-v5e-2x2.md").read_text()
    assert json.loads((tmp_path / "compile" / "decode-v5e-2x2.json").read_text())["memory"]["fits"]


def _small_memory(config):
    """A compiler for which the first training program does not fit."""
    compiled = []

    def compiles(lowered):
        compiled.append(lowered.name)
        if compiled == ["train"]:
            raise DoesNotFitError(3e9, 2e9, [(2.5e9, "the table")])
        return compile_lowered(lowered)

    return compiles


@pytest.mark.slow
@needs_compiler
def test_a_sweep_resumes_and_reports_the_best_mesh(config, tmp_path, monkeypatch):
    tried = []

    def stops_after(count):
        def compiles(lowered):
            if len(tried) == count:
                raise KeyboardInterrupt
            tried.append(dict(lowered.mesh.shape))
            return compile_lowered(lowered)

        return compiles

    config.train.batch_size, messages = 4, []
    monkeypatch.setattr(compile_job, "compile_lowered", stops_after(1))
    with pytest.raises(KeyboardInterrupt):
        compile_job.run(config, tmp_path, ("v5e:2x2",), batches=(), say=messages.append)
    monkeypatch.setattr(compile_job, "compile_lowered", stops_after(9))
    assert compile_job.run(config, tmp_path, ("v5e:2x2",), batches=(), say=messages.append)
    assert len(tried) == len({str(mesh) for mesh in tried}) == len(meshes(SMALL, rows=4))
    assert messages[-1].startswith("best on v5e:2x2 by the experimental estimate: --config.mesh.data=")
    assert sorted(path.name for path in (tmp_path / "compile").iterdir()) == [
        "best-v5e-2x2.json", "best-v5e-2x2.md", "sweep-v5e-2x2.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "batches", "accumulate", "least"),
    [("v5e:4x8", (8, 6), 1, 4), ("2xv5e:4x8", (8, 12), 1, 8), ("v5e:2x4", (8, 9), 2, 2), ("v5e:2x4", (0,), 1, 1)],
)
def test_a_batch_that_no_mesh_divides_is_named_before_anything_is_compiled(config, name, batches, accumulate, least):
    config.train.gradient_accumulation_steps = accumulate
    with pytest.raises(ConfigError, match=rf"divides a batch of {batches[-1]} .* use multiples of {least} "):
        sweep(config, Topology.parse(name), batches)


def test_a_batch_that_does_not_divide_is_an_error_that_names_the_divisor(config):
    mesh = make_mesh({"replica": 1, "data": 8, "fsdp": 1, "tensor": 1})
    config.train.batch_size = 12
    with pytest.raises(ValueError, match="a batch of 12 does not divide over 8 devices; use a multiple of 8"):
        lower(config, mesh, "train")


@needs_compiler
@pytest.mark.parametrize("fsdp", [1, 2, 4, 8, 16])
def test_each_slice_holds_one_copy_of_the_model(config, fsdp):
    config.mesh.fsdp = fsdp
    mesh = mesh_of(config, Topology.parse("2xv5e:4x4"))
    assert mesh.shape == {"replica": 2, "data": 16 // fsdp, "fsdp": fsdp, "tensor": 1}
    for copy in mesh.devices:
        assert len({device.slice_index for device in copy.flat}) == 1


class FailingProgram:
    name = "train"

    @property
    def lowered(self):
        return self

    def compile(self):
        raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure")


@needs_compiler
@pytest.mark.parametrize(("section", "program"), [("train", "train"), ("eval", "decode")])
def test_each_program_is_compiled_with_the_options_of_its_section(config, section, program):
    config[section].xla_options = {"xla_tpu_no_such_option": True}
    with pytest.raises(CompilerError, match=rf"{program} program.*no_such_option[^$]*other {section}\.xla_options"):
        compile_lowered(lower(config, mesh_of(config, SMALL), program))


def test_a_failing_compiler_is_an_error_that_does_not_end_a_sweep(config, tmp_path, monkeypatch):
    with pytest.raises(CompilerError, match="fails on the train program with this mesh: INTERNAL: RET_CHECK failure"):
        compile_lowered(FailingProgram())
    monkeypatch.setattr(compile_job, "lower", lambda *_: FailingProgram())
    monkeypatch.setattr(compile_job, "mesh_of", lambda *_: None)
    config.train.batch_size, messages = 4, []
    assert not compile_job.run(config, tmp_path, ("v5e:2x2",), batches=(), say=messages.append)
    assert len(messages) == len(meshes(SMALL, rows=4)) + 1
    assert all("the TPU compiler fails" in text for text in messages[:-1])
