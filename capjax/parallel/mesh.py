"""The device mesh: `replica` over slices, then `data`, `fsdp`, `tensor`."""

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

AXES = ("replica", "data", "fsdp", "tensor")


def make_mesh(sizes, devices=None) -> Mesh:
    """The mesh of a config's sizes by axis name; one of them may be -1, for what is left. A `replica` of 1 is one copy
    of the model a slice, however many slices there are.

    Raises:
      ValueError: the sizes do not multiply to the number of devices, or `replica` does not divide over their slices.
    """
    devices = jax.devices() if devices is None else devices
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    shape = [int(sizes[axis]) for axis in AXES]
    shape[0] = slices if shape[0] == 1 else shape[0]
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise ValueError(f"mesh sizes {dict(zip(AXES, shape, strict=True))}: at most one -1, the others 1 or more")
    known = int(np.prod([size for size in shape if size != -1]))
    if -1 in shape and len(devices) % known == 0:
        shape[shape.index(-1)] = len(devices) // known
    if -1 in shape or np.prod(shape) != len(devices):
        fitting = fitting_shape(shape, len(devices), slices)
        settings = (f"--config.mesh.{axis}={size}" for axis, size in zip(AXES, fitting, strict=True))
        changed = " ".join(one for one, old, new in zip(settings, shape, fitting, strict=True) if old != new)
        raise ValueError(
            f"{len(devices)} devices cannot be laid out as {_told(shape)}; {_told(fitting)} would do: {changed}"
        )
    types = (AxisType.Auto,) * len(AXES)
    if slices == 1:
        return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)
    if shape[0] % slices:
        raise ValueError(
            f"{slices} slices with mesh.replica = {shape[0]}: set mesh.replica to {slices}, or a multiple, for only "
            "copies of the model may be as far apart"
        )
    within = (shape[0] // slices, *shape[1:])
    laid = mesh_utils.create_hybrid_device_mesh(
        within, (slices, *(1,) * len(shape[1:])), devices, allow_split_physical_axes=True
    )
    return Mesh(laid, AXES, axis_types=types)


def fitting_shape(shape: list[int], count: int, slices: int) -> list[int]:
    """Sizes of a mesh of `count` devices in `slices`, near `shape`: of each axis the largest size that is not above it
    and divides what the axes before left; the rest is for the axis of -1, or for `data`."""
    rest = shape.index(-1) if -1 in shape else AXES.index("data")
    fitting, left = [1] * len(AXES), count // slices
    # `fsdp` and `tensor` are what makes a model fit: `data` yields to them.
    for axis in map(AXES.index, ("replica", "tensor", "fsdp", "data")):
        if axis != rest:
            wanted = shape[axis] // slices if AXES[axis] == "replica" else shape[axis]
            fitting[axis] = next(size for size in range(max(1, min(wanted, left)), 0, -1) if left % size == 0)
            left //= fitting[axis]
    fitting[rest] = left
    fitting[0] *= slices
    return fitting


def _told(shape: list[int]) -> str:
    return " x ".join(f"{axis} {size}" for axis, size in zip(AXES, shape, strict=True))
