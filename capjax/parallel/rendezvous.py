"""Rendezvous of the processes of a job: its place in the environment, and a roll call before JAX's own initialization.

Where a process is missing, JAX waits and then aborts all others without naming it. So process 0 first waits for the
others itself, at the address that JAX uses afterwards, and every process learns which are missing.

Protocol: a process connects and sends a line of JSON, {"process": index, "of": count, "host": name}; once all have
come, process 0 answers each with {"go": true}, or with {"error": message, "lost": bool}.
"""

import json
import re
import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from capjax.metrics.messages import shorten
from capjax.parallel.liveness import LOST

_VARIABLES = ("CAPJAX_COORDINATOR", "CAPJAX_PROCESSES", "CAPJAX_PROCESS")
_MAX_LINE = 4096  # bytes of a message


class HostsError(ValueError):
    """The environment variables of a job's processes contradict each other; the message names them."""


class LostError(RuntimeError):
    """Another process is missing; all may be started again. `status` is the exit status."""

    status = LOST


@dataclass(frozen=True)
class ProcessInfo:
    """This process's place in a job.

    Attributes:
      coordinator: HOST:PORT of process 0.
      count: number of processes of the job.
      index: number of this process, from 0.
      devices: local ids of the GPUs that this process uses; None for all of its host.
    """

    coordinator: str
    count: int
    index: int
    devices: tuple[int, ...] | None = None


def process_info_of(environ: Mapping[str, str]) -> ProcessInfo | None:
    """Returns the process's place from CAPJAX_COORDINATOR, CAPJAX_PROCESSES and CAPJAX_PROCESS, else from srun's
    variables; None where the environment describes no job of several processes.

    Raises:
      HostsError: a variable is missing or has an impossible value.
    """
    if given := [name for name in _VARIABLES if environ.get(name)]:
        if missing := [name for name in _VARIABLES if name not in given]:
            raise HostsError(f"{', '.join(given)} is set, but not {', '.join(missing)}; set all three, or none")
        coordinator = environ["CAPJAX_COORDINATOR"]
        if not re.fullmatch(r"\S+:\d{1,5}", coordinator) or int(coordinator.rpartition(":")[2]) > 65535:
            raise HostsError(f"CAPJAX_COORDINATOR = {coordinator!r}: expected HOST:PORT of process 0")
        count, index = int_from("CAPJAX_PROCESSES", environ), int_from("CAPJAX_PROCESS", environ)
        if not 0 <= index < count:
            raise HostsError(f"CAPJAX_PROCESS = {index}: expected 0 to {count - 1}, for CAPJAX_PROCESSES = {count}")
        return ProcessInfo(coordinator, count, index)
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
    if not all(environ.get(name) for name in slurm):
        return None
    count = int_from("SLURM_STEP_NUM_TASKS", environ)
    if count == 1:
        return None
    name, number = re.findall(r"^([^,\[]+)(?:\[(\d+))?", environ["SLURM_STEP_NODELIST"])[0]  # node7, node[07-12,15]
    # Several jobs, or steps of one job, may run on one node at a time.
    port = 61440 + (7 * int_from("SLURM_JOB_ID", environ) + int_from("SLURM_STEP_ID", environ)) % 4096
    devices = None
    if count > int_from("SLURM_STEP_NUM_NODES", environ, count) and "," in environ.get("CUDA_VISIBLE_DEVICES", ","):
        devices = (int_from("SLURM_LOCALID", environ),)  # several tasks share a node and see all of its GPUs
    return ProcessInfo(f"{name}{number}:{port}", count, int_from("SLURM_PROCID", environ), devices)


def int_from(name: str, environ: Mapping[str, str], default: int | None = None) -> int:
    """Returns the integer in an environment variable, `default` where it is empty or not set.

    Raises:
      HostsError: the variable holds something else.
    """
    if default is not None and not environ.get(name):
        return default
    try:
        return int(environ[name])
    except (KeyError, ValueError) as error:
        raise HostsError(f"{name} = {environ.get(name)!r}: expected a whole number") from error


def rendezvous(info: ProcessInfo, timeout: float):
    """Blocks until all processes of a job have come.

    Args:
      timeout: seconds that process 0 waits for all others, and each of them for process 0.

    Raises:
      LostError: a process did not come; the message names it.
      HostsError: two processes have the same number, or processes disagree on their count.
    """
    if info.index == 0:
        _wait_for_all(info, timeout)
    else:
        _report_to_coordinator(info, timeout)


@dataclass
class _Connection:
    """A connection to process 0. `index` and `host` are known once it has sent its line."""

    socket: socket.socket
    received: bytes = b""
    index: int | None = None
    host: str = ""
    answered: bool = False

    def send(self, message: Mapping):
        self.answered = True
        self.socket.settimeout(5)
        with suppress(OSError):  # the other end is gone
            self.socket.sendall(json.dumps(message).encode() + b"\n")


