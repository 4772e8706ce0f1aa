"""Events as a set found by queries (the form of PDVC, Wang et al. 2021; set prediction of Carion et al. 2020).

Each query attends to all frames and points at the two frames between which its event lies. Queries and true events are
matched one to one; the number of events is predicted separately.

The frames in which events start and end are those of the first encoder, which is the first segment of the memory.

b: batch, t: frames, q: queries, e: events, d: width.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int

from capjax.models.layers import LayerNorm, Linear
from capjax.models.memory import Memory, Segment, concatenate
from capjax.models.stacked import scan
from capjax.models.transformer_block import make_blocks

# Logit of a frame that is padding.
_PADDING_LOGIT = -1e9


@struct.dataclass
class FrameSet:
    """Predictions from each frame alone.

    Attributes:
      inside: logits that the frame lies in an event, that an event starts at it, and that one ends at it.
      times: of the frames, as shares of the duration.
      mask: True = real.
    """

    inside: Float[Array, "b t 3"]
    times: Float[Array, "b t"]
    mask: Bool[Array, "b t"]


@struct.dataclass
class EventSet:
    """Predictions of the queries. The first axis of the first four arrays is the layer; the last layer decides.

    Attributes:
      times: start and end as shares of the duration, start before end.
      pointers: logits over frames of start and end.
      confidence: logits of being an event.
      count: logits over the number of events, from 0 to the maximum.
      query: the final state of each query.
      frames: predictions from the frames alone.
      attention: of each query to the frames of all encoders, in float32, if requested.
    """

    times: Float[Array, "layers b q 2"]
    pointers: Float[Array, "layers b q 2 t"]
    confidence: Float[Array, "layers b q"]
    count: Float[Array, "layers b e+1"]
    query: Float[Array, "b q d"]
    frames: FrameSet
    attention: Float[Array, "layers b h q n"] | None = None


class FrameEvents(nnx.Module):
    """Predicts from each frame alone whether it lies in an event: an auxiliary task for any decoder of events."""

    def __init__(self, width: int, *, dtype, rngs):
        self.norm = LayerNorm(width, dtype=dtype)
        self.inside = Linear(width, 3, axes=("embed", None), dtype=dtype, rngs=rngs)

    def __call__(self, memory: Memory, duration: Float[Array, " b"]) -> tuple[Float[Array, "b t d"], FrameSet]:
        """Returns a vector for each frame, and the predictions from it. The duration is in seconds."""
        part = memory.parts()[0]
        x = self.norm(part.frame_means())
        times = part.frame_times / duration[:, None]
        return x, FrameSet(self.inside(x).astype(jnp.float32), times, part.frame_mask)


class EventQueries(nnx.Module):
    """Finds events in a memory.

    Args:
      queries: q, the maximum number of events that can be found.
      events: e, the maximum number of events of an item in training.
      frames: maximum number of frames of an event from which its caption is written; of more frames, those nearest to
        evenly spaced times are taken.
      margin: seconds before and after the event that its caption sees too, see `event_memory`.

    Raises:
      ValueError: an option has an impossible value; the message says which.
    """

    def __init__(
        self, *, width: int, events: int, queries: int = 20, frames: int = 16, margin: float = 0.5, layers: int = 2,
        heads: int = 4, mlp_ratio: float = 4.0, dropout: float = 0.0, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if queries < events:
            raise ValueError(
                f"{queries} queries cannot find the {events} events of data.max_events; use as many or more"
            )
        if frames < 1:
            raise ValueError(f"model.events.frames = {frames}: the caption of an event needs 1 frame or more")
        normal = nnx.initializers.normal(1.0)
        self.embed = nnx.Param(normal(rngs.params(), (queries, width)), out_sharding=(None, "embed"))
        self.blocks = make_blocks(
            "event queries", layers, width, heads, mlp_ratio, cross=True, dropout=dropout, dtype=dtype, rngs=rngs
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.frame_events = FrameEvents(width, dtype=dtype, rngs=rngs)
        self.pointer_query = Linear(width, 2 * width, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.pointer_key = Linear(width, 2 * width, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.offset = Linear(width, 2, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.confidence = Linear(width, 1, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.count = Linear(width, events + 1, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.layers, self.width, self.frames, self.margin, self.dtype = layers, width, frames, margin, dtype

    def __call__(
        self, memory: Memory, duration: Float[Array, " b"], key=None, *, return_attention: bool = False
    ) -> EventSet:
        """Finds the events of each item; the duration is in seconds."""
        x, frames = self.frame_events(memory, duration)
        b, t, d = x.shape
        # Queries attend to the frames of all encoders, and point at those of the first.
        further = memory.parts()[1:]
        frame_vectors = jnp.concatenate([x, *(self.frame_events.norm(part.frame_means()) for part in further)], axis=1)
        memory_mask = jnp.concatenate([frames.mask, *(part.frame_mask for part in further)], axis=1)
        queries = jnp.broadcast_to(self.embed[...].astype(self.dtype), (b, *self.embed.shape))

        def layer(block, queries, key):
            queries, weights = block(
                queries, key, memory=frame_vectors, memory_mask=memory_mask, return_attention=return_attention
            )
            return queries, (queries, weights)

        _, (states, weights) = scan(self.blocks, self.layers, queries, layer, key=key)
        states = self.norm(states)  # [layers, b, q, d]
        layers, q = states.shape[0], states.shape[2]
        pointer_query = self.pointer_query(states).reshape(layers, b, q, 2, d)
        pointer_key = self.pointer_key(x).reshape(b, t, 2, d)
        axes = "LbqSd,btSd->LbqSt"
        pointers = jnp.einsum(axes, pointer_query, pointer_key, preferred_element_type=jnp.float32) * d**-0.5
        pointers = jnp.where(frames.mask[:, None, None], pointers, _PADDING_LOGIT)
        times = jnp.einsum("LbqSt,bt->LbqS", jax.nn.softmax(pointers, axis=-1), frames.times)
        # Up to a second before or after: an event may start between two frames, or end after the last.
        times = times + jnp.tanh(self.offset(states).astype(jnp.float32)) / jnp.maximum(duration, 1e-3)[:, None, None]
        return EventSet(
            times=jnp.sort(jnp.clip(times, 0.0, 1.0), axis=-1),
            pointers=pointers,
            confidence=self.confidence(states)[..., 0].astype(jnp.float32),
            count=self.count(max_over_queries(states)).astype(jnp.float32),
            query=states[-1],
            frames=frames,
            attention=weights.get("cross_attention"),
        )

    def memory_of(
        self, memory: Memory, times: Float[Array, "b e 2"], query: Float[Array, "b e d"], duration: Float[Array, " b"]
    ) -> Memory:
        """The memory from which the captions of events are written; see `event_memory`."""
        return event_memory(memory, times, query, duration, max_frames=self.frames, margin=self.margin)


def max_over_queries(states: Float[Array, "layers b q d"]) -> Float[Array, "layers b d"]:
    """The maximum over the queries. Its gradient goes to the first query that has it.

    The gradient of `jnp.max` compares all values with the maximum and divides by the number of equal ones. XLA may
    compute the values again for that, rounded otherwise, so that none is equal and the gradient is NaN.
    """
    is_largest = jax.nn.one_hot(states.argmax(2), states.shape[2], axis=2, dtype=states.dtype)
    return (states * is_largest).sum(2)


def overlap(a: Float[Array, "*#b 2"], b: Float[Array, "*#b 2"]) -> tuple[Float[Array, "*#b"], Float[Array, "*#b"]]:
    """(tIoU, generalized tIoU) of intervals (Rezatofighi et al. 2019, in one dimension).

    An interval whose end lies before its start has length 0.
    """
    lengths = [jnp.maximum(x[..., 1] - x[..., 0], 0.0) for x in (a, b)]
    shared = jnp.maximum(jnp.minimum(a[..., 1], b[..., 1]) - jnp.maximum(a[..., 0], b[..., 0]), 0.0)
    union = jnp.maximum(lengths[0] + lengths[1] - shared, 1e-6)
    hull = jnp.maximum(jnp.maximum(a[..., 1], b[..., 1]) - jnp.minimum(a[..., 0], b[..., 0]), 1e-6)
    tiou = shared / union
    return tiou, tiou - (hull - union) / hull


def match(
    times: Float[Array, "b q 2"], confidence: Float[Array, "b q"], true_times: Float[Array, "b e 2"],
    mask: Bool[Array, "b e"],
) -> Int[Array, "b e"]:  # fmt: skip
    """The query matched with each true event: one to one, at the least total cost.

    Args:
      times, true_times: shares of the duration.
      confidence: logits.
      mask: True = a real event. The query matched with another has no meaning.
    """
    distance = jnp.abs(times[:, :, None] - true_times[:, None]).sum(-1)
    _, giou = overlap(times[:, :, None], true_times[:, None])
    cost = 5.0 * distance - 2.0 * giou - 2.0 * jax.nn.sigmoid(confidence)[:, :, None]
    cost = jnp.where(mask[:, None], cost, 0.0)  # [b, q, e]
    cost = jax.lax.stop_gradient(jnp.nan_to_num(cost, nan=1e3, posinf=1e3, neginf=-1e3))
    queries, events = jax.vmap(optax.assignment.hungarian_algorithm)(cost)
    return jax.vmap(lambda q, e: jnp.zeros(mask.shape[1], jnp.int32).at[e].set(q.astype(jnp.int32)))(queries, events)


def event_memory(
    memory: Memory, times: Float[Array, "b e 2"], query: Float[Array, "b e d"], duration: Float[Array, " b"], *,
    max_frames: int, margin: float = 0.5,
) -> Memory:  # fmt: skip
    """The memory from which the caption of each event is written: frames of the event, and the state of its query.

    Args:
      times: of the events, as shares of the duration, which is in seconds.
      max_frames: maximum number of frames of each encoder taken for an event: those nearest to as many evenly spaced
        times, each once.
      margin: seconds before and after the event that are included, at least a tenth of its length; if negative,
        seconds at both ends of the event that are excluded.

    Returns:
      A memory of b * e items, the events of an item in sequence. Each segment keeps up to max_frames frames, and one
      position, in a segment `query`, follows them.
    """
    start, end = jnp.moveaxis(times * duration[:, None, None], -1, 0)
    parts = [_pick_frames(part, start, end, max_frames, margin) for part in memory.parts()]
    items = start.size
    query_part = Memory(
        x=query.astype(memory.x.dtype).reshape(items, 1, -1),
        mask=jnp.ones((items, 1), bool),
        time=((start + end) / 2).reshape(items, 1),
        grid_index=jnp.full((1, 3), -1, memory.grid_index.dtype),
        segments=(Segment("query", 1, 1),),
    )
    return concatenate([*parts, query_part])


def _pick_frames(part: Memory, start, end, max_frames: int, margin: float) -> Memory:
    """Frames of each event from a memory with one segment. `start`, `end`: [b, e] in seconds."""
    modality, frames, positions = part.segment
    (b, e), d, rows = start.shape, part.x.shape[-1], jnp.arange(start.shape[0])[:, None, None]
    start, end = start[..., None], end[..., None]
    frame_times, mask = part.frame_times, part.frame_mask
    edge = jnp.maximum(0.1 * (end - start), margin) if margin >= 0 else jnp.maximum(margin, (start - end) / 2)
    first = jnp.where(mask, frame_times, jnp.inf).min(1)[:, None, None]
    last = jnp.where(mask, frame_times, -jnp.inf).max(1)[:, None, None]
    low, high = jnp.clip(start - edge, first, last), jnp.clip(end + edge, first, last)
    count = min(max_frames, frames)
    targets = low + (high - low) * jnp.linspace(0.0, 1.0, count)
    distance = jnp.abs(frame_times[:, None, None] - targets[..., None])
    picked = jnp.where(mask[:, None, None], distance, jnp.inf).argmin(-1)  # [b, e, count], rising
    is_new = jnp.concatenate([jnp.ones((b, e, 1), bool), picked[..., 1:] != picked[..., :-1]], axis=-1)
    is_new &= mask[rows, picked]
    # A product with one-hot rows: the gradient of indexing, a scatter, is far slower on CPU.
    one_hot = jax.nn.one_hot(picked.reshape(b, -1), frames, dtype=part.x.dtype)
    x = one_hot @ part.x.reshape(b, frames, positions * d)

    def by_position(values):
        """[b, e, count] -> [b * e, count * positions]."""
        return jnp.repeat(values, positions, axis=-1).reshape(b * e, -1)

    return Memory(
        x=x.reshape(b * e, -1, d),
        mask=by_position(is_new),
        time=by_position(frame_times[rows, picked]),
        grid_index=part.grid_index[: count * positions],
        segments=(Segment(modality, count, positions),),
    )
