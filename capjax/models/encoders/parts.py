"""What encoders share. n: images, h w: picture, c: channels, s: stride."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from capjax.models.gradients import custom_gradient

# Mean and standard deviation of ImageNet's RGB values (0..255), as torchvision has them.
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype, *, axes="n h w") -> jax.Array:
    """(images - mean) / std for uint8 or float images [n, h, w, 3] in 0..255, in `dtype`; `axes` are those before the
    colours.

    Raises:
      ValueError: not a batch of RGB images.
    """
    axes = [*axes.split(), "3"]
    if images.ndim != len(axes) or images.shape[-1] != 3:
        raise ValueError(f"an encoder reads RGB images [{', '.join(axes)}] in 0..255; got shape {images.shape}")
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    return ((images.astype(jnp.float32) - mean) / std).astype(dtype)


def halved(size: int, times: int) -> int:
    """Pixels left of `size` after `times` convolutions of stride 2, which round up with either padding."""
    for _ in range(times):
        size = -(-size // 2)
    return size


def _pads(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and after an axis of `size`."""
    if padding == "symmetric":  # PyTorch
        return kernel // 2, kernel // 2
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)  # TensorFlow's SAME
    return total // 2, total - total // 2


def _grouped(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )  # fmt: skip


def _shifted(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    rows, columns = kernel.shape[:2]
    n, h, w, c = x.shape
    h, w = (h - rows) // stride + 1, (w - columns) // stride + 1
    out = 0.0
    for row in range(rows):
        for column in range(columns):
            end = (n, row + (h - 1) * stride + 1, column + (w - 1) * stride + 1, c)
            out = out + jax.lax.slice(x, (0, row, column, 0), end, (1, stride, stride, 1)) * kernel[row, column, 0]
    return out


def _shifted_gradient(x: jax.Array, kernel: jax.Array, out: jax.Array, stride: int):
    """Gradients of `_shifted` by x and kernel, from that by its output: what autodiff finds, in fewer operations."""
    rows, columns = kernel.shape[:2]
    pads = [(0, 0, 0), (0, 0, 0)]
    for length, size, short in zip(x.shape[1:3], (rows, columns), out.shape[1:3], strict=True):
        pads.insert(-1, (size - 1, length - (short - 1) * stride - 1, stride - 1))
    dx = _shifted(jax.lax.pad(out, jnp.zeros((), out.dtype), pads), kernel[::-1, ::-1], 1)
    spans = [(short - 1) * stride + 1 for short in out.shape[1:3]]

    def tap(at):
        part = jax.lax.dynamic_slice(x, (0, at // columns, at % columns, 0), (x.shape[0], *spans, x.shape[3]))
        return (part[:, ::stride, ::stride] * out).sum((0, 1, 2), dtype=jnp.float32)

    dkernel = jax.lax.map(tap, jnp.arange(rows * columns))
    return dx, dkernel.reshape(kernel.shape).astype(kernel.dtype)


def _grouped_gradient(x: jax.Array, kernel: jax.Array, out: jax.Array, stride: int):
    return jax.vjp(lambda x, kernel: _grouped(x, kernel, stride), x, kernel)[1](out)


def _depthwise(x, kernel, stride: int):
    return jax.lax.platform_dependent(
        x, kernel, cpu=partial(_shifted, stride=stride), default=partial(_grouped, stride=stride)
    )


def _depthwise_backward(stride: int, saved, dout):
    return jax.lax.platform_dependent(
        *saved, dout, cpu=partial(_shifted_gradient, stride=stride), default=partial(_grouped_gradient, stride=stride)
    )


@custom_gradient(
    lambda x, kernel, stride: (_depthwise(x, kernel, stride), (x, kernel)), _depthwise_backward, nondiff_argnums=(2,)
)
def depthwise(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k 1 c"], stride: int
) -> Float[Array, "n h_out w_out c"]:
    """Convolves each channel with a kernel of its own, without padding.

    On CPU as a sum of shifted products, which XLA fuses: its grouped convolution is far slower there.
    """
    return _depthwise(x, kernel, stride)


def _native(x: jax.Array, kernel: jax.Array, stride: int, pads) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )  # fmt: skip


def _native_kernel_gradient(x: jax.Array, kernel: jax.Array, out: jax.Array, *, stride: int, pads) -> jax.Array:
    return jax.vjp(lambda kernel: _native(x, kernel, stride, pads), kernel)[1](out)[0]


def _kernel_gradient_by_products(x: jax.Array, kernel: jax.Array, out: jax.Array, *, stride: int, pads) -> jax.Array:
    """The gradient by the kernel, a matrix product for each of its pixels."""
    x, (n, h, w, c_out) = jnp.pad(x, ((0, 0), *pads, (0, 0))), out.shape
    rows, columns, c_in, _ = kernel.shape
    out, parts = out.reshape(-1, c_out), []
    for row in range(rows):
        for column in range(columns):
            end = (n, row + (h - 1) * stride + 1, column + (w - 1) * stride + 1, c_in)
            seen = jax.lax.slice(x, (0, row, column, 0), end, (1, stride, stride, 1)).reshape(-1, c_in)
            parts.append(jnp.einsum("pi,po->io", seen, out, preferred_element_type=jnp.float32))
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
    x: Float[Array, "n h w c_in"], kernel: Float[Array, "k k c_in c_out"], stride: int, pads
) -> Float[Array, "n h_out w_out c_out"]:
    """A 2D convolution. On CPU the kernel's gradient is computed by matrix products, which is faster than XLA's."""
    return _native(x, kernel, stride, pads)


def _patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution whose stride is its size, as a matrix product: [n, h, w, c_in] with [k, k, c_in, c_out]."""
    n, h, w, c = x.shape
    k = kernel.shape[0]
    x = x[:, : h // k * k, : w // k * k].reshape(n, h // k, k, w // k, k, c).swapaxes(2, 3)
    return (x.reshape(-1, k * k * c) @ kernel.reshape(k * k * c, -1)).reshape(n, h // k, w // k, -1)


class Conv(nnx.Module):
    """A 2D convolution; the kernel, [k, k, c_in, c_out] or depthwise [k, k, 1, c], is 0 until `draw_kernels`.

    Args:
      padding: `symmetric` as in PyTorch, or `same` as in TensorFlow; they differ where the stride is 2.
    """

    def __init__(
        self, c_in: int, c_out: int, size: int, *, stride: int = 1, depthwise: bool = False,
        bias: bool = False, padding: str = "symmetric", dtype=jnp.float32,
    ):  # fmt: skip
        if padding not in ("symmetric", "same"):
            raise ValueError(f"padding {padding!r}: expected 'symmetric' (PyTorch) or 'same' (TensorFlow)")
        shape = (size, size, 1 if depthwise else c_in, c_out)
        self.kernel = nnx.Param(jnp.zeros(shape), out_sharding=(None, None, None, "conv_out"))
        self.bias = nnx.Param(jnp.zeros(c_out)) if bias else None
        self.stride, self.depthwise, self.padding, self.dtype = stride, depthwise, padding, dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[n, h, w, c_in] -> [n, ceil(h / s), ceil(w / s), c_out]."""
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        size, stride = kernel.shape[0], self.stride
        pads = tuple(_pads(length, size, stride, self.padding) for length in x.shape[1:3])
        if self.depthwise:
            x = depthwise(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel, stride)
        elif size == 1:
            x = x[:, ::stride, ::stride]
            # As a matrix product, pixels flattened: up to five times faster on CPU, and the same elsewhere.
            x = (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)
        elif size == stride:
            x = _patches(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel)
        else:
            x = convolve(x, kernel, stride, pads)
        return x if self.bias is None else x + self.bias[...].astype(self.dtype)


def _native3d(x: jax.Array, kernel: jax.Array, strides, pads) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def _folded3d(x: jax.Array, kernel: jax.Array, strides, pads) -> jax.Array:
    """The same as one 2D convolution: the frames that a kernel spans lie beside each other as channels."""
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


def _convolve3d(x, kernel, strides: tuple, pads: tuple):
    options = {"strides": strides, "pads": pads}
    return jax.lax.platform_dependent(
        x, kernel, cpu=partial(_folded3d, **options), default=partial(_native3d, **options)
    )


def _convolve3d_backward(strides, pads, saved, dout):
    def gradient(convolve, x, kernel, dout):
        return jax.vjp(lambda x, kernel: convolve(x, kernel, strides, pads), x, kernel)[1](dout)

    return jax.lax.platform_dependent(
        *saved, dout, cpu=partial(gradient, _folded3d), default=partial(gradient, _native3d)
    )


@custom_gradient(
    lambda x, kernel, strides, pads: (_convolve3d(x, kernel, strides, pads), (x, kernel)), _convolve3d_backward,
    nondiff_argnums=(2, 3),
)  # fmt: skip
def convolve3d(
    x: Float[Array, "b t h w c_in"], kernel: Float[Array, "k k k c_in c_out"], strides: tuple, pads: tuple
) -> Float[Array, "b t_out h_out w_out c_out"]:
    """A 3D convolution; strides and pads are those of time, rows and columns.

    On CPU as a 2D convolution, because XLA's gradient of a 3D convolution is far slower there.
    """
    return _convolve3d(x, kernel, strides, pads)


class Conv3d(nnx.Module):
    """A convolution over time and space without a bias; the kernel [k, k, k, c_in, c_out] is 0 until `draw_kernels`.

    Args:
      size, strides: of time, rows and columns.
      padding: in space, as Conv's; in time it is `same`.
    """

    def __init__(self, c_in: int, c_out: int, size, *, strides=(1, 1, 1), padding: str = "same", dtype=jnp.float32):
        if padding not in ("symmetric", "same"):
            raise ValueError(f"padding {padding!r}: expected 'symmetric' (PyTorch) or 'same' (TensorFlow)")
        axes = (None, None, None, None, "conv_out")
        self.kernel = nnx.Param(jnp.zeros((*size, c_in, c_out)), out_sharding=axes)
        self.strides, self.padding, self.dtype = tuple(strides), padding, dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, t, h, w, c_in] -> [b, ceil(t / s), ceil(h / s), ceil(w / s), c_out]."""
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        if kernel.shape[:3] == (1, 1, 1) and self.strides == (1, 1, 1):
            return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0, 0]).reshape(*x.shape[:-1], -1)
        ways = ("same", self.padding, self.padding)
        pads = tuple(
            _pads(length, size, stride, way)
            for length, size, stride, way in zip(x.shape[1:4], kernel.shape, self.strides, ways, strict=False)
        )
        return convolve3d(x, kernel, self.strides, pads)


class BatchNorm(nnx.Module):
    """Batch normalization over all axes but the last (Ioffe & Szegedy 2015), in float32 whatever the dtype.

    Under jit over several devices the batch is the whole one. Running statistics move a tenth of the way a
    step, as in PyTorch.

    Attributes:
      frozen: it stays as it is: training normalizes by the running statistics too, and does not move them.
    """

    def __init__(self, c: int, *, epsilon: float = 1e-5, zero: bool = False, dtype=jnp.float32):
        self.scale = nnx.Param(jnp.zeros(c) if zero else jnp.ones(c))
        self.bias = nnx.Param(jnp.zeros(c))
        self.mean = nnx.BatchStat(jnp.zeros(c))
        self.var = nnx.BatchStat(jnp.ones(c))
        self.epsilon, self.dtype, self.frozen = epsilon, dtype, False

    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """`train`: normalize by this batch, and move the running statistics; else by these. What `mask` (bool, over all
        axes or broadcast) leaves out does not count in the batch's."""
        x = x.astype(jnp.float32)
        mean, var = self.mean[...], self.var[...]
        if train and not self.frozen:
            axes, count, where = tuple(range(x.ndim - 1)), x.size // x.shape[-1], None
            if mask is not None:
                where = jnp.broadcast_to(mask, (*x.shape[:-1], 1))
                count = jnp.maximum(where.sum(), 1)
            batch_mean = x.sum(axes, where=where) / count
            batch_var = jnp.square(x - batch_mean).sum(axes, where=where) / count
            unbiased = batch_var * (count / jnp.maximum(count - 1, 1))
            self.mean[...] = 0.9 * mean + 0.1 * jax.lax.stop_gradient(batch_mean)
            self.var[...] = 0.9 * var + 0.1 * jax.lax.stop_gradient(unbiased)
            mean, var = batch_mean, batch_var
        factor = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
        return (x * factor + (self.bias[...] - mean * factor)).astype(self.dtype)


