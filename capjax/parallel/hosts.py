"""The processes of one job, as a rule one a host: how they find each other, wait and share what they found.

A job of one process needs none of this, and every function here is then cheap and does the plain thing.
"""

import json
import logging
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from capjax import runtime
from capjax.parallel.lookout import LOST, Lookout

_BY_HAND = ("CAPJAX_COORDINATOR", "CAPJAX_PROCESSES", "CAPJAX_PROCESS")
# JAX finds out by itself that a process is gone, but names no host; ours shall be first.
_HEARTBEAT = 100
# Seconds that process 0 may take to start.
_PATIENCE = 300
_lookout: Lookout | None = None

log = logging.getLogger("capjax")


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
        count, index = _whole("CAPJAX_PROCESSES", environ), _whole("CAPJAX_PROCESS", environ)
        if not 0 <= index < count:
            raise HostsError(f"CAPJAX_PROCESS = {index}: expected 0 to {count - 1}, for CAPJAX_PROCESSES = {count}")
        return Place(coordinator, count, index)
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
    if not all(environ.get(name) for name in slurm):
        return None
    count = _whole("SLURM_STEP_NUM_TASKS", environ)
    if count == 1:
        return None
    first = re.match(r"([^,\[]+)(?:\[(\d+))?", environ["SLURM_STEP_NODELIST"])  # node7,..., node[07-12],...
    # Steps of one job may run on one node at a time, and so may jobs.
    port = 61440 + (7 * _whole("SLURM_JOB_ID", environ) + _whole("SLURM_STEP_ID", environ)) % 4096
    local = None
    if count > _whole("SLURM_STEP_NUM_NODES", environ, count) and "," in environ.get("CUDA_VISIBLE_DEVICES", ","):
        local = (_whole("SLURM_LOCALID", environ),)  # several tasks share a node and see all of its GPUs
    return Place(f"{first[1]}{first[2] or ''}:{port}", count, _whole("SLURM_PROCID", environ), local)


def _whole(name: str, environ: Mapping[str, str], default: int | None = None) -> int:
    if default is not None and not environ.get(name):
        return default
    try:
        return int(environ[name])
    except (KeyError, ValueError) as error:
        raise HostsError(f"{name} = {environ.get(name)!r}: expected a whole number") from error


def join(environ: Mapping[str, str] = os.environ):
    """Joins the job's other processes, if there are any; before anything of JAX is used. From then on, until `leave`,
    a process that is lost ends this one (see `Lookout`).

    On TPU VMs and on GKE's TPU pods, where neither the user nor SLURM says anything, JAX asks the machine.

    Raises:
      HostsError: the environment says what cannot be; LostError: process 0 does not come.
    """
    place = place_of(environ)
    several = "," in environ.get("TPU_WORKER_HOSTNAMES", "") or _whole("MEGASCALE_NUM_SLICES", environ, 1) > 1
    common = {"heartbeat_timeout_seconds": _HEARTBEAT, "shutdown_timeout_seconds": 60}
    if place is not None:
        log.info("process %d of %d, which meet at %s", place.index, place.count, place.coordinator)
        if place.index:
            meet(place.coordinator, _PATIENCE)
        jax.distributed.initialize(
            place.coordinator, place.count, place.index, local_device_ids=place.devices,
            cluster_detection_method="deactivate", **common,
        )  # fmt: skip
    elif several or runtime.has_tpu():
        jax.distributed.initialize(**common)
    if jax.process_count() > 1:
        global _lookout
        _lookout = Lookout()


def meet(coordinator: str, patience: float):
    """Returns when process 0 listens at HOST:PORT. JAX, which would wait too, aborts without a word of where.

    Raises:
      LostError: it does not within `patience` seconds.
    """
    host, _, port = coordinator.rpartition(":")
    end = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise LostError(
                    f"process 0 was not at {coordinator} within {patience:.0f} s ({error}): it did not start, or its "
                    "port cannot be reached from here"
                ) from error
        time.sleep(0.5)


def is_first() -> bool:
    """Whether this is process 0, which writes what one alone shall write."""
    return jax.process_index() == 0


def sync(name: str):
    """Returns when all processes have come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def fetch(tree):
    """The whole arrays on the host, of every process: numpy arrays in place of global ones."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def gather(value) -> list:
    """What each process gave, by process, on all of them. It goes through JSON: tuples come back as lists."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(len(data), np.int32))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


class Ballot:
    """What the processes agree on at each step: the largest number that one of them gave."""

    def __init__(self, mesh: Mesh):
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._largest = jax.jit(lambda given: given.max(), out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self, number: int) -> jax.Array:
        """Does not wait for the others; reading the result does."""
        shape = (self._sharding.mesh.size,)
        return self._largest(
            jax.make_array_from_callback(shape, self._sharding, lambda _: np.full(1, number, np.int32))
        )


def at(step: int, *, busy: bool = False):
    """Tells the others that this process has come to a step. A process that stays behind the others is taken to hang,
    unless it is `busy` with what may take its time: compiling, evaluating, saving."""
    if _lookout:
        _lookout.at(step, busy)


def blame(error: Exception) -> bool:
    """Does not return where another process is lost, and an error here comes of it. Else, whether it is the exchange
    with the others that broke off."""
    broken = _lookout is not None and (isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error))
    if broken:
        _lookout.wait()
    return broken


def leave(status: int, reason: str = ""):
    """Parts from the others: with status 0 when the work is done, else they end too, and name the reason.

    Does not return with another status, where there are others.
    """
    global _lookout
    if _lookout:
        _lookout.leave(status, reason)
        _lookout = None
