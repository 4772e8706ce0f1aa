"""Each process of a job keeps a lookout for the peers, so that none waits forever for one that died or hangs.

A process says every other second that it lives, and how far it has come, in the key-value store that JAX keeps in
process 0. One that is silent is dead, frozen or out of reach; one that stays behind while the peers wait for it hangs;
where none is ahead and none moves, they are stuck in an exchange. What takes its time (compiling, evaluating, saving)
is no hanging, however long: there only silence tells. The peers then name the host and end, with the status that tells
a launcher to start again: work goes on from the last checkpoint. One that ends with an error says so before.
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
from collections.abc import Sequence
from contextlib import suppress

import jax
from jax._src import distributed  # JAX has no public door to its key-value store

# sysexits.h's EX_TEMPFAIL: try again.
LOST = 75
_EVERY = 2.0  # seconds between two signs of life
_SILENCE = 30.0  # seconds without one after which a process is taken for lost
_BEHIND = 45.0  # seconds that a process may stay behind the peers in a training step
_STUCK = 1800.0  # seconds that a training step may take
_DIR = "capjax/alive/"
_AGAIN = "started again, the run goes on from its last checkpoint"


class Peers:
    """The processes of a job, as far as their signs of life tell.

    Args:
      hosts: the host of each process; now: seconds of a clock, here and in all methods.
    """

    def __init__(self, hosts: Sequence[str], now: float):
        self._hosts = hosts
        self._told: list[dict] = [{} for _ in hosts]
        self.forget(now)

    def forget(self, now: float):
        """What was heard long ago says nothing any more: it was this process that was frozen."""
        self._heard = [now] * len(self._hosts)  # when each last gave a sign of life
        self._level = [now] * len(self._hosts)  # when each was last as far as any other, or busy, or moved on
        self._moved = now  # when any last was busy, or moved on

    def hear(self, told: Sequence[dict], now: float):
        """Takes what each process says: `beats`, `step`, `busy`; of one that parted beats -1, `status`, `reason`."""
        furthest = max(each.get("step", 0) for each in told)
        for index, (new, old) in enumerate(zip(told, self._told, strict=True)):
            if new != old:
                self._heard[index] = now
            step = new.get("step", 0)
            moves = step != old.get("step", 0) or new.get("busy")
            if step == furthest or moves:
                self._level[index] = now
            if moves:
                self._moved = now
        self._told = list(told)

    def status(self, own: int, now: float) -> tuple[int, str] | None:
        """(exit status, what to say) for process `own`, once another is lost or any stays behind."""
        for index, told in enumerate(self._told):
            if told.get("beats") == -1:
                if told["status"]:
                    return told["status"], f"{self.name(index)}, ended: {told['reason']}"
            elif index != own and now - self._heard[index] > _SILENCE:
                what = f"has given no sign of life for {_SILENCE:.0f} s: dead, frozen or out of reach"
                return LOST, f"{self.name(index)}, {what}; {_AGAIN}"
            elif now - self._level[index] > _BEHIND:
                what = f"hangs at step {told['step']}: the peers have waited for it for {_BEHIND:.0f} s"
                return LOST, f"{self.name(index)}, {what}; {_AGAIN}"
        if now - self._moved > _STUCK:
            step = max(told.get("step", 0) for told in self._told)
            return LOST, f"no process has come further than step {step} for {_STUCK / 60:.0f} minutes; {_AGAIN}"
        return None

    def name(self, index: int) -> str:
        host, process = self._hosts[index].rsplit(", ", 1)
        return f"host {host} ({process}, number {index} of {len(self._hosts)})"


class LivenessMonitor:
    """Starts when made, in every process of a job at a time; ends with `leave`.

    Raises:
      RuntimeError: another process did not come in time.
    """

    def __init__(self):
        self._client = distributed.global_state.client
        self._index, count = jax.process_index(), jax.process_count()
        host, _, port = distributed.global_state.coordinator_address.rpartition(":")
        self._coordinator = (host.strip("[]"), int(port))
        self._client.key_value_set(f"capjax/host/{self._index}", f"{socket.gethostname()}, process {os.getpid()}")
        self._client.wait_at_barrier("capjax/hosts", 300_000)
        hosts = dict(self._client.key_value_dir_get("capjax/host/"))
        self._keys = [f"{_DIR}{index}" for index in range(count)]
        self._step, self._busy = 0, True
        self._over, self._parting = threading.Event(), threading.Lock()
        self._answered = time.monotonic()  # by the store
        self._peers = Peers([hosts[f"capjax/host/{index}"] for index in range(count)], self._answered)
        _delay_aborts()
        self._beating = threading.Thread(target=self._beat, daemon=True, name="liveness_beat")
        self._beating.start()
        threading.Thread(target=self._look, daemon=True, name="liveness_look").start()

    def heartbeat(self, step: int, busy: bool):
        self._step, self._busy = step, busy

    def wait(self):
        """Waits as long as detecting a lost process takes; returns if none is lost."""
        self._busy = True
        time.sleep(_SILENCE + 4 * _EVERY)

    def shut_down(self, status: int, reason: str):
        with self._parting:  # a failure that is being reported is reported
            self._over.set()
        self._beating.join(2 * _EVERY)  # so that the last word is the last
        with suppress(jax.errors.JaxRuntimeError):  # where the store is gone, the peers know already
            self._say({"beats": -1, "status": status, "reason": reason})
        if status:
            if self._index == 0:
                time.sleep(3 * _EVERY)  # the store ends with this process: first they shall read it
            # JAX's own farewell would wait for processes that wait for this one.
            _exit(status)

    def _say(self, told: dict):
        self._client.key_value_set(self._keys[self._index], json.dumps(told), allow_overwrite=True)

    def _beat(self):
        for beats in itertools.count(1):
            if self._over.is_set():
                return
            with suppress(jax.errors.JaxRuntimeError):  # what a store that does not answer means, `_look` finds out
                self._say({"beats": beats, "step": self._step, "busy": self._busy})
                answers = dict(self._client.key_value_dir_get(_DIR))
                self._answered = time.monotonic()
                self._peers.hear([json.loads(answers.get(key, "{}")) for key in self._keys], self._answered)
            self._over.wait(_EVERY)

    def _look(self):
        last = time.monotonic()
        while not self._over.wait(0.5):
            now = time.monotonic()
            if now - last > 5:  # it was this process that was frozen
                self._answered = now
                self._peers.forget(now)
            last = now
            if (failure := self._status(now)) is None:
                continue
            with self._parting:
                if self._over.is_set():
                    return
                status, text = failure
                print(f"launch.py: {text}", file=sys.stderr, flush=True)
                _exit(status)

    def _status(self, now: float) -> tuple[int, str] | None:
        waiting = now - self._answered
        if self._index and (waiting > _SILENCE or (waiting > _EVERY + 1 and self._refused())):
            return LOST, f"{self._peers.name(0)}, is gone or does not answer; {_AGAIN}"
        # While process 0 does not answer, what the peers say does not come through.
        return None if waiting > 2 * _EVERY else self._peers.status(self._index, now)

    def _refused(self) -> bool:
        """Whether nobody listens any more where process 0 was."""
        try:
            socket.create_connection(self._coordinator, timeout=2).close()
        except OSError as error:
            return isinstance(error, ConnectionError)
        return False


def _delay_aborts():
    """Where process 0 is gone, JAX aborts all peers at once, and its message names no host. C's `sleep` as the handler
    of SIGABRT, whose number is 6, makes that 6 seconds later, in which `_look` has its say."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def _exit(status: int):
    """At once: anything tidier would wait for the process that is lost."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