class ConvNorm(nnx.Module):
    """A convolution and its batch norm."""

    def __init__(
        self, c_in: int, c_out: int, size: int, *, epsilon: float, zero: bool = False, dtype=jnp.float32,
        **options,
    ):  # fmt: skip
        self.conv = Conv(c_in, c_out, size, dtype=dtype, **options)
        self.norm = BatchNorm(c_out, epsilon=epsilon, zero=zero, dtype=dtype)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return self.norm(self.conv(x), train=train)


@partial(jax.jit, static_argnums=1)
def _draw(key: jax.Array, shapes: tuple) -> list[jax.Array]:
    sizes = [math.prod(shape) for shape in shapes]
    pool, kernels, start = jax.random.normal(key, (sum(sizes),)), [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        *window, c_in, c_out = shape
        # He et al. 2015, fan-out: keeps the gradient's variance through a ReLU. Depthwise, an input has one output.
        fan_out = math.prod(window) * (1 if c_in == 1 else c_out)
        kernels.append(pool[start : start + size].reshape(shape) * (2.0 / fan_out) ** 0.5)
        start += size
    return kernels


def draw_kernels(module: nnx.Module, rngs: nnx.Rngs):
    """Initial values for every convolution in `module`, over space or over space and time.

    From one draw: a generator for each kernel would take XLA tens of seconds to compile.
    """
    convs = [part for _, part in nnx.iter_modules(module) if isinstance(part, Conv | Conv3d)]
    kernels = _draw(rngs.params(), tuple(conv.kernel.shape for conv in convs))
    for conv, kernel in zip(convs, kernels, strict=True):
        conv.kernel[...] = kernel
