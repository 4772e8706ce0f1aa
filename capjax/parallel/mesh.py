"""The device mesh: `replica` over slices, then `data`, `fsdp`, `tensor`."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

AXES = ("replica", "data", "fsdp", "tensor")


def make_mesh(sizes, devices=None) -> Mesh:
    """Returns the mesh for a config's sizes by axis name.

    One size may be -1: the devices that the other axes leave. A `replica` of 1 means one copy of the model per slice,
    however many slices there are.

    Raises:
      ValueError: the sizes do not multiply to the number of devices, or `replica` does not divide over their slices.
    """
    devices = jax.devices() if devices is None else devices
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    shape = [int(sizes[axis]) for axis in AXES]
    shape[0] = slices if shape[0] == 1 else shape[0]
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise ValueError(f"mesh sizes {dict(zip(AXES, shape, strict=True))}: at most one -1, the others 1 or more")
    given = int(np.prod([size for size in shape if size != -1]))
    if -1 in shape and len(devices) % given == 0:
        shape[shape.index(-1)] = len(devices) // given
    if -1 in shape or np.prod(shape) != len(devices):
        fitting = fitting_shape(shape, len(devices), slices)
        settings = (f"--config.mesh.{axis}={size}" for axis, size in zip(AXES, fitting, strict=True))
        changes = " ".join(setting for setting, old, new in zip(settings, shape, fitting, strict=True) if old != new)
        raise ValueError(
            f"{len(devices)} devices cannot be laid out as {_format(shape)}; {_format(fitting)} would do: {changes}"
        )
    types = (AxisType.Auto,) * len(AXES)
    if slices == 1:
        return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)
    if shape[0] % slices:
        raise ValueError(
            f"{slices} slices with mesh.replica = {shape[0]}: set mesh.replica to {slices} or a multiple, so "
            "that each slice holds whole copies of the model"
        )
    within = (shape[0] // slices, *shape[1:])
    device_array = mesh_utils.create_hybrid_device_mesh(
        within, (slices, *(1,) * len(shape[1:])), devices, allow_split_physical_axes=True
    )
    return Mesh(device_array, AXES, axis_types=types)


def spans_processes(mesh: Mesh | None) -> bool:
    """Returns whether devices of a mesh belong to several processes, which then compute together."""
    return mesh is not None and len({device.process_index for device in mesh.devices.flat}) > 1


def make_prediction_mesh(sizes) -> Mesh | None:
    """Returns the mesh on which this process predicts with the model of a config; None: its only device.

    It consists of the devices of this process, unless the config divides the weights over more.
    """
    devices = jax.local_devices()
    if max(1, int(sizes.fsdp)) * max(1, int(sizes.tensor)) > len(devices):
        devices = jax.devices()
    return make_fitting_mesh(sizes, devices) if len(devices) > 1 else None


def make_fitting_mesh(sizes, devices: Sequence) -> Mesh:
    """Returns a mesh of these devices whose sizes are close to those of a config: see `fitting_shape`."""
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    fitting = fitting_shape([int(sizes[axis]) for axis in AXES], len(devices), slices)
    return make_mesh(dict(zip(AXES, fitting, strict=True)), devices)


def fitting_shape(shape: list[int], count: int, slices: int) -> list[int]:
    """Returns the sizes of a mesh of `count` devices in `slices`, close to `shape`.

    Each axis gets the largest size that is not above its own in `shape` and divides the devices that the axes before it
    leave; the axis of -1, or `data`, gets the rest.
    """
    rest = shape.index(-1) if -1 in shape else AXES.index("data")
    fitting, left = [1] * len(AXES), count // slices
    # `fsdp` and `tensor` come before `data`, for without them a model may not fit into memory.
    for axis in map(AXES.index, ("replica", "tensor", "fsdp", "data")):
        if axis != rest:
            limit = shape[axis] // slices if AXES[axis] == "replica" else shape[axis]
            fitting[axis] = next(size for size in range(max(1, min(limit, left)), 0, -1) if left % size == 0)
            left //= fitting[axis]
    fitting[rest] = left
    fitting[0] *= slices
    return fitting


def _format(shape: list[int]) -> str:
    return " x ".join(f"{axis} {size}" for axis, size in zip(AXES, shape, strict=True))
