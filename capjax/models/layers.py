"""Small parts that encoders and decoders share. d: model width, n: positions, h: heads, k: width of a head."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from capjax.parallel.sharding_rules import by_slice, constrain

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


def by_platform(cpu: Callable, default: Callable) -> Callable:
    """One differentiable function of arrays that is computed one way on CPU and another elsewhere, each with its own
    gradient. The backward pass keeps the arguments alone; what else it needs, it computes anew."""

    def gradient(function, saved, dout):
        return jax.vjp(function, *saved)[1](dout)

    def backward(saved, dout):
        ways = {"cpu": partial(gradient, cpu), "default": by_slice(partial(gradient, default))}
        return jax.lax.platform_dependent(saved, dout, **ways)

    call = jax.custom_vjp(lambda *args: jax.lax.platform_dependent(*args, cpu=cpu, default=default))
    call.defvjp(lambda *args: (call(*args), args), backward)
    return call


def flat_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., d_in] times kernel [d_in, d_out], rows flattened."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def _matmul_backward(saved, dout):
    x, kernel = saved
    rows = tuple(range(x.ndim - 1))
    # As the kernel lies. Autodiff makes it transposed, and with the axis that chips share last the TPU compiler does
    # not scatter what it sums over them.
    return dout @ kernel.T, jnp.tensordot(x, dout, (rows, rows))


_matmul.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _matmul_backward)

# x [..., d_in] times kernel [d_in, d_out]. On CPU rows are flattened: the gradient of a [b * n, d] product is a quarter
# faster there than that of [b, n, d]. On TPU flattening would copy, where n is no multiple of a tile's 8 rows.
product = by_platform(flat_product, _matmul)

# What a backward pass that keeps only what matrix products make (REMAT's `light`) knows them by.
PRODUCT = "product"


class Linear(nnx.Module):
    """x @ kernel + bias. The kernel is [d_in, d_out] with logical axis names for sharding."""

    def __init__(self, d_in: int, d_out: int, *, axes=(None, None), bias=True, init=None, dtype=jnp.float32, rngs):
        init = init or nnx.initializers.xavier_uniform()
        self.kernel = nnx.Param(init(rngs.params(), (d_in, d_out), jnp.float32), out_sharding=axes)
        self.bias = nnx.Param(jnp.zeros(d_out)) if bias else None
        self.axes, self.dtype = tuple(axes), dtype

    def arrays(self) -> tuple[jax.Array, jax.Array | None]:
        """(kernel, bias) as they are computed with. Devices that share the kernel exchange it in that type, and so they
        do its gradient."""
        bias = None if self.bias is None else self.bias[...].astype(self.dtype)
        return constrain(self.kernel[...].astype(self.dtype), *self.axes), bias

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., d_in] -> [..., d_out]."""
        kernel, bias = self.arrays()
        out = product(x.astype(self.dtype), kernel)
        return checkpoint_name(out if bias is None else out + bias, PRODUCT)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Layer normalization of x [..., d] (Ba et al. 2016), in float32 whatever the dtype: -> float32 [..., d].

    The backward pass keeps x and two numbers a row, and normalizes again.
    """
    return _layer_norm(x, scale, bias, epsilon)[0]


def _layer_norm(x, scale, bias, epsilon):
    whole = x.astype(jnp.float32)
    mean = whole.mean(-1, keepdims=True)
    # Two passes: E[x^2] - E[x]^2 loses all digits where the mean is large.
    factor = jax.lax.rsqrt(jnp.square(whole - mean).mean(-1, keepdims=True) + epsilon)
    return (whole - mean) * factor * scale + bias, (x, scale, mean, factor)


def _layer_norm_backward(epsilon, saved, dout):
    del epsilon
    x, scale, mean, factor = saved
    normal = (x.astype(jnp.float32) - mean) * factor
    scaled = dout * scale
    along = (scaled * normal).mean(-1, keepdims=True)
    dx = (scaled - scaled.mean(-1, keepdims=True) - normal * along) * factor
    rows = tuple(range(x.ndim - 1))
    return dx.astype(x.dtype), (dout * normal).sum(rows), dout.sum(rows)


layer_norm.defvjp(_layer_norm, _layer_norm_backward)


class LayerNorm(nnx.Module):
    """`layer_norm` with its parameters."""

    def __init__(self, d: int, *, epsilon=1e-6, dtype=jnp.float32):
        self.scale, self.bias = nnx.Param(jnp.ones(d)), nnx.Param(jnp.zeros(d))
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


def _gelu_backward(x: jax.Array, dout: jax.Array):
    density = jnp.exp(-0.5 * x * x) * (2.0 * jnp.pi) ** -0.5
    return (dout * (_normal_cdf(x) + x * density),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


class Mlp(nnx.Module):
    """d -> hidden -> d with GELU between."""

    def __init__(self, d: int, *, hidden: int, dtype=jnp.float32, rngs):
        self.up = Linear(d, hidden, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.down = Linear(hidden, d, axes=("mlp", "embed"), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, rate: float = 0.0, key=None) -> jax.Array:
        hidden = constrain(self.up(x), "batch", *(None,) * (x.ndim - 2), "mlp")
        return self.down(dropout(gelu(hidden), rate, key))


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


# What the backward pass keeps of a layer, by the name of what it computes anew: `none`, all is kept; `light`, what
# matrix products make, so that norms, activations and attention weights are computed anew; `full`, what goes into the
# layer.
REMAT = {
    "none": None,
    "light": jax.checkpoint_policies.save_only_these_names(PRODUCT),
    "full": jax.checkpoint_policies.nothing_saveable,
}


def scan(blocks: nnx.Module, count: int, x: jax.Array, call, *, key=None, remat: str = "none", dtype=None):
    """Applies stacked blocks in turn: `call(block, x, key) -> (x, out)`; returns (x, outs stacked by layer).

    One traced body whatever the depth, so that compile time does not grow with it.

    Args:
      x: what goes from layer to layer; its first array is [b, ..., d].
      remat: what is computed anew in the backward pass, a key of REMAT.
      dtype: of the computation: kernels are cast once, so that devices which share them exchange no more than that.

    Raises:
      ValueError: no such key.
    """
    if remat not in REMAT:
        raise ValueError(f"remat {remat!r}: expected one of {', '.join(REMAT)}")
    graphdef, state = nnx.split(blocks)
    keys = None if key is None else jax.random.split(key, count)
    if dtype is not None:
        state = jax.tree.map(lambda value: value.astype(dtype) if value.ndim > 2 else value, state)

    def body(x, layer):
        layer_state, layer_key = layer
        first, *rest = jax.tree.leaves(x)
        x = jax.tree.unflatten(jax.tree.structure(x), [constrain(first, "batch"), *rest])
        return call(nnx.merge(graphdef, layer_state), x, layer_key)

    if REMAT[remat] is not None:
        # Inside a scan nothing is shared between forward and backward pass that could undo it.
        body = jax.checkpoint(body, policy=REMAT[remat], prevent_cse=False)
    return jax.lax.scan(body, x, (state, keys))
