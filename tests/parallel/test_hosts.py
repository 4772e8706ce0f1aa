"""What the processes of a job share."""

from capjax.parallel.hosts import gather


def test_one_process_gathers_its_own():
    assert gather({"a": (1, 2)}) == [{"a": (1, 2)}]
