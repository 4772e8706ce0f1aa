"""The processes of one job, usually one per host: joining them, exchanging values, and leaving together.

In a job of one process every function here returns at once. docs/architecture.md, section "Hosts", says what this adds
to `jax.distributed`.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax._src import distributed  # its barrier has no public API
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from capjax import runtime
from capjax.parallel.liveness import LivenessMonitor
from capjax.parallel.rendezvous import int_from, process_info_of, rendezvous

# JAX also detects a lost process, but names no host: `LivenessMonitor` must be first.
_JAX_HEARTBEAT_TIMEOUT = 100
# Seconds within which all processes must start.
_START_TIMEOUT = 300
# 20 days; the liveness monitor ends waits for a process that is lost.
_BARRIER_TIMEOUT_MS = 20 * 86_400_000
_monitor: LivenessMonitor | None = None
_started_steps: set[int] = set()  # the first two; the second is started when the first is done

log = logging.getLogger("capjax")


def join(environ: Mapping[str, str] = os.environ):
    """Connects this process to the other processes of its job, if any. Call it before any other use of JAX.

    From then until `shut_down` the loss of another process ends this one (see `LivenessMonitor`). On TPU VMs and on
    GKE's TPU pods, where neither CAPJAX_* nor SLURM_* variables are set, JAX reads the job from the machine's metadata.

    Raises:
      HostsError: the environment variables contradict each other.
      LostError: another process does not start in time.
    """
    _started_steps.clear()
    info = process_info_of(environ)
    is_pod = "," in environ.get("TPU_WORKER_HOSTNAMES", "") or int_from("MEGASCALE_NUM_SLICES", environ, 1) > 1
    timeouts: dict = {"heartbeat_timeout_seconds": _JAX_HEARTBEAT_TIMEOUT, "shutdown_timeout_seconds": 60}
    if info is not None:
        log.info("process %d of %d, coordinator %s", info.index, info.count, info.coordinator)
        rendezvous(info, _START_TIMEOUT)
        jax.distributed.initialize(
            info.coordinator, info.count, info.index, local_device_ids=info.devices,
            cluster_detection_method="deactivate", **timeouts,
        )  # fmt: skip
    elif is_pod or runtime.has_tpu():
        jax.distributed.initialize(**timeouts)
    if jax.process_count() > 1:
        global _monitor
        _monitor = LivenessMonitor()


def is_first() -> bool:
    """Whether this is process 0, which alone writes files that belong to the whole job."""
    return jax.process_index() == 0


def sync(name: str):
    """Blocks until all processes have called it with this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def allgather(tree):
    """Returns a tree of arrays as numpy arrays: of arrays that are spread over processes, all of them, everywhere.

    In each tree either all arrays lie on devices of this process, or none.
    """
    if all(getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(tree)):
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def wait_for_all(name: str):
    """Blocks until all processes have called it with this name, however much longer one of them takes.

    `sync` is a computation of all devices, whose time is limited on some of them.
    """
    if client := distributed.global_state.client:  # None in a job of one process
        client.wait_at_barrier(name, _BARRIER_TIMEOUT_MS)


def allgather_objects(value) -> list:
    """Returns the `value` of each process, by process index, on every process.

    Args:
      value: anything that JSON can hold; in a job of several processes tuples come back as lists.
    """
    if jax.process_count() == 1:
        return [value]
    encoded = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(len(encoded), np.int32))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(encoded)] = encoded
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


class SignalAllReduce:
    """All-reduce (maximum) of a signal number over all processes, so that all stop after the same step."""

    def __init__(self, mesh: Mesh):
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._max = jax.jit(lambda numbers: numbers.max(), out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self, number: int) -> jax.Array:
        """Returns the largest `number` of any process, without waiting: reading the result waits for all of them."""
        shape = (self._sharding.mesh.size,)
        return self._max(jax.make_array_from_callback(shape, self._sharding, lambda _: np.full(1, number, np.int32)))


def heartbeat(step: int, *, busy: bool = False):
    """Reports to the other processes that this one has reached a step.

    Args:
      busy: this process is compiling, evaluating or saving, which may take any time. Otherwise a process that falls
        behind the others counts as hanging.
    """
    if not busy and len(_started_steps) < 2:
        _started_steps.add(step)
    if _monitor:
        _monitor.heartbeat(step, busy)


def on_loss(cleanup: Callable[[], None]):
    """Has `cleanup` called, for a few seconds at most, before the loss or failure of another process ends this one."""
    if _monitor:
        _monitor.on_loss = cleanup


def has_stepped() -> bool:
    """Returns whether this process has completed a training step since `join`."""
    return len(_started_steps) > 1


def attribute_failure(error: Exception) -> bool:
    """Returns whether an error is that of a collective that was cut off. Where another process is lost, this one ends
    here with the status of that loss, and the function does not return."""
    # JAX reports a collective that was cut off as a ValueError, too.
    cut_off = isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)
    if _monitor is None or not cut_off:
        return False
    _monitor.wait_for_detection()
    return True


def shut_down(status: int, reason: str = ""):
    """Leaves the job. With a status other than 0 the other processes end too, with that status, and print `reason`; in
    a job of several processes the function then does not return."""
    global _monitor
    if _monitor:
        _monitor.shut_down(status, reason)
        _monitor = None
