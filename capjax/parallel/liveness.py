"""Liveness monitoring: each process of a job watches the others, so that none waits forever for one that died or hangs.

Every other second each process writes a heartbeat with its step into the key-value store that JAX keeps in process 0,
and reads those of the others. A process without heartbeats is dead, frozen or unreachable; one that falls behind while
the others wait for it hangs; if no process moves, a collective is stuck. The others then name its host and exit with
`LOST`, the status that tells a launcher to start all again. While a process is busy (compiling, evaluating, saving)
only missing heartbeats count. A process that fails reports its error before it exits.
"""

import ctypes
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import jax
from jax._src import distributed  # the key-value store has no public API

# Exit status where another process is lost: sysexits.h's EX_TEMPFAIL, "try again later".
LOST = 75
_INTERVAL = 2.0  # seconds between heartbeats
_HEARTBEAT_TIMEOUT = 30.0  # seconds without a heartbeat
_BEHIND_TIMEOUT = 45.0  # seconds that a process may stay behind the others in a training step
_STEP_TIMEOUT = 1800.0  # seconds that a training step may take
_CLEANUP_TIMEOUT = 6.0  # seconds for what remains to be done before a process ends
_KEY_PREFIX = "capjax/alive/"
_REMEDY = "started again, the run goes on from its last checkpoint"


class Peers:
    """State of all processes of a job, derived from their reports.

    A report is {"heartbeats": count, "step": int, "busy": bool}, of a process that has left the job
    {"exit_status": int, "reason": str}, and empty before the first one.

    Args:
      hosts: "HOST, process PID" of each process.
      now: seconds of a monotonic clock, as in all methods.
    """

    def __init__(self, hosts: Sequence[str], now: float):
        self._hosts = hosts
        self._reports: list[dict] = [{} for _ in hosts]
        self.reset(now)

    def reset(self, now: float):
        """Restarts all timeouts: this process was frozen itself and has missed the reports of the others."""
        self._heard = [now] * len(self._hosts)  # last report of each process
        self._level = [now] * len(self._hosts)  # last time that each was at the furthest step, was busy, or moved
        self._moved = now  # last time that any process was busy or moved

    def update(self, reports: Sequence[dict], now: float):
        """Takes the latest report of each process."""
        furthest = max(report.get("step", 0) for report in reports)
        for index, (new, old) in enumerate(zip(reports, self._reports, strict=True)):
            if new != old:
                self._heard[index] = now
            step = new.get("step", 0)
            moves = step != old.get("step", 0) or new.get("busy")
            if step == furthest or moves:
                self._level[index] = now
            if moves:
                self._moved = now
        self._reports = list(reports)

    def status(self, own_index: int, now: float) -> tuple[int, str] | None:
        """Returns the (exit status, message) with which process `own_index` must end; None while all is well."""
        for index, report in enumerate(self._reports):
            if "exit_status" in report:
                if report["exit_status"]:
                    return report["exit_status"], f"{self.name(index)}, ended: {report['reason']}"
            elif index != own_index and now - self._heard[index] > _HEARTBEAT_TIMEOUT:
                state = f"has given no sign of life for {_HEARTBEAT_TIMEOUT:.0f} s: dead, frozen or out of reach"
                return LOST, f"{self.name(index)}, {state}; {_REMEDY}"
            elif now - self._level[index] > _BEHIND_TIMEOUT:
                state = f"hangs at step {report['step']}: the others have waited for it for {_BEHIND_TIMEOUT:.0f} s"
                return LOST, f"{self.name(index)}, {state}; {_REMEDY}"
        if now - self._moved > _STEP_TIMEOUT:
            step = max(report.get("step", 0) for report in self._reports)
            return LOST, f"no process has got past step {step} for {_STEP_TIMEOUT / 60:.0f} minutes; {_REMEDY}"
        return None

    def name(self, index: int) -> str:
        host, process = self._hosts[index].rsplit(", ", 1)
        return f"host {host} ({process}, number {index} of {len(self._hosts)})"


