from types import SimpleNamespace

import numpy as np
import pytest

from capjax.compile.collectives import HOP, _group, describe
from capjax.compile.estimate import estimate
from capjax.compile.hlo import HloProgram
from capjax.compile.topology import Topology

TOPOLOGY = Topology.parse("v5e:4x4")
LINK = TOPOLOGY.chip.link


def mesh_of(slices: int = 1, **shape: int):
    """16 chips a slice, as rows of the mesh."""
    devices = [SimpleNamespace(coords=(i % 4, i // 4, 0), slice_index=s) for s in range(slices) for i in range(16)]
    laid = np.empty(len(devices), object)
    laid[:] = devices
    return SimpleNamespace(shape=shape, size=len(devices), devices=laid.reshape(tuple(shape.values())))


def program(*lines: str) -> HloProgram:
    body = "\n".join(f"  {line}" for line in lines)
    return HloProgram.parse(f"HloModule m\n\nENTRY %main (a: f32[8]) -> f32[8] {{\n{body}\n}}\n")


def the_one(line: str, mesh):
    parsed = program(line)
    return describe(parsed, next(iter(parsed.computations["main"].values())), None, mesh, TOPOLOGY)


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        ("{{0,1,2,3},{4,5,6,7},{8,9,10,11},{12,13,14,15}}", ("fsdp",)),
        ("[4,4]<=[16]", ("fsdp",)),
        ("[4,4]<=[4,4]T(1,0)", ("data",)),
        ("{{0,4,8,12},{1,5,9,13},{2,6,10,14},{3,7,11,15}}", ("data",)),
        ("mesh['axis_0'=4,'axis_1'=4] {'axis_1'}", ("fsdp",)),
        ("mesh['axis_0'=4,'axis_1'=4] {'axis_0','axis_1'}", ("data", "fsdp")),
        ("mesh['axis_0'=4,'axis_1'=4], device_ids=([4,4]T(1,0)) {'axis_0'}", ("fsdp",)),
        ("{}", ("data", "fsdp")),
    ],
)
def test_replica_groups_become_axes_of_the_mesh_in_every_notation(groups, axes):
    line = f"%r = f32[1024]{{0}} all-reduce(%a), channel_id=1, replica_groups={groups}, to_apply=%add"
    assert the_one(line, mesh_of(data=4, fsdp=4)).axes == axes
    assert len(_group(f"replica_groups={groups}", 16)) == 4 ** len(axes)


def test_on_a_line_of_chips_all_parts_but_one_arrive_over_one_link():
    line = "%r = f32[4000000]{0} all-gather(%a), channel_id=1, replica_groups=[4,4]<=[16], dimensions={0}"
    collective = the_one(line, mesh_of(data=4, fsdp=4))
    assert collective.bytes == 16e6
    assert collective.seconds == pytest.approx(16e6 * 3 / 4 / LINK + 3 * HOP)


def test_an_all_reduce_takes_twice_as_long_as_a_reduce_scatter():
    groups = "channel_id=1, replica_groups=[4,4]<=[16], to_apply=%add"
    mesh = mesh_of(data=4, fsdp=4)
    summed = the_one(f"%r = f32[4000000]{{0}} all-reduce(%a), {groups}", mesh)
    scattered = the_one(f"%r = f32[1000000]{{0}} reduce-scatter(%a), {groups}, dimensions={{0}}", mesh)
    assert summed.bytes == scattered.bytes == 16e6
    assert summed.seconds == pytest.approx(2 * scattered.seconds)


def test_an_all_reduce_over_slices_sends_each_chips_part_over_the_network():
    line = "%r = f32[16000000]{0} all-reduce(%a), channel_id=1, replica_groups={}, to_apply=%add"
    collective = the_one(line, mesh_of(slices=2, replica=2, data=16))
    assert collective.axes == ("replica", "data")
    within = 64e6 * 15 / 16 / (2 * LINK) + 6 * HOP
    assert collective.seconds == pytest.approx(2 * (within + 64e6 / 16 / 2 / TOPOLOGY.chip.network))


START = "%s = (f32[1000000]{0}, f32[4000000]{0}) all-gather-start(%a), channel_id=1, replica_groups=[4,4]<=[16]"


@pytest.mark.parametrize("cycles", [0, 150_000, 3_000_000])
def test_computation_between_start_and_end_hides_a_collective(cycles):
    parsed = program(
        "%a = f32[1000000]{0} parameter(0)",
        START + ", dimensions={0}",
        f'%c = f32[8]{{0}} fusion(%a), kind=kLoop, calls=%none, backend_config={{"estimated_cycles":"{cycles}"}}',
        "%d = f32[4000000]{0} all-gather-done(%s)",
        "ROOT %r = f32[8]{0} copy(%c)",
    )
    parsed.computations["none"] = HloProgram.parse(
        "HloModule m\n\nENTRY %e (p: f32[8]) -> f32[8] {\n  ROOT %p = f32[8]{0} parameter(0)\n}\n"
    ).computations["e"]
    estimated = estimate(parsed, mesh_of(data=4, fsdp=4), TOPOLOGY)
    compute_seconds = cycles / TOPOLOGY.chip.clock
    (timed,) = estimated.collectives
    assert timed.overlaps == (cycles > 0)
    assert estimated.compute == pytest.approx(compute_seconds)
    assert estimated.exposed == pytest.approx(max(timed.collective.seconds - compute_seconds, 0))
    assert estimated.seconds == pytest.approx(max(timed.collective.seconds, compute_seconds))


def test_a_synchronous_collective_is_exposed():
    parsed = program(
        "%a = f32[1000000]{0} parameter(0)",
        "ROOT %r = f32[4000000]{0} all-gather(%a), channel_id=1, replica_groups=[4,4]<=[16], dimensions={0}",
    )
    estimated = estimate(parsed, mesh_of(data=4, fsdp=4), TOPOLOGY)
    assert estimated.exposed == estimated.seconds == estimated.collectives[0].collective.seconds
    assert not estimated.collectives[0].overlaps


@pytest.mark.parametrize("cycles", [1_000, 1_000_000])
def test_a_collective_that_a_loop_moves_along_runs_once(cycles):
    gather = "all-gather({}), channel_id=7, replica_groups=[4,4]<=[16], dimensions={{0}}".format
    parsed = HloProgram.parse(f"""HloModule m

%started (p: f32[1000000]) -> f32[4000000] {{
  %p = f32[1000000]{{0}} parameter(0)
  %b = f32[1000000]{{0}} custom-call(%p), custom_call_target="AsyncCollectiveStart"
  ROOT %g = f32[4000000]{{0}} {gather("%b")}
}}

%moved (q: f32[4000000]) -> f32[4000000] {{
  %q = f32[4000000]{{0}} parameter(0)
  ROOT %h = f32[4000000]{{0}} {gather("%q")}
}}

%ended (r: f32[4000000]) -> f32[4000000] {{
  %r = f32[4000000]{{0}} parameter(0)
  %k = f32[4000000]{{0}} {gather("%r")}
  ROOT %e = f32[4000000]{{0}} custom-call(%k), custom_call_target="AsyncCollectiveDone"
}}

%body (s: (s32[], f32[4000000])) -> (s32[], f32[4000000]) {{
  %s = (s32[], f32[4000000]{{0}}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[4000000]{{0}} get-tuple-element(%s), index=1
  %f = f32[4000000]{{0}} fusion(%x), kind=kOutput, calls=%moved, backend_config={{"estimated_cycles":"{cycles}"}}
  ROOT %t = (s32[], f32[4000000]{{0}}) tuple(%i, %f)
}}

%cond (s: (s32[], f32[4000000])) -> pred[] {{
  %s = (s32[], f32[4000000]{{0}}) parameter(0)
  ROOT %yes = pred[] constant(true)
}}

ENTRY %main (a: f32[1000000]) -> f32[4000000] {{
  %a = f32[1000000]{{0}} parameter(0)
  %n = s32[] constant(0)
  %begin = f32[4000000]{{0}} fusion(%a), kind=kCustom, calls=%started
  %in = (s32[], f32[4000000]{{0}}) tuple(%n, %begin)
  %w = (s32[], f32[4000000]{{0}}) while(%in), condition=%cond, body=%body
  %out = f32[4000000]{{0}} get-tuple-element(%w), index=1
  ROOT %end = f32[4000000]{{0}} fusion(%out), kind=kCustom, calls=%ended
}}
""")
    estimated = estimate(parsed, mesh_of(data=4, fsdp=4), TOPOLOGY, default_trips=10)
    (timed,) = estimated.collectives
    compute_seconds = 10 * cycles / TOPOLOGY.chip.clock
    assert timed.runs == 1
    assert estimated.compute == pytest.approx(compute_seconds)
    assert estimated.exposed == pytest.approx(max(timed.collective.seconds - compute_seconds, 0))
