"""Where the processes of a job meet: what the environment says of it, and a roll call before JAX's own meeting.

JAX waits for all processes and then aborts, and tells neither the user nor a launcher who did not come. So process 0
first waits for the others itself, at the address that is then JAX's, and all learn who is missing.
"""

import json
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from capjax.parallel.liveness import LOST

_BY_HAND = ("CAPJAX_COORDINATOR", "CAPJAX_PROCESSES", "CAPJAX_PROCESS")
_LINE = 4096  # bytes of a message at most


class HostsError(ValueError):
    """The environment says of this job's processes what cannot be; the message names the variable."""


class LostError(RuntimeError):
    """Another process is not there; all may be started again. `status` is what to exit with."""

    status = LOST


@dataclass(frozen=True)
class ProcessInfo:
    """This process's place in a job.

    Attributes:
      coordinator: HOST:PORT of process 0.
      count: processes of the job; index: of this one.
      devices: those of the host's GPUs that are this process's; None: all.
    """

    coordinator: str
    count: int
    index: int
    devices: tuple[int, ...] | None = None


def process_info_of(environ: Mapping[str, str]) -> ProcessInfo | None:
    """What the environment says: by hand in CAPJAX_COORDINATOR, CAPJAX_PROCESSES and CAPJAX_PROCESS, or as srun has it.
    None where it names no other process.

    Raises:
      HostsError: it says what cannot be.
    """
    told = [name for name in _BY_HAND if environ.get(name)]
    if told:
        if missing := [name for name in _BY_HAND if name not in told]:
            raise HostsError(f"{', '.join(told)} is set, but not {', '.join(missing)}; set all three, or none")
        coordinator = environ["CAPJAX_COORDINATOR"]
        if not re.fullmatch(r"\S+:\d{1,5}", coordinator) or int(coordinator.rpartition(":")[2]) > 65535:
            raise HostsError(f"CAPJAX_COORDINATOR = {coordinator!r}: expected HOST:PORT of process 0")
        count, index = whole("CAPJAX_PROCESSES", environ), whole("CAPJAX_PROCESS", environ)
        if not 0 <= index < count:
            raise HostsError(f"CAPJAX_PROCESS = {index}: expected 0 to {count - 1}, for CAPJAX_PROCESSES = {count}")
        return ProcessInfo(coordinator, count, index)
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
    if not all(environ.get(name) for name in slurm):
        return None
    count = whole("SLURM_STEP_NUM_TASKS", environ)
    if count == 1:
        return None
    first = re.match(r"([^,\[]+)(?:\[(\d+))?", environ["SLURM_STEP_NODELIST"])  # node7,..., node[07-12],...
    # Steps of one job may run on one node at a time, and so may jobs.
    port = 61440 + (7 * whole("SLURM_JOB_ID", environ) + whole("SLURM_STEP_ID", environ)) % 4096
    local = None
    if count > whole("SLURM_STEP_NUM_NODES", environ, count) and "," in environ.get("CUDA_VISIBLE_DEVICES", ","):
        local = (whole("SLURM_LOCALID", environ),)  # several tasks share a node and see all of its GPUs
    return ProcessInfo(f"{first[1]}{first[2] or ''}:{port}", count, whole("SLURM_PROCID", environ), local)


def whole(name: str, environ: Mapping[str, str], default: int | None = None) -> int:
    """The whole number that a variable holds; `default` where it is empty or not set.

    Raises:
      HostsError: it holds something else.
    """
    if default is not None and not environ.get(name):
        return default
    try:
        return int(environ[name])
    except (KeyError, ValueError) as error:
        raise HostsError(f"{name} = {environ.get(name)!r}: expected a whole number") from error


def rendezvous(place: ProcessInfo, patience: float):
    """Returns when all processes of a job have come, each within `patience` seconds.

    Raises:
      LostError: one did not, which is named; HostsError: two are one number, or they disagree on how many they are.
    """
    (_receive if place.index == 0 else _arrive)(place, patience)


def _receive(place: ProcessInfo, patience: float):
    """Process 0's part: it listens until all have come, and tells them so, or what is wrong."""
    here: dict[int, _Caller] = {}
    came: list[_Caller] = []
    answer = {"error": "process 0 was stopped", "lost": True}
    try:
        with _listen(int(place.coordinator.rpartition(":")[2]), patience) as server, _callers(server) as callers:
            end = time.monotonic() + patience
            while len(_still(here)) < place.count - 1:
                try:
                    caller = callers.get(timeout=max(end - time.monotonic(), 0))
                except queue.Empty:
                    raise LostError(_missing(place, _still(here), patience)) from None
                came.append(caller)
                _check(place, caller, _still(here).get(caller.index))
                if before := here.get(caller.index):  # left over from an earlier start, or a connection that broke
                    before.say({"error": f"{caller.host} has another process {caller.index} now", "lost": True})
                    came.remove(before)
                    before.connection.close()
                here[caller.index] = caller
        answer = {"go": True}
    except (LostError, HostsError) as error:
        answer = {"error": str(error), "lost": isinstance(error, LostError)}
        raise
    finally:
        for caller in came:
            caller.say(answer)
            caller.connection.close()


