"""Each process of a job keeps a lookout for the others, so that none waits forever for one that died or hangs.

A process says every other second that it lives, and how far it has come, in the key-value store that JAX keeps in
process 0. One that is silent is dead, frozen or out of reach; one that stays behind while the others wait for it hangs.
The others then name its host and end, with the status that tells a launcher to start again: work goes on from the last
checkpoint. One that ends with an error says so before.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time

import jax
from jax._src import distributed  # JAX has no public door to its key-value store

# sysexits.h's EX_TEMPFAIL: try again.
LOST = 75
_EVERY = 2.0  # seconds between two signs of life
_SILENCE = 30.0  # seconds without one after which a process is taken for lost
_BEHIND = 45.0  # seconds that a process may stay behind the others in a training step
_DIR = "capjax/alive/"


class Lookout:
    """Starts when made, in every process of a job at a time; ends with `leave`.

    Raises:
      RuntimeError: another process did not come in time.
    """

    def __init__(self):
        self._client = distributed.global_state.client
        self._index, self._count = jax.process_index(), jax.process_count()
        host, _, port = distributed.global_state.coordinator_address.rpartition(":")
        self._coordinator = (host.strip("[]"), int(port))
        self._client.key_value_set(f"capjax/host/{self._index}", f"{socket.gethostname()}, process {os.getpid()}")
        self._client.wait_at_barrier("capjax/hosts", 300_000)
        hosts = dict(self._client.key_value_dir_get("capjax/host/"))
        self._names = [hosts[f"capjax/host/{index}"] for index in range(self._count)]
        self._beats, self._step, self._busy = 0, 0, True
        self._over = threading.Event()
        self._parting = threading.Lock()
        now = time.monotonic()
        self._answered = self._asked = now  # by the store
        self._seen = [now] * self._count  # a new sign of life
        self._told: list[dict] = [{}] * self._count
        self._moved = [now] * self._count  # a new step
        _delay_aborts()
        for work in (self._beat, self._look):
            threading.Thread(target=work, daemon=True, name=f"lookout{work.__name__}").start()

    def at(self, step: int, busy: bool):
        self._step, self._busy = step, busy

    def wait(self):
        """Gives a verdict the time that it needs; returns if there is none."""
        self._busy = True
        time.sleep(_SILENCE + 4 * _EVERY)

    def leave(self, status: int, reason: str):
        with self._parting:  # a verdict that is being told is told
            self._over.set()
        try:
            told = {"beats": -1, "status": status, "reason": reason}
            self._client.key_value_set(f"{_DIR}{self._index}", json.dumps(told), allow_overwrite=True)
        except jax.errors.JaxRuntimeError:
            pass  # then the others know already
        if status:
            if self._index == 0:
                time.sleep(3 * _EVERY)  # the store ends with this process: first they shall read it
            # JAX's own farewell would wait for processes that wait for this one.
            _exit(status)

    def _beat(self):
        while not self._over.is_set():
            self._beats += 1
            self._asked = time.monotonic()
            told = {"beats": self._beats, "step": self._step, "busy": self._busy}
            try:
                self._client.key_value_set(f"{_DIR}{self._index}", json.dumps(told), allow_overwrite=True)
                answers = dict(self._client.key_value_dir_get(_DIR))
            except jax.errors.JaxRuntimeError:
                answers = None  # what that means `_look` finds out
            if self._over.is_set():
                return
            now = time.monotonic()
            if answers is not None:
                self._answered = now
                for index in range(self._count):
                    told, before = json.loads(answers.get(f"{_DIR}{index}", "{}")), self._told[index]
                    if told != before:
                        self._seen[index] = now
                    if told.get("step") != before.get("step") or told.get("busy"):
                        self._moved[index] = now
                    self._told[index] = told
            self._over.wait(_EVERY)

    def _look(self):
        last = time.monotonic()
        while not self._over.wait(0.5):
            now = time.monotonic()
            if now - last > 5:  # it was this process that was frozen
                self._answered = now
                self._seen, self._moved = [now] * self._count, [now] * self._count
            last = now
            if (verdict := self._verdict(now)) is None:
                continue
            with self._parting:
                if self._over.is_set():
                    return
                status, text = verdict
                print(f"launch.py: {text}", file=sys.stderr, flush=True)
                _exit(status)

    def _verdict(self, now: float) -> tuple[int, str] | None:
        """(exit status, what to say) once another process is lost."""
        again = "started again, the run goes on from its last checkpoint"
        waiting = now - self._answered
        if self._index and (waiting > _SILENCE or (waiting > _EVERY + 1 and self._refused())):
            return LOST, f"{self._name(0)}, is gone or does not answer; {again}"
        if waiting > 2 * _EVERY:
            return None  # what the others say does not come through
        for index, told in enumerate(self._told):
            if told.get("beats") == -1:
                if told["status"]:
                    return told["status"], f"{self._name(index)}, ended: {told['reason']}"
            elif index != self._index and now - self._seen[index] > _SILENCE:
                return LOST, (
                    f"{self._name(index)}, has given no sign of life for {_SILENCE:.0f} s: dead, frozen or out of "
                    f"reach; {again}"
                )
        here = [index for index, told in enumerate(self._told) if told.get("beats") != -1]
        steps = {index: self._told[index].get("step", 0) for index in here}
        index = min(steps, key=steps.get)
        if max(steps.values()) > steps[index] and now - self._moved[index] > _BEHIND:
            return LOST, (
                f"{self._name(index)}, hangs: it has been at step {steps[index]} for {_BEHIND:.0f} s, and others wait "
                f"for it at step {max(steps.values())}; {again}"
            )
        return None

    def _name(self, index: int) -> str:
        host, process = self._names[index].rsplit(", ", 1)
        return f"host {host} ({process}, number {index} of {self._count})"

    def _refused(self) -> bool:
        """Whether nobody listens any more where process 0 was."""
        try:
            socket.create_connection(self._coordinator, timeout=2).close()
        except ConnectionError:
            return True
        except OSError:
            return False
        return False


def _delay_aborts():
    """Where process 0 is gone, JAX aborts all others at once, and its message names no host. C's `sleep` as the handler
    of SIGABRT, whose number is 6, makes that 6 seconds later, in which `_look` has its say."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def _exit(status: int):
    """At once: anything tidier would wait for the process that is lost."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
