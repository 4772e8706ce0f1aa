"""What the environment says of a job's processes, and what they share."""

import socket

import pytest

from capjax.parallel.hosts import HostsError, LostError, Place, gather, meet, place_of

BY_HAND = {"CAPJAX_COORDINATOR": "a.example:1234", "CAPJAX_PROCESSES": "4", "CAPJAX_PROCESS": "2"}
SRUN = {
    "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "node[07-08,11]", "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NUM_NODES": "3", "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
}  # fmt: skip


def test_alone_where_nothing_is_said():
    assert place_of({}) is None
    assert place_of({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "4"}) is None, "sbatch's own step starts one process"
    assert place_of(SRUN | {"SLURM_STEP_NUM_TASKS": "1"}) is None


def test_a_place_given_by_hand_comes_before_slurm():
    assert place_of(SRUN | BY_HAND) == Place("a.example:1234", 4, 2)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node[07-08,11]", "node07"), ("node7", "node7"), ("node7,other3", "node7"), ("a-b[3,5],c[1-2]", "a-b3")],
)
def test_process_0_is_on_the_first_of_slurms_nodes(nodes, first):
    assert place_of(SRUN | {"SLURM_STEP_NODELIST": nodes}) == Place(f"{first}:61559", 3, 1)


def test_tasks_that_share_a_node_have_a_gpu_each_unless_slurm_gave_them_one():
    shared = SRUN | {"SLURM_STEP_NUM_NODES": "1", "SLURM_LOCALID": "1"}
    assert place_of(shared).devices == (1,)
    assert place_of(shared | {"CUDA_VISIBLE_DEVICES": "0,1,2"}).devices == (1,)
    assert place_of(shared | {"CUDA_VISIBLE_DEVICES": "1"}).devices is None


def test_steps_and_jobs_on_one_node_have_ports_of_their_own():
    places = [
        place_of(SRUN | {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}) for job in (17, 18) for step in (0, 1)
    ]
    assert len({place.coordinator for place in places}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CAPJAX_PROCESS": ""}, "is set, but not CAPJAX_PROCESS"),
        ({"CAPJAX_PROCESS": "4"}, "CAPJAX_PROCESS = 4: expected 0 to 3"),
        ({"CAPJAX_PROCESSES": "four"}, "CAPJAX_PROCESSES = 'four': expected a whole number"),
        ({"CAPJAX_COORDINATOR": "a.example"}, "CAPJAX_COORDINATOR = 'a.example': expected HOST:PORT"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_the_variable(change, message):
    with pytest.raises(HostsError, match=message):
        place_of(BY_HAND | change)


def test_process_0_that_does_not_come_is_told_with_its_place_and_worth_another_start():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LostError, match=f"process 0 was not at 127.0.0.1:{port} within 1 s") as told:
        meet(f"127.0.0.1:{port}", 1)
    assert told.value.status == 75
    with socket.create_server(("127.0.0.1", port)):
        meet(f"127.0.0.1:{port}", 1)


def test_one_process_gathers_its_own():
    assert gather({"a": (1, 2)}) == [{"a": (1, 2)}]
