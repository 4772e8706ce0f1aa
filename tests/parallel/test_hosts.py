"""Exchanges between the processes of a job."""

from capjax.parallel.hosts import allgather_objects


def test_one_process_gathers_its_own_value():
    assert allgather_objects({"a": (1, 2)}) == [{"a": (1, 2)}]
