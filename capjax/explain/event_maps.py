"""Maps over time of the events that queries find: `queries` and `pointers`, of the whole caption of an event.

b: items, t: frames, q: queries, h: heads.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from capjax.explain.explanation import HeatMaps
from capjax.explain.methods import METHODS, Options
from capjax.explain.model import BoundModel, CaptionedBatch, CaptionModel


class _EventMaps(NamedTuple):
    """Attention of the query and share inside, with the times and the mask (True = real) of the frames."""

    attention: Float[Array, "b t"]
    inside: Float[Array, "b t"]
    times: Float[Array, "b t"]
    mask: Bool[Array, "b t"]


@METHODS.register("queries")
def queries(model: CaptionModel, batch: CaptionedBatch, options: Options) -> list[HeatMaps]:
    """The attention to each frame of the query that found the event, the mean over layers and heads.

    Raises:
      ValueError: the model has no event queries.
    """
    del options
    return _maps(model, batch, "attention")


@METHODS.register("pointers")
def pointers(model: CaptionModel, batch: CaptionedBatch, options: Options) -> list[HeatMaps]:
    """The probability that the event has begun by a frame and not ended before it, by the pointers of its query.

    Raises:
      ValueError: the model has no event queries.
    """
    del options
    return _maps(model, batch, "inside")


def _maps(model: CaptionModel, batch: CaptionedBatch, name: str) -> list[HeatMaps]:
    out = model.run(_event_maps, batch)
    maps = []
    for row, item in enumerate(batch.items):
        real = np.asarray(out.mask[row])
        values = np.asarray(getattr(out, name)[row])[real]
        maps.append(HeatMaps(values[None, :, None, None], np.asarray(out.times[row])[real], model.geometry(item, 1, 1)))
    return maps


def _event_maps(model: BoundModel, media: Mapping, target, word_tokens) -> _EventMaps:
    del target, word_tokens
    if model.captioner.events is None:
        raise ValueError("the methods queries and pointers are for models whose queries find events (data.task dense)")
    memory = model.captioner.connect(model.features(media), duration=media["duration"])
    events, query = model.find_event(memory, media, return_attention=True)
    frames = memory.parts()[0]
    rows = jnp.arange(len(query))
    assert events.attention is not None
    attention = events.attention.mean((0, 2))[rows, query]  # [b, n]
    start, end = jnp.moveaxis(jax.nn.softmax(events.pointers[-1][rows, query], axis=-1), 1, 0)
    inside = jnp.cumsum(start, axis=-1) * jnp.cumsum(end[:, ::-1], axis=-1)[:, ::-1]
    return _EventMaps(attention[:, : inside.shape[-1]], inside, frames.frame_times, frames.frame_mask)
