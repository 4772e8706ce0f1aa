"""Decoding on several devices."""

import re

import pytest

from capjax.compile.compiler import lower
from capjax.compile.hlo import HloProgram
from capjax.parallel.mesh import make_mesh
from tests.helpers.tiny_job import Tiny

EXCHANGES = re.compile(r" (all-gather|all-to-all|collective-permute|reduce-scatter|all-reduce)\(")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Tiny(tmp_path_factory)


@pytest.mark.parametrize(
    "settings", [("decode.num_beams=4",), ("decode.method=greedy",), ("decode.method=sample", "decode.top_k=5")]
)
def test_devices_that_share_a_batch_exchange_nothing_but_whether_all_have_ended(tiny, settings):
    config = tiny.config(
        "mesh.data=8", "mesh.fsdp=1", "mesh.tensor=1", "train.batch_size=16", "eval.batch_size=16", *settings
    )
    program = lower(config, make_mesh(config.mesh), "decode").lowered.compile().as_text()
    found = [line for line in program.splitlines() if EXCHANGES.search(line)]
    assert found
    for line in found:
        assert re.search(r"= pred\[\]\S* all-reduce\(", line), line


def test_parameters_in_parts_are_gathered_once_and_not_at_every_token(tiny):
    config = tiny.config("mesh.data=2", "mesh.fsdp=4", "mesh.tensor=1", "train.batch_size=16", "eval.batch_size=16")
    lowered = lower(config, make_mesh(config.mesh), "decode").lowered
    program = HloProgram.parse(lowered.compile().as_text())
    runs = [times for one, times, _ in program.runs(unknown=1000) if one.opcode == "all-gather"]
    assert len(runs) > 10
    assert set(runs) == {1}
