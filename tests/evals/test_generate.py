"""Decoding on several devices."""

import re

import pytest
from tiny_job import Tiny

from capjax.compile.programs import lower
from capjax.parallel.mesh import make_mesh

EXCHANGES = re.compile(r" (all-gather|all-to-all|collective-permute|reduce-scatter|all-reduce)\(")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Tiny(tmp_path_factory)


@pytest.mark.parametrize(
    "settings", [("decode.beams=4",), ("decode.method=greedy",), ("decode.method=sample", "decode.top_k=5")]
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
