from types import SimpleNamespace

import pytest

from capjax.compile.topology import Topology, TopologyError


def test_a_name_is_a_kind_of_chip_and_the_sides_of_a_slice():
    topology = Topology.parse("v5e:4x8")
    assert (topology.kind, topology.shape, topology.slices, topology.count) == ("v5e", (4, 8), 1, 32)
    assert str(topology) == "v5e:4x8"


def test_several_slices_stand_before_the_name():
    topology = Topology.parse("4xv5e:16x16")
    assert (topology.slices, topology.count, str(topology)) == (4, 1024, "4xv5e:16x16")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e", "write KIND:SIDES"),
        ("v5e:4x", "write KIND:SIDES"),
        ("h100:4x4", "no chip 'h100'; there are v5e, v5p, v6e"),
        ("v5e:3x3", "slices of v5e are 1x1, 2x2, 2x4"),
        ("v5e:4x4x4", "slices of v5e are 1x1, 2x2, 2x4"),
        ("v5p:4x4", "three sides"),
        ("v5p:3x4x4", "three sides"),
        ("0xv5e:4x4", "at least one slice"),
    ],
)
def test_a_slice_that_does_not_exist_is_an_error_that_tells_which_do(name, message):
    with pytest.raises(TopologyError, match=message):
        Topology.parse(name)


def grid(rows: int, columns: int) -> list:
    return [SimpleNamespace(coords=(row, column, 0)) for row in range(rows) for column in range(columns)]


def test_a_whole_side_of_16_is_a_ring_with_two_links_and_a_shorter_one_has_one():
    pod, small = Topology.parse("v5e:16x16"), Topology.parse("v5e:4x4")
    link = pod.chip.link
    assert pod.links(grid(1, 16)) == (2 * link, float("inf"))
    assert pod.links(grid(16, 16)) == (4 * link, float("inf"))
    assert pod.links(grid(1, 8)) == (link, float("inf"))
    assert small.links(grid(4, 4)) == (2 * link, float("inf"))


def test_between_slices_the_network_counts():
    topology = Topology.parse("2xv5e:4x4")
    across = [SimpleNamespace(coords=(0, 0, 0), slice_index=i) for i in range(2)]
    assert topology.links(across) == (float("inf"), topology.chip.network)
