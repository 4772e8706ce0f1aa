"""Layers that encoders, connectors and decoders share. b: batch, d: width. `*b` and `*shape`: any number of axes."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Real

from capjax.models.gradients import are_weights_held, by_platform, custom_gradient, hold
from capjax.parallel.sharding_rules import constrain

# Radians per second of the fastest sinusoid of a time: frames that are close in time must differ.
TIME_SCALE = 8.0

# The checkpoint name of matrix products, which a backward pass with REMAT's `light` keeps.
PRODUCT = "product"


def split(key: jax.Array | None, count: int) -> list:
    """`count` keys drawn from `key`, or as many Nones if `key` is None."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def dropout(x: Float[Array, "*shape"], rate: float, key: jax.Array | None) -> Float[Array, "*shape"]:
    """Zeroes a share `rate` of the entries, in steps of 2^-16, and scales the rest. The identity without a key."""
    if key is None or rate == 0.0:
        return x
    # 16 random bits per entry suffice, at half the work of the generator, which is most of a dropout's time on CPU.
    drawn = jax.random.bits(key, (-(-x.size // 2),), jnp.uint32)
    bits = jax.lax.bitcast_convert_type(drawn, jnp.uint16).reshape(-1)[: x.size].reshape(x.shape)
    dropped = round(rate * 2**16)
    return jnp.where(bits < dropped, 0.0, x * (2**16 / (2**16 - dropped))).astype(x.dtype)


def drop_path(x: Float[Array, "b ..."], rate, key: jax.Array | None) -> Float[Array, "b ..."]:
    """Stochastic depth (Huang et al. 2016): zeroes a share `rate` of the items of a residual branch and scales
    the rest. The identity without a key."""
    if key is None or (isinstance(rate, float) and rate == 0.0):
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, (x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(keep, x / (1.0 - rate), 0.0).astype(x.dtype)


def flat_product(x: Float[Array, "*b d_in"], kernel: Float[Array, "d_in d_out"]) -> Float[Array, "*b d_out"]:
    """The matrix product of x, its rows flattened, and the kernel."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


def _matmul_backward(saved, dout):
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    # The kernel's gradient has the layout of the kernel. JAX would derive its transpose; if devices share the last axis
    # of that, the TPU compiler sums it whole on each device instead of scattering the sum.
    return dout @ kernel.T, jnp.tensordot(x, dout, (rows, rows))


@custom_gradient(lambda x, kernel: (x @ kernel, (x, kernel)), _matmul_backward)
def _matmul(x: Float[Array, "*b d_in"], kernel: Float[Array, "d_in d_out"]) -> Float[Array, "*b d_out"]:
    return x @ kernel


# x [..., d_in] times kernel [d_in, d_out]. On CPU rows are flattened, because the gradient of a [b * n, d] product is
# faster there than that of [b, n, d]. On TPU flattening would copy if n is not a multiple of a tile's 8 rows.
product = by_platform(flat_product, _matmul)


class Linear(nnx.Module):
    """x @ kernel + bias, with kernel [d_in, d_out].

    Args:
      axes: logical axis names of the kernel, for sharding.
    """

    def __init__(self, d_in: int, d_out: int, *, axes=(None, None), bias=True, init=None, dtype=jnp.float32, rngs):
        init = init or nnx.initializers.xavier_uniform()
        self.kernel = nnx.Param(init(rngs.params(), (d_in, d_out), jnp.float32), out_sharding=axes)
        self.bias = nnx.Param(jnp.zeros(d_out)) if bias else None
        self.axes, self.dtype = tuple(axes), dtype

    def arrays(self) -> tuple[Float[Array, "d_in d_out"], Float[Array, " d_out"] | None]:
        """(kernel, bias or None) in the dtype of the computation.

        Devices that share the kernel exchange it, and its gradient, in that dtype.
        """
        bias = None if self.bias is None else self.bias[...].astype(self.dtype)
        return constrain(self.kernel[...].astype(self.dtype), *self.axes), bias

    def __call__(self, x: Float[Array, "*b d_in"]) -> Float[Array, "*b d_out"]:
        kernel, bias = self.arrays()
        out = product(x.astype(self.dtype), kernel)
        return checkpoint_name(out if bias is None else out + bias, PRODUCT)


def _layer_norm(x, scale, bias, epsilon):
    wide = x.astype(jnp.float32)
    mean = wide.mean(-1, keepdims=True)
    # Two passes: E[x^2] - E[x]^2 loses all digits if the mean is large.
    factor = jax.lax.rsqrt(jnp.square(wide - mean).mean(-1, keepdims=True) + epsilon)
    return (wide - mean) * factor * scale + bias, (x, scale, mean, factor)


def _layer_norm_backward(epsilon, saved, dout):
    del epsilon
    x, scale, mean, factor = saved
    normal = (x.astype(jnp.float32) - mean) * factor
    scaled = dout * scale
    along = (scaled * normal).mean(-1, keepdims=True)
    dx = (scaled - scaled.mean(-1, keepdims=True) - normal * along) * factor
    rows = tuple(range(x.ndim - 1))
    return dx.astype(x.dtype), (dout * normal).sum(rows), dout.sum(rows)


@custom_gradient(_layer_norm, _layer_norm_backward, nondiff_argnums=(3,))
def layer_norm(
    x: Float[Array, "*b d"], scale: Float[Array, " d"], bias: Float[Array, " d"], epsilon: float
) -> Float[Array, "*b d"]:
    """Layer normalization (Ba et al. 2016), computed and returned in float32 for any dtype of x.

    The backward pass keeps x and two numbers per row, and normalizes again.
    """
    return _layer_norm(x, scale, bias, epsilon)[0]


class LayerNorm(nnx.Module):
    """`layer_norm` with its parameters; the output has `dtype`."""

    def __init__(self, d: int, *, epsilon=1e-6, dtype=jnp.float32):
        self.scale, self.bias = nnx.Param(jnp.ones(d)), nnx.Param(jnp.zeros(d))
        self.epsilon, self.dtype = epsilon, dtype

    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        if not are_weights_held():
            return layer_norm(x, self.scale[...], self.bias[...], self.epsilon).astype(self.dtype)
        centered = x.astype(jnp.float32) - x.astype(jnp.float32).mean(-1, keepdims=True)
        factor = hold(jax.lax.rsqrt(jnp.square(centered).mean(-1, keepdims=True) + self.epsilon))
        return (centered * factor * self.scale[...] + self.bias[...]).astype(self.dtype)


def _normal_cdf(x: jax.Array) -> jax.Array:
    # By erf: erfc, which jax.nn.gelu uses to keep the digits of values near 0, is slower on CPU.
    return 0.5 * (1.0 + jax.lax.erf(x * 0.5**0.5))


def _gelu_backward(x: jax.Array, dout: jax.Array):
    density = jnp.exp(-0.5 * x * x) * (2.0 * jnp.pi) ** -0.5
    return (dout * (_normal_cdf(x) + x * density),)


@custom_gradient(lambda x: (x * _normal_cdf(x), x), _gelu_backward)
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x times the cumulative normal distribution (Hendrycks & Gimpel 2016), exact, as published weights need it.

    The backward pass keeps x alone.
    """
    return x * _normal_cdf(x)


class Mlp(nnx.Module):
    """d -> hidden -> d with GELU between."""

    def __init__(self, d: int, *, hidden: int, dtype=jnp.float32, rngs):
        self.up = Linear(d, hidden, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.down = Linear(hidden, d, axes=("mlp", "embed"), dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "*b d"], *, rate: float = 0.0, key=None) -> Float[Array, "*b d"]:
        """Dropout of `rate` acts on the hidden units."""
        hidden = constrain(self.up(x), "batch", *(None,) * (x.ndim - 2), "mlp")
        return self.down(dropout(gelu(hidden), rate, key))


def sinusoid(positions: Real[Array, "*b"], d: int) -> Float[Array, "*b {d}"]:
    """Sines and cosines of positions in d channels (Vaswani et al. 2017, section 3.5)."""
    rate = 10_000.0 ** (-jnp.arange(0, d, 2) / d)
    angle = positions[..., None].astype(jnp.float32) * rate
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)[..., :d]