def _listen(port: int, patience: float) -> socket.socket:
    end = time.monotonic() + min(patience, 30)  # an earlier start may need a moment to end
    while True:
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
            return socket.create_server(("", port), backlog=1024)
        except OSError as error:
            if time.monotonic() > end:
                raise LostError(f"port {port}, where the others shall meet process 0: {error.strerror}") from error
        time.sleep(0.5)


@dataclass
class _Caller:
    """A process that has come, with what it said of itself."""

    connection: socket.socket
    index: int
    count: int
    host: str

    def say(self, message: Mapping):
        _say(self.connection, message)

    def waits(self) -> bool:
        """Who waits says nothing more; a connection that has ended is of a process that has."""
        self.connection.setblocking(False)
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except ConnectionError:
            return False


@contextmanager
def _callers(server: socket.socket) -> "Iterator[queue.SimpleQueue[_Caller]]":
    """Who comes. Strangers, who say nothing or something else, hold nobody up."""
    found, over = queue.SimpleQueue(), threading.Event()
    server.settimeout(0.1)

    def hear(connection: socket.socket):
        told = _hear(connection, 5) or {}
        index, count, host = (told.get(name) for name in ("process", "of", "host"))
        if type(index) is type(count) is int and max(index, count) < 1e6 and isinstance(host, str) and len(host) < 256:
            found.put(_Caller(connection, index, count, host))
        else:
            connection.close()

    def accept():
        while not over.is_set():
            with suppress(OSError):  # nobody within the time, or one who is gone already
                threading.Thread(target=hear, args=[server.accept()[0]], daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True, name="roll_call")
    accepting.start()
    try:
        yield found
    finally:
        over.set()
        accepting.join()  # else the port would stay taken


def _check(place: ProcessInfo, caller: _Caller, before: _Caller | None):
    who = f"{caller.host} is number {caller.index} of {caller.count} processes"
    if caller.count != place.count or not 0 < caller.index < caller.count:
        raise HostsError(
            f"{who}, and {socket.gethostname()} is number 0 of {place.count}: all must be told the same number of "
            "processes, and each another of its own"
        )
    if before and before.host != caller.host:
        raise HostsError(f"{who}, and so is {before.host}")


def _still(here: dict[int, _Caller]) -> dict[int, _Caller]:
    """Those that still wait; the others are forgotten."""
    for index in [index for index, caller in here.items() if not caller.waits()]:
        del here[index]
    return here


def _missing(place: ProcessInfo, here: Mapping, patience: float) -> str:
    missing = [str(index) for index in range(1, place.count) if index not in here]
    more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
    return (
        f"of {place.count} processes, number {', '.join(missing[:20])}{more} did not come to {place.coordinator} "
        f"within {patience:.0f} s: not started, or they cannot reach it"
    )


def _arrive(place: ProcessInfo, patience: float):
    """The others' part: they say who they are, and wait for the answer."""
    host, _, port = place.coordinator.rpartition(":")
    end = time.monotonic() + patience
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
                _say(connection, {"process": place.index, "of": place.count, "host": socket.gethostname()})
                answer, why = _hear(connection, patience + 60) or {}, "it went away"
        except OSError as error:
            answer, why = {}, error
        if answer.get("go"):
            return
        if "error" in answer:
            raise (LostError if answer.get("lost") else HostsError)(str(answer["error"]))
        if time.monotonic() > end:
            raise LostError(
                f"process 0 was not at {place.coordinator} within {patience:.0f} s ({why}): it did not start, or its "
                "port cannot be reached from here"
            )
        time.sleep(0.5)


def _say(connection: socket.socket, message: Mapping):
    connection.settimeout(5)
    with suppress(OSError):  # who is gone, the other side finds out
        connection.sendall(json.dumps(message).encode() + b"\n")


def _hear(connection: socket.socket, patience: float) -> dict | None:
    """A line of JSON; None where none comes within `patience` seconds."""
    end, line = time.monotonic() + patience, b""
    with suppress(OSError, ValueError, RecursionError):
        while not line.endswith(b"\n") and len(line) < _LINE:
            connection.settimeout(max(end - time.monotonic(), 1e-3))
            if not (more := connection.recv(_LINE)):
                return None
            line += more
        message = json.loads(line)
        return message if isinstance(message, dict) else None
    return None
