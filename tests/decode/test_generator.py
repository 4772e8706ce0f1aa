"""Decoding in several languages, and on several devices."""

import re

import jax
import pytest

from capjax.compile.compiler import lower
from capjax.compile.hlo import HloProgram
from capjax.data.batch import model_inputs
from capjax.data.pipeline import make_eval_batches
from capjax.decode.generator import Generator
from capjax.models.build import make_pure_model
from capjax.models.captioner import Captioner
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from capjax.text.vocabulary import Vocabulary
from tests.helpers.drawn_models import draw_params
from tests.helpers.tiny_videos import DENSE, TIMED

EXCHANGES = re.compile(r" (all-gather|all-to-all|collective-permute|reduce-scatter|all-reduce)\(")


@pytest.mark.parametrize(
    "settings", [("decode.num_beams=4",), ("decode.method=greedy",), ("decode.method=sample", "decode.top_k=5")]
)
def test_devices_that_share_a_batch_exchange_nothing_but_whether_all_have_ended(tiny, settings):
    config = tiny.config(
        "mesh.data=8", "mesh.fsdp=1", "mesh.tensor=1", "train.batch_size=16", "eval.batch_size=16", *settings
    )
    program = lower(config, make_mesh(config.mesh), "decode").lowered.compile().as_text()
    exchanges = [line for line in program.splitlines() if EXCHANGES.search(line)]
    assert exchanges
    for line in exchanges:
        assert re.search(r"= pred\[\]\S* all-reduce\(", line), line


def test_parameters_in_parts_are_gathered_once_and_not_at_every_token(tiny):
    config = tiny.config("mesh.data=2", "mesh.fsdp=4", "mesh.tensor=1", "train.batch_size=16", "eval.batch_size=16")
    lowered = lower(config, make_mesh(config.mesh), "decode").lowered
    program = HloProgram.parse(lowered.compile().as_text())
    runs = [times for one, times in program.runs(default_trips=1000) if one.opcode == "all-gather"]
    assert len(runs) > 10
    assert set(runs) == {1}


@pytest.fixture
def count_encoder_runs(monkeypatch):
    """Makes models count the batches that they encode -> that list."""
    runs, encode = [], Captioner.encode

    def counted(self, batch, **options):
        jax.debug.callback(lambda: runs.append(1))
        return encode(self, batch, **options)

    monkeypatch.setattr(Captioner, "encode", counted)
    return runs


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("captions", ("decode.num_beams=3", "decode.min_len=4")),
        ("captions", ("decode.method=sample", "decode.top_k=9")),
        ("events", DENSE),
        ("events", TIMED),
    ],
)
def test_several_languages_share_one_run_of_the_encoder(tiny_videos, count_encoder_runs, devices, method, settings):
    config = tiny_videos.config(*settings, "mesh.data=8", "mesh.fsdp=1", "mesh.tensor=1")
    vocabulary = Vocabulary.load(config.data.vocabulary)
    pure_model = make_pure_model(config, vocab=vocabulary.size)
    params = draw_params(pure_model)
    rules = ShardingRules(make_mesh(config.mesh), config.mesh.logical_axis_rules) if devices == 8 else None
    generator = Generator(pure_model, vocabulary, config.decode, config.data, rules=rules)
    batch = model_inputs(next(iter(make_eval_batches(config.data.eval, vocabulary, config.data, batch_size=8))))
    decode = getattr(generator, method)
    key = jax.random.key(3)
    separate = {lang: decode(params, {}, batch, lang, key=key) for lang in ("en", "de")}
    jax.effects_barrier()
    assert len(count_encoder_runs) == 2
    count_encoder_runs.clear()
    encoded = generator.encode(params, {}, batch)
    shared = {lang: decode(params, {}, encoded, lang, key=key) for lang in ("en", "de")}
    jax.effects_barrier()
    assert len(count_encoder_runs) == 1
    assert shared == separate, "scores included, to the bit"
    assert shared["en"] != shared["de"]
