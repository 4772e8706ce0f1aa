"""Access to the layers within an encoder, by name, for explanations that differentiate with respect to them.

Encoders pass the output of each layer through `tap`, which returns it as it is unless the layer is tapped. `*t`: frames
of clips, of an encoder over time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass
class Tap:
    """The layer to tap while an encoder is traced, and what was seen of it.

    Attributes:
      layer: its name.
      perturbation: added to its output, or None. The gradient with respect to it is that with respect to the output.
      value: the output, once the encoder was called.
      layers: names of all layers that the encoder has, in order.
    """

    layer: str
    perturbation: jax.Array | None = None
    value: jax.Array | None = None
    layers: list[str] = field(default_factory=list)


_ACTIVE: ContextVar[Tap | None] = ContextVar("tap", default=None)


@contextmanager
def tapped(layer: str, perturbation: jax.Array | None = None) -> Iterator[Tap]:
    """Within this context the encoder that is called is tapped at a layer."""
    active = Tap(layer, perturbation)
    token = _ACTIVE.set(active)
    try:
        yield active
    finally:
        _ACTIVE.reset(token)


def tap(layer: str, grids: Float[Array, "b *cells c"]) -> Float[Array, "b *cells c"]:
    """Returns the output of a layer, with the perturbation where it is tapped."""
    active = _ACTIVE.get()
    if active is None:
        return grids
    active.layers.append(layer)
    if layer != active.layer:
        return grids
    if active.perturbation is not None:
        grids = grids + active.perturbation.reshape(grids.shape).astype(grids.dtype)
    active.value = grids
    return grids


def tapped_parts(prefix: str, count: int) -> list[tuple[int, int]]:
    """Returns (first, end) of the parts in which to apply `count` layers by `scan`: one, or two if a layer is tapped,
    of which the first ends with that layer.

    The names of the layers are `prefix/0`, `prefix/1` and so on; the output of each part goes through `tap_tokens`.
    """
    active = _ACTIVE.get()
    if active is None:
        return [(0, count)]
    names = [f"{prefix}/{number}" for number in range(count)]
    end = names.index(active.layer) + 1 if active.layer in names else count
    active.layers += [name for number, name in enumerate(names, 1) if number not in (end, count)]
    return [(0, end), (end, count)] if end < count else [(0, count)]


def tap_tokens(layer: str, x: Float[Array, "b *t n d"], grid: tuple[int, int]) -> Float[Array, "b *t n d"]:
    """As `tap`, of tokens, of which the last are those of a grid's cells in rows."""
    if _ACTIVE.get() is None:
        return x
    cells = grid[0] * grid[1]
    before, patches = x[..., :-cells, :], x[..., -cells:, :]
    patches = tap(layer, patches.reshape(*patches.shape[:-2], *grid, x.shape[-1])).reshape(patches.shape)
    return jnp.concatenate([before, patches], axis=-2)
