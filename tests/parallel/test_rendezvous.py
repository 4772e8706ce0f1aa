"""Rendezvous: the place of each process from its environment, and the roll call when some do not come."""

import json
import socket
import threading
import time

import pytest

from capjax.parallel.rendezvous import HostsError, LostError, ProcessInfo, process_info_of, rendezvous

CAPJAX = {"CAPJAX_COORDINATOR": "a.example:1234", "CAPJAX_PROCESSES": "4", "CAPJAX_PROCESS": "2"}
SLURM = {
    "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "node[07-08,11]", "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NUM_NODES": "3", "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
}  # fmt: skip


def test_without_variables_a_process_is_alone():
    assert process_info_of({}) is None
    assert process_info_of({"SLURM_JOB_ID": "17", "SLURM_NTASKS": "4"}) is None, "sbatch's own step starts one process"
    assert process_info_of(SLURM | {"SLURM_STEP_NUM_TASKS": "1"}) is None


def test_capjax_variables_take_precedence_over_slurm():
    assert process_info_of(SLURM | CAPJAX) == ProcessInfo("a.example:1234", 4, 2)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node[07-08,11]", "node07"), ("node7", "node7"), ("node7,other3", "node7"), ("a-b[3,5],c[1-2]", "a-b3")],
)
def test_process_0_is_on_the_first_of_slurms_nodes(nodes, first):
    assert process_info_of(SLURM | {"SLURM_STEP_NODELIST": nodes}) == ProcessInfo(f"{first}:61559", 3, 1)


def test_tasks_that_share_a_node_take_a_gpu_each_unless_slurm_gave_them_one():
    shared = SLURM | {"SLURM_STEP_NUM_NODES": "1", "SLURM_LOCALID": "1"}
    assert process_info_of(shared).devices == (1,)
    assert process_info_of(shared | {"CUDA_VISIBLE_DEVICES": "0,1,2"}).devices == (1,)
    assert process_info_of(shared | {"CUDA_VISIBLE_DEVICES": "1"}).devices is None


def test_steps_and_jobs_on_one_node_have_ports_of_their_own():
    infos = [
        process_info_of(SLURM | {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})
        for job in (17, 18)
        for step in (0, 1)
    ]
    assert len({info.coordinator for info in infos}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CAPJAX_PROCESS": ""}, "is set, but not CAPJAX_PROCESS"),
        ({"CAPJAX_PROCESS": "4"}, "CAPJAX_PROCESS = 4: expected 0 to 3"),
        ({"CAPJAX_PROCESSES": "four"}, "CAPJAX_PROCESSES = 'four': expected a whole number"),
        ({"CAPJAX_COORDINATOR": "a:70000"}, "CAPJAX_COORDINATOR = 'a:70000': expected HOST:PORT"),
        ({"CAPJAX_COORDINATOR": "a.example"}, "CAPJAX_COORDINATOR = 'a.example': expected HOST:PORT"),
    ],
)
def test_an_impossible_value_is_an_error_that_names_the_variable(change, message):
    with pytest.raises(HostsError, match=message):
        process_info_of(CAPJAX | change)


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class Job:
    """The rendezvous of several processes, each a thread; `errors` of those that have returned, by index."""

    def __init__(self, address: str):
        self.address, self.errors, self.threads = address, {}, []

    def start(self, index: int, count: int = 3, timeout: float = 20, name=None):
        def run():
            try:
                rendezvous(ProcessInfo(self.address, count, index), timeout)
                self.errors[name or index] = None
            except (LostError, HostsError) as error:
                self.errors[name or index] = error

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def end(self) -> dict:
        for thread in self.threads:
            thread.join(30)
        return self.errors


