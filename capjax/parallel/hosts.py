"""The processes of one job, as a rule one a host: how they find each other, wait and share what they found.

A job of one process needs none of this, and every function here is then cheap and does the plain thing.
"""

import json
import logging
import os
from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from capjax import runtime
from capjax.parallel.liveness import LivenessMonitor
from capjax.parallel.rendezvous import process_info_of, rendezvous, whole

# JAX finds out by itself that a process is gone, but names no host; ours shall be first.
_HEARTBEAT = 100
# Seconds that the processes may take to start.
_PATIENCE = 300
_liveness: LivenessMonitor | None = None

log = logging.getLogger("capjax")


def join(environ: Mapping[str, str] = os.environ):
    """Joins the job's other processes, if there are any; before anything of JAX is used. From then on, until `shut_down`,
    a process that is lost ends this one (see `LivenessMonitor`).

    On TPU VMs and on GKE's TPU pods, where neither the user nor SLURM says anything, JAX asks the machine.

    Raises:
      HostsError: the environment says what cannot be; LostError: a process does not come.
    """
    place = process_info_of(environ)
    several = "," in environ.get("TPU_WORKER_HOSTNAMES", "") or whole("MEGASCALE_NUM_SLICES", environ, 1) > 1
    common = {"heartbeat_timeout_seconds": _HEARTBEAT, "shutdown_timeout_seconds": 60}
    if place is not None:
        log.info("process %d of %d, which meet at %s", place.index, place.count, place.coordinator)
        rendezvous(place, _PATIENCE)
        jax.distributed.initialize(
            place.coordinator, place.count, place.index, local_device_ids=place.devices,
            cluster_detection_method="deactivate", **common,
        )  # fmt: skip
    elif several or runtime.has_tpu():
        jax.distributed.initialize(**common)
    if jax.process_count() > 1:
        global _liveness
        _liveness = LivenessMonitor()


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


class SignalAllReduce:
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


def heartbeat(step: int, *, busy: bool = False):
    """Tells the others that this process has come to a step. A process that stays behind the others is taken to hang,
    unless it is `busy` with what may take its time: compiling, evaluating, saving."""
    if _liveness:
        _liveness.heartbeat(step, busy)


def attribute_failure(error: Exception) -> bool:
    """Does not return where another process is lost, and an error here comes of it. Else, whether it is the exchange
    with the others that broke off."""
    broken = _liveness is not None and (isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error))
    if broken:
        _liveness.wait()
    return broken


def shut_down(status: int, reason: str = ""):
    """Parts from the others: with status 0 when the work is done, else they end too, and name the reason.

    Does not return with another status, where there are others.
    """
    global _liveness
    if _liveness:
        _liveness.shut_down(status, reason)
        _liveness = None
