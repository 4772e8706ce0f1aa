"""Models whose parameters numpy draws: nothing is compiled for it, and no bias or scale is left at its neutral start,
where an error in it would not show."""

import jax.numpy as jnp
import numpy as np

from capjax.models.captioner import VISION, EncoderSpec
from capjax.models.memory import Memory, Segment
from capjax.models.pure_model import PureModel


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape, scale=scale).astype(np.float32)


def _values(name: str, shape, rng) -> jnp.ndarray:
    x = rng.normal(size=shape)
    if name.endswith("scale"):
        x = 1.0 + 0.3 * x
    elif name.endswith("kernel"):
        x /= np.sqrt(np.prod(shape[:-1]) if len(shape) == 4 else shape[-2])
    elif name.endswith("table"):
        x /= np.sqrt(shape[-1])
    else:
        x *= 0.3
    return jnp.asarray(x, jnp.float32)


def draw_params(pure_model: PureModel, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {name: _values(name, spec.shape, rng) for name, spec in pure_model.shapes.items()}


def vision(encoder: dict | None, *, frozen: bool = False) -> dict[str, EncoderSpec]:
    """The encoders of a captioner with one, given by its name and options; none for a model that reads features."""
    if encoder is None:
        return {}
    options = {key: value for key, value in encoder.items() if key != "name"}
    return {VISION: EncoderSpec(encoder["name"], options, frozen)}


def draw_model(make, seed: int = 0):
    """The module of `make(key)`, with running statistics of mean 0 and variance 1."""
    pure_model = PureModel.of(make)
    batch_stats = {
        name: jnp.full(spec.shape, 0.0 if name.endswith("mean") else 1.0)
        for name, spec in pure_model.batch_stat_shapes.items()
    }
    return pure_model.bind(draw_params(pure_model, seed), batch_stats)


def draw_memory(b: int, n: int, d: int, seed: int = 0, frames: int | None = None) -> Memory:
    """A memory of `frames` frames, one for each position by default; each item has real positions of its own, one or
    more."""
    rng = np.random.default_rng(seed)
    mask = rng.random((b, n)) < 0.6
    mask[:, 1] = True
    place = np.zeros((n, 3), np.int32)
    place[:, 2] = np.arange(n)
    return Memory(
        x=jnp.asarray(rng.normal(size=(b, n, d)), jnp.float32),
        mask=jnp.asarray(mask),
        time=jnp.zeros((b, n)),
        grid_index=jnp.asarray(place),
        segments=(Segment("vision", frames or n, n // (frames or n)),),
    )