def connect(address: str) -> socket.socket:
    host, port = address.split(":")
    for _ in range(100):
        try:
            return socket.create_connection((host, int(port)))
        except OSError:
            time.sleep(0.05)
    raise AssertionError("process 0 does not listen")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_return_once_all_have_come(address, order):
    job = Job(address)
    for index in order:
        job.start(index)
    assert job.end() == {0: None, 1: None, 2: None}
    host, port = address.split(":")
    socket.create_server((host, int(port))).close()  # the port is free for JAX


def test_a_missing_process_is_named_to_all_others(address):
    job = Job(address)
    job.start(0, timeout=1)
    job.start(1)
    errors = job.end()
    assert errors.keys() == {0, 1}
    for error in errors.values():
        assert isinstance(error, LostError) and error.status == 75
        assert f"of 3 processes, number 2 did not come to {address} within 1 s" in str(error)


def test_a_missing_process_0_is_named_by_its_address_and_worth_another_start(address):
    with pytest.raises(LostError, match=f"process 0 was not at {address} within 1 s") as caught:
        rendezvous(ProcessInfo(address, 2, 1), 1)
    assert caught.value.status == 75


def test_connections_of_other_programs_are_not_counted(address):
    job = Job(address)
    job.start(0, count=2)
    for sent in (b"GET / HTTP/1.1\r\n\r\n", b"[" * 5000, b"{}\n", b'{"process": "1", "of": 2, "host": "a"}\n', b""):
        with connect(address) as connection:
            connection.sendall(sent)
    assert not job.errors
    job.start(1, count=2)
    assert job.end() == {0: None, 1: None}


def test_silent_connections_delay_nobody(address):
    job = Job(address)
    job.start(0, count=2)
    silent = [connect(address) for _ in range(5)]
    job.start(1, count=2)
    start = time.monotonic()
    assert job.end() == {0: None, 1: None}
    assert time.monotonic() - start < 4
    for each in silent:
        each.close()


def test_of_many_missing_processes_the_first_are_named(address):
    job = Job(address)
    job.start(0, count=5000, timeout=1)
    job.start(1, count=5000)
    errors = job.end()
    for error in errors.values():
        assert "number 2, 3, 4," in str(error) and "21 and 4978 more did not come" in str(error)


def come(address: str, index: int, host: str) -> socket.socket:
    """Connects as a process of three on a host."""
    connection = connect(address)
    connection.sendall(json.dumps({"process": index, "of": 3, "host": host}).encode() + b"\n")
    time.sleep(0.3)
    return connection


def test_a_process_left_over_from_an_earlier_start_is_replaced(address):
    job = Job(address)
    job.start(0)
    old = come(address, 1, socket.gethostname())
    job.start(1)
    assert b"has another process 1 now" in old.recv(4096)
    job.start(2)
    assert job.end() == {0: None, 1: None, 2: None}


def test_a_process_that_came_and_died_is_waited_for_again(address):
    job = Job(address)
    job.start(0)
    come(address, 1, "a").close()
    job.start(2)
    time.sleep(0.3)
    assert not job.errors
    job.start(1)
    assert job.end() == {0: None, 1: None, 2: None}


@pytest.mark.parametrize(
    ("index", "count", "message"),
    [
        (1, 3, "is number 1 of 3 processes, and so is other"),
        (2, 4, "is number 2 of 4 processes, and .* is number 0 of 3"),
    ],
)
def test_contradicting_processes_are_an_error_that_is_not_restarted(address, index, count, message):
    job = Job(address)
    job.start(0)
    other = come(address, 1, "other")
    job.start(index, count=count)
    errors = job.end()
    assert errors.keys() == {0, index}
    for error in errors.values():
        with pytest.raises(HostsError, match=message):
            raise error
    assert json.loads(other.recv(4096)) == {"error": str(errors[0]), "lost": False}


def test_a_port_that_is_taken_is_named(address):
    host, port = address.split(":")
    with socket.create_server(("", int(port))), pytest.raises(LostError, match=f"port {port}, where process 0 waits"):
        rendezvous(ProcessInfo(address, 2, 0), 1)
