"""Modules that encoders share.

b: images or clips, t: frames, h w: height and width, c: channels, k: size of a kernel.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Real

from capjax.models.encoders.convolution import convolve, convolve3d, convolve_patches, depthwise, pad_widths

# Mean and standard deviation of ImageNet's RGB values (0..255), as in torchvision.
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


def normalize(
    images: Real[Array, "*b h w 3"], mean: Sequence[float], std: Sequence[float], dtype, *, axes: str = "b h w"
) -> Float[Array, "*b h w 3"]:
    """(images - mean) / std in `dtype`, for uint8 or float images in 0..255.

    Args:
      axes: names of the axes before the colors, for the error message.

    Raises:
      ValueError: not a batch of RGB images.
    """
    names = [*axes.split(), "3"]
    if images.ndim != len(names) or images.shape[-1] != 3:
        raise ValueError(f"an encoder reads RGB images [{', '.join(names)}] in 0..255; got shape {images.shape}")
    center, scale = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    return ((images.astype(jnp.float32) - center) / scale).astype(dtype)


def halved(size: int, times: int) -> int:
    """Output size of `times` convolutions of stride 2 on `size` pixels; they round up with either padding."""
    for _ in range(times):
        size = -(-size // 2)
    return size


class Conv(nnx.Module):
    """A 2D convolution. The kernel, [k, k, c_in, c_out] or depthwise [k, k, 1, c], is 0 until `draw_kernels`.

    Args:
      padding: `symmetric` as in PyTorch, or `same` as in TensorFlow; they differ for a stride of 2.

    Raises:
      ValueError: another padding.
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

    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h_out w_out c_out"]:
        """An output axis has ceil(size / stride) entries."""
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        size, stride = kernel.shape[0], self.stride
        pads = tuple(pad_widths(length, size, stride, self.padding) for length in x.shape[1:3])
        if self.depthwise:
            x = depthwise(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel, stride)
        elif size == 1:
            x = x[:, ::stride, ::stride]
            # As a matrix product of flattened pixels, which is faster on CPU and the same elsewhere.
            x = (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)
        elif size == stride:
            x = convolve_patches(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel)
        else:
            x = convolve(x, kernel, stride, pads)
        return x if self.bias is None else x + self.bias[...].astype(self.dtype)


class Conv3d(nnx.Module):
    """A convolution over time and space, without a bias. The kernel [k, k, k, c_in, c_out] is 0 until `draw_kernels`.

    Args:
      size, strides: of time, rows and columns.
      padding: in space, as in Conv; in time it is `same`.

    Raises:
      ValueError: another padding.
    """

    def __init__(self, c_in: int, c_out: int, size, *, strides=(1, 1, 1), padding: str = "same", dtype=jnp.float32):
        if padding not in ("symmetric", "same"):
            raise ValueError(f"padding {padding!r}: expected 'symmetric' (PyTorch) or 'same' (TensorFlow)")
        axes = (None, None, None, None, "conv_out")
        self.kernel = nnx.Param(jnp.zeros((*size, c_in, c_out)), out_sharding=axes)
        self.strides, self.padding, self.dtype = tuple(strides), padding, dtype

    def __call__(self, x: Float[Array, "b t h w c_in"]) -> Float[Array, "b t_out h_out w_out c_out"]:
        """An output axis has ceil(size / stride) entries."""
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        if kernel.shape[:3] == (1, 1, 1) and self.strides == (1, 1, 1):
            return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0, 0]).reshape(*x.shape[:-1], -1)
        paddings = ("same", self.padding, self.padding)
        pads = tuple(
            pad_widths(length, size, stride, padding)
            for length, size, stride, padding in zip(x.shape[1:4], kernel.shape, self.strides, paddings, strict=False)
        )
        return convolve3d(x, kernel, self.strides, pads)


class BatchNorm(nnx.Module):
    """Batch normalization over all axes but the last (Ioffe & Szegedy 2015), computed in float32 for any dtype.

    Under jit over several devices the statistics are those of the whole batch. Running statistics have a momentum of
    0.1, as in PyTorch.

    Attributes:
      frozen: training normalizes by the running statistics too, and leaves them as they are.
    """

    def __init__(self, c: int, *, epsilon: float = 1e-5, zero: bool = False, dtype=jnp.float32):
        self.scale = nnx.Param(jnp.zeros(c) if zero else jnp.ones(c))
        self.bias = nnx.Param(jnp.zeros(c))
        self.mean = nnx.BatchStat(jnp.zeros(c))
        self.var = nnx.BatchStat(jnp.ones(c))
        self.epsilon, self.dtype, self.frozen = epsilon, dtype, False

    def __call__(
        self, x: Float[Array, "*b c"], *, train: bool, mask: Bool[Array, "..."] | None = None
    ) -> Float[Array, "*b c"]:
        """Normalizes each channel of x.

        Args:
          train: by the statistics of this batch, which also update the running ones; otherwise by the running ones.
          mask: broadcasts to [*b, 1]; entries that are False do not count in the statistics of the batch.
        """
        x = x.astype(jnp.float32)
        mean, var = self.mean[...], self.var[...]
        if train and not self.frozen:
            axes, where = tuple(range(x.ndim - 1)), None
            count: int | jax.Array = x.size // x.shape[-1]
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
    """A convolution followed by batch normalization."""

    def __init__(
        self, c_in: int, c_out: int, size: int, *, epsilon: float, zero: bool = False, dtype=jnp.float32,
        **options,
    ):  # fmt: skip
        self.conv = Conv(c_in, c_out, size, dtype=dtype, **options)
        self.norm = BatchNorm(c_out, epsilon=epsilon, zero=zero, dtype=dtype)

    def __call__(self, x: Float[Array, "b h w c_in"], *, train: bool) -> Float[Array, "b h_out w_out c_out"]:
        return self.norm(self.conv(x), train=train)


@partial(jax.jit, static_argnums=1)
def _draw(key: jax.Array, shapes: tuple) -> list[jax.Array]:
    sizes = [math.prod(shape) for shape in shapes]
    pool, kernels, start = jax.random.normal(key, (sum(sizes),)), [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        *window, c_in, c_out = shape
        # He et al. 2015, fan-out: keeps the variance of gradients through a ReLU. A depthwise input has one output.
        fan_out = math.prod(window) * (1 if c_in == 1 else c_out)
        kernels.append(pool[start : start + size].reshape(shape) * (2.0 / fan_out) ** 0.5)
        start += size
    return kernels


def draw_kernels(module: nnx.Module, rngs: nnx.Rngs):
    """Sets the initial kernel of every convolution in `module`.

    All kernels come from one draw, because XLA takes long to compile a generator for each.
    """
    convs = [part for _, part in nnx.iter_modules(module) if isinstance(part, Conv | Conv3d)]
    kernels = _draw(rngs.params(), tuple(conv.kernel.shape for conv in convs))
    for conv, kernel in zip(convs, kernels, strict=True):
        conv.kernel[...] = kernel