def _wait_for_all(info: ProcessInfo, timeout: float):
    """Process 0's part: waits for all others and answers them."""
    deadline = time.monotonic() + timeout
    present: dict[int, _Connection] = {}
    answer: dict = {"error": "process 0 was stopped", "lost": True}
    with _listen(int(info.coordinator.rpartition(":")[2]), timeout) as server, selectors.DefaultSelector() as selector:
        server.setblocking(False)
        selector.register(server, selectors.EVENT_READ)
        try:
            while len(present) < info.count - 1:
                if (remaining := deadline - time.monotonic()) <= 0:
                    raise LostError(_missing(info, present, timeout))
                ready = [key for key, _ in selector.select(remaining)]
                # Processes that have ended come first, for others may take their numbers.
                for key in sorted(ready, key=lambda key: key.data is None or key.data.index is None):
                    if key.fileobj is server:
                        with suppress(OSError):  # the other end is gone already
                            accepted = server.accept()[0]
                            selector.register(accepted, selectors.EVENT_READ, _Connection(accepted))
                    elif not _receive(info, key.data, present):
                        selector.unregister(key.fileobj)
                        key.data.socket.close()
            answer = {"go": True}
        except (LostError, HostsError) as error:
            answer = {"error": str(error), "lost": isinstance(error, LostError)}
            raise
        finally:
            for key in list(selector.get_map().values()):
                if connection := key.data:
                    if connection.index is not None and not connection.answered:
                        connection.send(answer)
                    connection.socket.close()


def _receive(info: ProcessInfo, connection: _Connection, present: dict[int, _Connection]) -> bool:
    """Reads from a connection and enters its process in `present`; returns whether to keep the connection.

    A process that waits sends nothing more: what can be read then is the end of its connection. A connection that does
    not speak the protocol is closed and delays nobody.

    Raises:
      HostsError: the process contradicts this one, or another that has come.
    """
    received = b""
    with suppress(OSError):
        received = connection.socket.recv(_MAX_LINE)
    if connection.index is not None:
        if present.get(connection.index) is connection:
            del present[connection.index]
        return False
    if not received:
        return False
    connection.received += received
    if not connection.received.endswith(b"\n"):
        return len(connection.received) < _MAX_LINE
    hello = _parse(connection.received)
    index, count, host = (hello.get(name) for name in ("process", "of", "host"))
    if not (
        type(index) is type(count) is int and max(index, count) < 1e6 and isinstance(host, str) and len(host) < 256
    ):
        return False
    connection.index, connection.host = index, host
    process = f"{host} is number {index} of {count} processes"
    if count != info.count or not 0 < index < count:
        raise HostsError(
            f"{process}, and {socket.gethostname()} is number 0 of {info.count}: all must be told the same number of "
            "processes, and each another of its own"
        )
    if earlier := present.get(index):
        if earlier.host != host:
            raise HostsError(f"{process}, and so is {earlier.host}")
        # It is left over from an earlier start, or its connection broke.
        earlier.send({"error": f"{host} has another process {index} now", "lost": True})
    present[index] = connection
    return True


def _listen(port: int, timeout: float) -> socket.socket:
    deadline = time.monotonic() + min(timeout, 30)  # an earlier start may need a moment to release the port
    while True:
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
            return socket.create_server(("", port), backlog=1024)
        except OSError as error:
            if time.monotonic() > deadline:
                raise LostError(f"port {port}, where process 0 waits for the others: {error.strerror}") from error
        time.sleep(0.5)


def _missing(info: ProcessInfo, present: Mapping, timeout: float) -> str:
    missing = shorten((index for index in range(1, info.count) if index not in present), shown=20)
    return (
        f"of {info.count} processes, number {missing} did not come to {info.coordinator} "
        f"within {timeout:.0f} s: not started, or they cannot reach it"
    )


def _report_to_coordinator(info: ProcessInfo, timeout: float):
    """The other processes' part: sends its line to process 0 and waits for the answer."""
    host, _, port = info.coordinator.rpartition(":")
    hello = {"process": info.index, "of": info.count, "host": socket.gethostname()}
    deadline = time.monotonic() + timeout
    while True:
        answer, cause = {}, "it closed the connection"
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
                connection.sendall(json.dumps(hello).encode() + b"\n")
                connection.settimeout(timeout + 60)
                with connection.makefile("rb") as lines:
                    answer = _parse(lines.readline(_MAX_LINE))
        except OSError as error:
            cause = str(error)
        if answer.get("go"):
            return
        if "error" in answer:
            raise (LostError if answer.get("lost") else HostsError)(str(answer["error"]))
        if time.monotonic() > deadline:
            raise LostError(
                f"process 0 was not at {info.coordinator} within {timeout:.0f} s ({cause}): it did not start, or its "
                "port cannot be reached from here"
            )
        time.sleep(0.5)


def _parse(line: bytes) -> dict:
    """Returns the JSON object in a line; empty for anything else."""
    with suppress(ValueError, RecursionError):
        message = json.loads(line)
        return message if isinstance(message, dict) else {}
    return {}