class LivenessMonitor:
    """Sends this process's heartbeats and ends it when another process is lost, until `shut_down`.

    Every process of a job makes one at the same time, after `jax.distributed.initialize`.

    Attributes:
      on_loss: called before the loss or failure of another process ends this one, see `run_briefly`.

    Raises:
      RuntimeError: another process did not come in time.
    """

    def __init__(self):
        self.on_loss: Callable[[], None] = lambda: None
        self._client = distributed.global_state.client
        self._index, count = jax.process_index(), jax.process_count()
        host, _, port = distributed.global_state.coordinator_address.rpartition(":")
        self._coordinator = (host.strip("[]"), int(port))
        self._client.key_value_set(f"capjax/host/{self._index}", f"{socket.gethostname()}, process {os.getpid()}")
        self._client.wait_at_barrier("capjax/hosts", 300_000)
        hosts = dict(self._client.key_value_dir_get("capjax/host/"))
        self._keys = [f"{_KEY_PREFIX}{index}" for index in range(count)]
        self._step, self._busy = 0, True
        self._ended, self._exit_lock = threading.Event(), threading.Lock()
        self._answered = time.monotonic()  # last answer of the store
        self._peers = Peers([hosts[f"capjax/host/{index}"] for index in range(count)], self._answered)
        _delay_aborts()
        # Two threads, for a call to the store of a frozen process 0 does not return.
        self._heartbeats = threading.Thread(target=self._send_heartbeats, daemon=True, name="liveness_heartbeats")
        self._heartbeats.start()
        threading.Thread(target=self._watch, daemon=True, name="liveness_watch").start()

    def heartbeat(self, step: int, busy: bool):
        self._step, self._busy = step, busy

    def wait_for_detection(self):
        """Waits as long as detecting a lost process takes; returns if none is lost."""
        self._busy = True
        time.sleep(_HEARTBEAT_TIMEOUT + 4 * _INTERVAL)

    def shut_down(self, status: int, reason: str):
        """Reports that this process leaves the job; with a status other than 0 it then exits."""
        with self._exit_lock:  # `_watch` may be reporting the loss of another process
            self._ended.set()
        self._heartbeats.join(2 * _INTERVAL)  # a later heartbeat would overwrite the report
        with suppress(jax.errors.JaxRuntimeError):  # without a store the others know already
            self._report({"exit_status": status, "reason": reason})
        if status:
            if self._index == 0:
                time.sleep(3 * _INTERVAL)  # the store ends with this process: the others must read the report first
            # JAX's own shutdown would wait for processes that wait for this one.
            _exit(status)

    def _report(self, report: dict):
        self._client.key_value_set(self._keys[self._index], json.dumps(report), allow_overwrite=True)

    def _send_heartbeats(self):
        for count in itertools.count(1):
            if self._ended.is_set():
                return
            with suppress(jax.errors.JaxRuntimeError):  # `_watch` handles a store that does not answer
                self._report({"heartbeats": count, "step": self._step, "busy": self._busy})
                reports = dict(self._client.key_value_dir_get(_KEY_PREFIX))
                self._answered = time.monotonic()
                self._peers.update([json.loads(reports.get(key, "{}")) for key in self._keys], self._answered)
            self._ended.wait(_INTERVAL)

    def _watch(self):
        last = time.monotonic()
        while not self._ended.wait(0.5):
            now = time.monotonic()
            if now - last > 5:  # this process was frozen itself
                self._answered = now
                self._peers.reset(now)
            last = now
            if (failure := self._status(now)) is None:
                continue
            with self._exit_lock:
                if self._ended.is_set():
                    return
                status, message = failure
                print(f"launch.py: {message}", file=sys.stderr, flush=True)
                run_briefly(self.on_loss)
                _exit(status)

    def _status(self, now: float) -> tuple[int, str] | None:
        unanswered = now - self._answered
        gone = unanswered > _INTERVAL + 1 and self._coordinator_refuses()
        if self._index and (gone or unanswered > _HEARTBEAT_TIMEOUT):
            return LOST, f"{self._peers.name(0)}, is gone or does not answer; {_REMEDY}"
        # While process 0 does not answer, nobody's reports arrive.
        return None if unanswered > 2 * _INTERVAL else self._peers.status(self._index, now)

    def _coordinator_refuses(self) -> bool:
        """Whether nothing listens any more at the address of process 0."""
        try:
            socket.create_connection(self._coordinator, timeout=2).close()
        except OSError as error:
            return isinstance(error, ConnectionError)
        return False


def _delay_aborts():
    """Gives `_watch` 6 seconds to name the host where process 0 is gone, before JAX aborts this process.

    JAX's client calls abort() at once and names no host. C's `sleep` as the handler of SIGABRT, whose number is 6,
    sleeps 6 seconds first; a handler in Python would not run. JAX's own callback for this (missed_heartbeat_callback)
    cannot be written in Python: jaxlib fails to convert its argument (std::bad_cast).
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def run_briefly(cleanup: Callable[[], None]):
    """Calls a function in another thread and waits for a few seconds at most, since the process is to end."""
    thread = threading.Thread(target=cleanup, daemon=True)
    thread.start()
    thread.join(_CLEANUP_TIMEOUT)


def _exit(status: int):
    """Exits at once: an orderly exit would wait for the lost process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
