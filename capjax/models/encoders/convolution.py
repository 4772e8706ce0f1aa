"""Convolutions, each computed in the way that is fastest on the platform.

b: images or clips, t: frames, h w: height and width, c: channels, k: size of a kernel, k_t: its frames.
"""

from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from capjax.models.gradients import by_platform, custom_gradient


def pad_widths(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and after an axis of `size`, for padding `symmetric` (PyTorch) or `same` (TensorFlow's SAME)."""
    if padding == "symmetric":
        return kernel // 2, kernel // 2
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _grouped(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )  # fmt: skip


def _sum_of_products(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    rows, columns = kernel.shape[:2]
    n, h, w, c = x.shape
    h, w = (h - rows) // stride + 1, (w - columns) // stride + 1
    out: jax.Array | float = 0.0
    for row in range(rows):
        for column in range(columns):
            end = (n, row + (h - 1) * stride + 1, column + (w - 1) * stride + 1, c)
            out = out + jax.lax.slice(x, (0, row, column, 0), end, (1, stride, stride, 1)) * kernel[row, column, 0]
    return cast(jax.Array, out)  # a kernel has pixels


def _shifted_backward(stride: int, saved, dout):
    """The gradient of `_shifted`: as JAX derives it, in fewer operations."""
    x, kernel = saved
    rows, columns = kernel.shape[:2]
    pads = [(0, 0, 0), (0, 0, 0)]
    for length, size, short in zip(x.shape[1:3], (rows, columns), dout.shape[1:3], strict=True):
        pads.insert(-1, (size - 1, length - (short - 1) * stride - 1, stride - 1))
    dx = _sum_of_products(jax.lax.pad(dout, jnp.zeros((), dout.dtype), pads), kernel[::-1, ::-1], 1)
    spans = [(short - 1) * stride + 1 for short in dout.shape[1:3]]

    def tap(at):
        part = jax.lax.dynamic_slice(x, (0, at // columns, at % columns, 0), (x.shape[0], *spans, x.shape[3]))
        return (part[:, ::stride, ::stride] * dout).sum((0, 1, 2), dtype=jnp.float32)

    dkernel = jax.lax.map(tap, jnp.arange(rows * columns))
    return dx, dkernel.reshape(kernel.shape).astype(kernel.dtype)


_shifted = custom_gradient(
    lambda x, kernel, stride: (_sum_of_products(x, kernel, stride), (x, kernel)), _shifted_backward,
    nondiff_argnums=(2,),
)(_sum_of_products)  # fmt: skip


def depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int
) -> Float[Array, "b h_out w_out c"]:
    """Convolves each channel with a kernel of its own, without padding.

    On CPU as a sum of shifted products, which XLA fuses: its grouped convolution is far slower there.
    """
    return by_platform(
        lambda x, kernel: _shifted(x, kernel, stride), lambda x, kernel: _grouped(x, kernel, stride)
    )(x, kernel)  # fmt: skip


def _native(x: jax.Array, kernel: jax.Array, stride: int, pads) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )  # fmt: skip


def _native_kernel_gradient(x: jax.Array, kernel: jax.Array, dout: jax.Array, *, stride: int, pads) -> jax.Array:
    return jax.vjp(lambda kernel: _native(x, kernel, stride, pads), kernel)[1](dout)[0]


def _kernel_gradient_by_products(x: jax.Array, kernel: jax.Array, dout: jax.Array, *, stride: int, pads) -> jax.Array:
    """The gradient of the kernel, by one matrix product for each of its pixels."""
    x, (n, h, w, c_out) = jnp.pad(x, ((0, 0), *pads, (0, 0))), dout.shape
    rows, columns, c_in, _ = kernel.shape
    dout, parts = dout.reshape(-1, c_out), []
    for row in range(rows):
        for column in range(columns):
            end = (n, row + (h - 1) * stride + 1, column + (w - 1) * stride + 1, c_in)
            shifted = jax.lax.slice(x, (0, row, column, 0), end, (1, stride, stride, 1)).reshape(-1, c_in)
            parts.append(jnp.einsum("pi,po->io", shifted, dout, preferred_element_type=jnp.float32))
    return jnp.stack(parts).reshape(kernel.shape).astype(kernel.dtype)


def _convolve_backward(stride: int, pads, saved, dout):
    x, kernel = saved
    (dx,) = jax.vjp(lambda x: _native(x, kernel, stride, pads), x)[1](dout)
    options = {"stride": stride, "pads": pads}
    dkernel = jax.lax.platform_dependent(
        x, kernel, dout, cpu=partial(_kernel_gradient_by_products, **options),
        default=partial(_native_kernel_gradient, **options),
    )  # fmt: skip
    return dx, dkernel


@custom_gradient(
    lambda x, kernel, stride, pads: (_native(x, kernel, stride, pads), (x, kernel)), _convolve_backward,
    nondiff_argnums=(2, 3),
)  # fmt: skip
def convolve(
    x: Float[Array, "b h w c_in"], kernel: Float[Array, "k k c_in c_out"], stride: int, pads
) -> Float[Array, "b h_out w_out c_out"]:
    """A 2D convolution. On CPU the kernel's gradient is computed by matrix products, which is faster than XLA's."""
    return _native(x, kernel, stride, pads)


def convolve_patches(
    x: Float[Array, "b h w c_in"], kernel: Float[Array, "k k c_in c_out"]
) -> Float[Array, "b h_out w_out c_out"]:
    """A convolution whose stride is its size, as a matrix product."""
    n, h, w, c = x.shape
    k = kernel.shape[0]
    x = x[:, : h // k * k, : w // k * k].reshape(n, h // k, k, w // k, k, c).swapaxes(2, 3)
    return (x.reshape(-1, k * k * c) @ kernel.reshape(k * k * c, -1)).reshape(n, h // k, w // k, -1)


def _native3d(x: jax.Array, kernel: jax.Array, strides, pads) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def _folded3d(x: jax.Array, kernel: jax.Array, strides, pads) -> jax.Array:
    """The same as one 2D convolution, in which the frames that a kernel spans are channels."""
    (time_stride, *strides), (time_pads, *pads), size = strides, pads, kernel.shape[0]
    x = jnp.pad(x, ((0, 0), time_pads, (0, 0), (0, 0), (0, 0)))
    b, t = x.shape[0], (x.shape[1] - size) // time_stride + 1
    frames = [
        jax.lax.slice_in_dim(x, i, i + (t - 1) * time_stride + 1, time_stride, axis=1) for i in range(size)
    ]  # fmt: skip
    x = jnp.concatenate(frames, axis=-1)
    kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(*kernel.shape[1:3], x.shape[-1], -1)
    out = jax.lax.conv_general_dilated(
        x.reshape(b * t, *x.shape[2:]), kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out.reshape(b, t, *out.shape[1:])


def convolve3d(
    x: Float[Array, "b t h w c_in"], kernel: Float[Array, "k_t k k c_in c_out"], strides: tuple, pads: tuple
) -> Float[Array, "b t_out h_out w_out c_out"]:
    """A 3D convolution; strides and pads are those of time, rows and columns.

    On CPU as a 2D convolution, because XLA's gradient of a 3D convolution is far slower there.
    """
    return by_platform(
        partial(_folded3d, strides=strides, pads=pads), partial(_native3d, strides=strides, pads=pads)
    )(x, kernel)  # fmt: skip
