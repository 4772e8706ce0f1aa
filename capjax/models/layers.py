"""Small parts that encoders and decoders share. d: model width, n: positions, h: heads, k: width of a head."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

# Radians a second of the fastest sinusoid of a time: frames that are near in time must differ.
TIME_SCALE = 8.0


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes a share `rate` of the entries (in steps of 2^-16) and scales the rest; the identity without a key."""
    if key is None or rate == 0.0:
        return x
    # 16 random bits an entry are enough, and half the generator's work, which on a CPU is most of a dropout's time.
    drawn = jax.random.bits(key, (-(-x.size // 2),), jnp.uint32)
    bits = jax.lax.bitcast_convert_type(drawn, jnp.uint16).reshape(-1)[: x.size].reshape(x.shape)
    dropped = round(rate * 2**16)
    return jnp.where(bits < dropped, 0.0, x * (2**16 / (2**16 - dropped))).astype(x.dtype)


def split(key: jax.Array | None, count: int):
    """`count` keys, or Nones."""
    return [None] * count if key is None else list(jax.random.split(key, count))


class Linear(nnx.Module):
    """x @ kernel + bias. The kernel is [d_in, d_out] with logical axis names for sharding."""

    def __init__(self, d_in: int, d_out: int, *, axes=(None, None), bias=True, init=None, dtype=jnp.float32, rngs):
        init = init or nnx.initializers.xavier_uniform()
        self.kernel = nnx.Param(init(rngs.params(), (d_in, d_out), jnp.float32), out_sharding=axes)
        self.bias = nnx.Param(jnp.zeros(d_out), out_sharding=axes[1:]) if bias else None
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., d_in] -> [..., d_out]."""
        # Rows flattened: on CPU the gradient of a [b * n, d] product is a quarter faster than that of [b, n, d].
        out = x.reshape(-1, x.shape[-1]).astype(self.dtype) @ self.kernel[...].astype(self.dtype)
        out = out if self.bias is None else out + self.bias[...].astype(self.dtype)
        return out.reshape(*x.shape[:-1], -1)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Layer normalisation of x [..., d] (Ba et al. 2016), in float32 whatever the dtype: -> float32 [..., d].

    The backward pass keeps x and two numbers a row, and normalises again.
    """
    return _layer_norm(x, scale, bias, epsilon)[0]


def _layer_norm(x, scale, bias, epsilon):
    whole = x.astype(jnp.float32)
    mean = whole.mean(-1, keepdims=True)
    # Two passes: E[x^2] - E[x]^2 loses all digits where the mean is large.
    factor = jax.lax.rsqrt(jnp.square(whole - mean).mean(-1, keepdims=True) + epsilon)
    return (whole - mean) * factor * scale + bias, (x, scale, mean, factor)


def _layer_norm_backward(epsilon, saved, of_out):
    del epsilon
    x, scale, mean, factor = saved
    normal = (x.astype(jnp.float32) - mean) * factor
    scaled = of_out * scale
    along = (scaled * normal).mean(-1, keepdims=True)
    of_x = (scaled - scaled.mean(-1, keepdims=True) - normal * along) * factor
    rows = tuple(range(x.ndim - 1))
    return of_x.astype(x.dtype), (of_out * normal).sum(rows), of_out.sum(rows)


layer_norm.defvjp(_layer_norm, _layer_norm_backward)


class LayerNorm(nnx.Module):
    """`layer_norm` with its parameters."""

    def __init__(self, d: int, *, epsilon=1e-6, dtype=jnp.float32):
        self.scale = nnx.Param(jnp.ones(d), out_sharding=("embed",))
        self.bias = nnx.Param(jnp.zeros(d), out_sharding=("embed",))
        self.epsilon, self.dtype = epsilon, dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        return layer_norm(x, self.scale[...], self.bias[...], self.epsilon).astype(self.dtype)


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """x times the normal distribution's cumulative function (Hendrycks & Gimpel 2016), exact as published weights need
    it. The backward pass keeps x alone."""
    return x * _normal_cdf(x)


def _normal_cdf(x: jax.Array) -> jax.Array:
    # By erf: erfc, which jax.nn.gelu takes, is three times slower on CPU, to save digits of what is nearly 0.
    return 0.5 * (1.0 + jax.lax.erf(x * 0.5**0.5))


def _gelu_backward(x: jax.Array, of_out: jax.Array):
    density = jnp.exp(-0.5 * x * x) * (2.0 * jnp.pi) ** -0.5
    return (of_out * (_normal_cdf(x) + x * density),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


class Mlp(nnx.Module):
    """d -> hidden -> d with GELU between."""

    def __init__(self, d: int, *, hidden: int, dtype=jnp.float32, rngs):
        self.up = Linear(d, hidden, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.down = Linear(hidden, d, axes=("mlp", "embed"), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, rate: float = 0.0, key=None) -> jax.Array:
        return self.down(dropout(gelu(self.up(x)), rate, key))


def sinusoid(positions: jax.Array, d: int, *, longest: float = 10_000.0) -> jax.Array:
    """Sines and cosines of `positions` (any shape) in d channels: [..., d] (Vaswani et al. 2017, section 3.5)."""
    rate = longest ** (-jnp.arange(0, d, 2) / d)
    angle = positions[..., None].astype(jnp.float32) * rate
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)[..., :d]


def stack(make_one, count: int, rngs: nnx.Rngs):
    """`count` modules as one with a leading `layers` axis on every parameter, for `scan`."""

    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=(0,), out_axes=0, transform_metadata={nnx.PARTITION_NAME: "layers"})
    def make(rngs):
        return make_one(rngs)

    return make(rngs)


def unstack(blocks: nnx.Module, count: int) -> list[nnx.Module]:
    """The modules of `stack`, one by one."""
    graphdef, state = nnx.split(blocks)
    return [nnx.merge(graphdef, jax.tree.map(lambda a, i=i: a[i], state)) for i in range(count)]


def scan(blocks: nnx.Module, count: int, x: jax.Array, call, *, key=None, remat: bool = False):
    """Applies stacked blocks in turn: `call(block, x, key) -> (x, out)`; returns (x, outs stacked by layer).

    One traced body whatever the depth, so that compile time does not grow with it.
    """
    graphdef, state = nnx.split(blocks)
    keys = None if key is None else jax.random.split(key, count)

    def body(x, layer):
        layer_state, layer_key = layer
        return call(nnx.merge(graphdef, layer_state), x, layer_key)

    return jax.lax.scan(jax.checkpoint(body) if remat else body, x, (state, keys))
