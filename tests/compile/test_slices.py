"""Transfers between slices, which their hosts carry out."""

import pytest

from capjax.compile.estimate import estimate
from capjax.compile.hlo import HloProgram
from capjax.compile.topology import Topology

TRANSFER = (
    "is_host_transfer=true, frontend_attributes={"
    '_xla_host_transfer_rendezvous="all-reduce.5_0",_xla_megascale_transfer_type="ALL_REDUCE"}'
)
TEXT = f"""HloModule m

%work (q: f32[1024]) -> f32[1024] {{
  %q = f32[1024]{{0}} parameter(0)
  ROOT %r = f32[1024]{{0}} add(%q, %q)
}}

ENTRY %main (a: bf16[1000000], b: f32[1024]) -> bf16[1000000] {{
  %a = bf16[1000000]{{0}} parameter(0)
  %b = f32[1024]{{0}} parameter(1)
  %first = token[] after-all()
  %recv = (bf16[1000000]{{0}}, u32[], token[]) recv(%first), channel_id=1, {TRANSFER}
  %send = (bf16[1000000]{{0}}, u32[], token[]) send(%a, %first), channel_id=2, {TRANSFER}
  %f = f32[1024]{{0}} fusion(%b), kind=kOutput, calls=%work, backend_config={{"estimated_cycles":"150000"}}
  %sent = token[] send-done(%send), channel_id=2, {TRANSFER}
  %got = (bf16[1000000]{{0}}, token[]) recv-done(%recv), channel_id=1, {TRANSFER}
  ROOT %out = bf16[1000000]{{0}} get-tuple-element(%got), index=0
}}
"""


def test_computation_hides_a_transfer_between_slices():
    topology = Topology.parse("4xv5e:2x2")
    estimated = estimate(HloProgram.parse(TEXT), None, topology)
    (timed,) = estimated.collectives
    assert timed.collective.axes == ("replica",)
    assert (timed.collective.kind, timed.collective.bytes) == ("all-reduce", 2_000_000)
    # Each of four slices sends and receives three quarters twice, and there are six hops of 20 microseconds.
    alone = 1.5 * 2e6 / 3.125e9 + 6 * 2e-5
    assert timed.collective.seconds == pytest.approx(alone)
    assert estimated.compute == pytest.approx(1e-4)
    assert estimated.exposed == pytest.approx(alone - 1e-4)
