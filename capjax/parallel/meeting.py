"""Where the processes of a job meet: what the environment says of it, and a roll call before JAX's own meeting.

JAX waits for all processes and then aborts, and tells neither the user nor a launcher who did not come. So process 0
first waits for the others itself, at the address that is then JAX's, and all learn who is missing.
"""

import json
import re
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from capjax.parallel.lookout import LOST

_BY_HAND = ("CAPJAX_COORDINATOR", "CAPJAX_PROCESSES", "CAPJAX_PROCESS")
_LINE = 4096  # bytes of a message at most


class HostsError(ValueError):
    """The environment says of this job's processes what cannot be; the message names the variable."""


class LostError(RuntimeError):
    """Another process is not there; all may be started again. `status` is what to exit with."""

    status = LOST


@dataclass(frozen=True)
class Place:
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


def place_of(environ: Mapping[str, str]) -> Place | None:
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
        if not re.fullmatch(r"\S+:\d{1,5}", coordinator):
            raise HostsError(f"CAPJAX_COORDINATOR = {coordinator!r}: expected HOST:PORT of process 0")
        count, index = whole("CAPJAX_PROCESSES", environ), whole("CAPJAX_PROCESS", environ)
        if not 0 <= index < count:
            raise HostsError(f"CAPJAX_PROCESS = {index}: expected 0 to {count - 1}, for CAPJAX_PROCESSES = {count}")
        return Place(coordinator, count, index)
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
    return Place(f"{first[1]}{first[2] or ''}:{port}", count, whole("SLURM_PROCID", environ), local)


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


def meet(place: Place, patience: float):
    """Returns when all processes of a job have come, each within `patience` seconds.

    Raises:
      LostError: one did not, which is named; HostsError: two are one number, or they disagree on how many they are.
    """
    (_receive if place.index == 0 else _arrive)(place, patience)


def _receive(place: Place, patience: float):
    """Process 0's part: it listens until all have come, and tells them so, or what is wrong."""
    here: dict[int, tuple[socket.socket, str]] = {}
    came, answer = [], {"error": "process 0 was stopped", "lost": True}
    with ExitStack() as opened:
        try:
            with _listen(int(place.coordinator.rpartition(":")[2]), patience) as server:
                end = time.monotonic() + patience
                while len(_still(here)) < place.count - 1:
                    if (connection := _accept(server, end)) is None:
                        raise LostError(_missing(place, _still(here), patience))
                    opened.enter_context(connection)
                    if told := _told(connection):  # else a stranger
                        came.append(connection)
                        before = _still(here).get(told["process"])
                        here[told["process"]] = connection, told["host"]
                        _check(place, told, before)
            answer = {"go": True}
        except (LostError, HostsError) as error:
            answer = {"error": str(error), "lost": isinstance(error, LostError)}
            raise
        finally:
            for connection in came:
                _say(connection, answer)


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


def _accept(server: socket.socket, end: float) -> socket.socket | None:
    """None when there is no time left."""
    server.settimeout(max(end - time.monotonic(), 1e-3))
    with suppress(TimeoutError):
        return server.accept()[0]
    return None


def _told(connection: socket.socket) -> dict | None:
    """What a process says of itself; None from a stranger."""
    told = _hear(connection, 5)
    if told and all(isinstance(told.get(name), kind) for name, kind in (("process", int), ("of", int), ("host", str))):
        return told
    return None


def _check(place: Place, told: Mapping, before: tuple[socket.socket, str] | None):
    index, count, host = told["process"], told["of"], told["host"]
    if count != place.count or not 0 < index < count:
        raise HostsError(
            f"{host} is number {index} of {count} processes, and {socket.gethostname()} is number 0 of {place.count}: "
            "all must be told the same number of processes, and each another of its own"
        )
    if before:
        raise HostsError(f"{before[1]} and {host} both are number {index} of {count} processes")


def _still(here: dict[int, tuple[socket.socket, str]]) -> dict[int, tuple[socket.socket, str]]:
    """Those that still wait. Who waits says nothing more; a connection that has ended is of a process that has."""
    for index, (connection, _) in list(here.items()):
        connection.setblocking(False)
        with suppress(BlockingIOError):
            try:
                gone = not connection.recv(1, socket.MSG_PEEK)
            except ConnectionError:
                gone = True
            if gone:
                del here[index]
    return here


def _missing(place: Place, here: Mapping, patience: float) -> str:
    missing = [str(index) for index in range(1, place.count) if index not in here]
    came = ", ".join([f"0 ({socket.gethostname()})", *(f"{index} ({here[index][1]})" for index in sorted(here))])
    return (
        f"of {place.count} processes, number {', '.join(missing)} did not come to {place.coordinator} within "
        f"{patience:.0f} s: not started, or they cannot reach it; there were {came}"
    )


def _arrive(place: Place, patience: float):
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
