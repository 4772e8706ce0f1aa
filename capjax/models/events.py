"""Events as a set, found by queries (the form of PDVC, Wang et al. 2021; set prediction of Carion et al. 2020).

Each query looks at all frames and points at the two between which its event lies. Queries and true events are matched
one to one; how many events there are is a figure of its own.

b: batch, t: frames, q: queries, e: events, d: width.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from capjax.models.attention import CrossAttention, SelfAttention
from capjax.models.layers import LayerNorm, Linear, Mlp, dropout, scan, split, stack
from capjax.models.memory import Memory

_LEAST = -1e9


@struct.dataclass
class FrameSet:
    """What frames know of events by themselves.

    Attributes:
      inside: float32 [b, t, 3], logits of each frame: it lies in an event, an event starts at it, one ends at it.
      times: float32 [b, t], the times of the frames as shares of the duration; mask: bool [b, t], True = real.
    """

    inside: jax.Array
    times: jax.Array
    mask: jax.Array


@struct.dataclass
class EventSet:
    """What the queries found. The first axis of the first four is the layer, the last layer's last.

    Attributes:
      times: float32 [layers, b, q, 2], start and end as shares of the duration, start before end.
      pointers: float32 [layers, b, q, 2, t], logits over frames of start and end.
      confidence: float32 [layers, b, q], logits of being an event.
      count: float32 [layers, b, e + 1], logits of how many events there are.
      query: [b, q, d], what each query knows.
      frames: what the frames knew before.
    """

    times: jax.Array
    pointers: jax.Array
    confidence: jax.Array
    count: jax.Array
    query: jax.Array
    frames: FrameSet


class FrameEvents(nnx.Module):
    """Whether something happens in a frame: a figure that helps the frames to learn, whoever reads them."""

    def __init__(self, width: int, *, dtype, rngs):
        self.norm = LayerNorm(width, dtype=dtype)
        self.inside = Linear(width, 3, axes=("embed", None), dtype=dtype, rngs=rngs)

    def __call__(self, memory: Memory, frames: int, duration) -> tuple[jax.Array, FrameSet]:
        """A memory of `frames` frames, with the places of each in a row; duration float32 [b] in seconds -> (the mean
        of each frame's places [b, t, d], what it knows)."""
        b, n, d = memory.x.shape
        places = n // frames
        x = self.norm(memory.x.reshape(b, frames, places, d).mean(2))
        times = memory.time[:, ::places] / duration[:, None]
        return x, FrameSet(self.inside(x).astype(jnp.float32), times, memory.mask[:, ::places])


class Block(nnx.Module):
    """Attention among the queries, attention to the frames, MLP."""

    def __init__(self, d: int, heads: int, hidden: int, *, rate: float, dtype, rngs):
        self.self_norm = LayerNorm(d, dtype=dtype)
        self.self_attention = SelfAttention(d, heads, dtype=dtype, rngs=rngs)
        self.cross_norm = LayerNorm(d, dtype=dtype)
        self.cross_attention = CrossAttention(d, heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = LayerNorm(d, dtype=dtype)
        self.mlp = Mlp(d, hidden=hidden, dtype=dtype, rngs=rngs)
        self.rate = rate

    def __call__(self, x, frames, mask, key):
        keys = split(key, 4)
        x = x + dropout(self.self_attention(self.self_norm(x)), self.rate, keys[0])
        seen, _ = self.cross_attention(self.cross_norm(x), frames, mask)
        x = x + dropout(seen, self.rate, keys[1])
        return x + dropout(self.mlp(self.mlp_norm(x), rate=self.rate, key=keys[2]), self.rate, keys[3])


class EventQueries(nnx.Module):
    """Finds events in a memory.

    Args:
      queries: q, the most events that can be found.
      events: e, the most events that training tells of.
      frames: of an event, the most that its caption is written from; of more these are taken at even distances.
      margin: seconds that its caption sees of what lies before and after it, see `event_memory`.
    """

    def __init__(
        self, *, width: int, events: int, queries: int = 20, frames: int = 16, margin: float = 0.5, layers: int = 2,
        heads: int = 4, mlp_ratio: float = 4.0, dropout: float = 0.0, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if queries < events:
            raise ValueError(
                f"{queries} queries cannot find the {events} events of data.max_events; use as many or more"
            )
        if layers < 1 or width % heads:
            raise ValueError(f"{layers} layers of width {width} with {heads} heads: expected 1 or more that divide it")
        if frames < 1:
            raise ValueError(f"model.events.frames = {frames}: an event's caption needs 1 frame or more")
        normal, hidden = nnx.initializers.normal(1.0), int(width * mlp_ratio)
        self.embed = nnx.Param(normal(rngs.params(), (queries, width)), out_sharding=(None, "embed"))
        self.blocks = stack(
            lambda rngs: Block(width, heads, hidden, rate=dropout, dtype=dtype, rngs=rngs), layers, rngs
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.frame_events = FrameEvents(width, dtype=dtype, rngs=rngs)
        self.point = Linear(width, 2 * width, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.pointed = Linear(width, 2 * width, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.shift = Linear(width, 2, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.confidence = Linear(width, 1, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.count = Linear(width, events + 1, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.layers, self.width, self.frames, self.margin, self.dtype = layers, width, frames, margin, dtype

    def __call__(self, memory: Memory, frames: int, duration, key=None) -> EventSet:
        """A memory of `frames` frames, with the places of each in a row; duration float32 [b] in seconds."""
        x, known = self.frame_events(memory, frames, duration)
        b, _, d = x.shape
        queries = jnp.broadcast_to(self.embed[...].astype(self.dtype), (b, *self.embed.shape))

        def layer(block, queries, key):
            queries = block(queries, x, known.mask, key)
            return queries, queries

        _, every = scan(self.blocks, self.layers, queries, layer, key=key)
        every = self.norm(every)  # [layers, b, q, d]
        layers, q = every.shape[0], every.shape[2]
        point = self.point(every).reshape(layers, b, q, 2, d)
        pointed = self.pointed(x).reshape(b, frames, 2, d)
        pointers = jnp.einsum("LbqSd,btSd->LbqSt", point, pointed, preferred_element_type=jnp.float32) * d**-0.5
        pointers = jnp.where(known.mask[:, None, None], pointers, _LEAST)
        at = jnp.einsum("LbqSt,bt->LbqS", jax.nn.softmax(pointers, axis=-1), known.times)
        # Up to a second from where it points: what lies between two frames, or after the last.
        at = at + jnp.tanh(self.shift(every).astype(jnp.float32)) / jnp.maximum(duration, 1e-3)[:, None, None]
        return EventSet(
            times=jnp.sort(jnp.clip(at, 0.0, 1.0), axis=-1),
            pointers=pointers,
            confidence=self.confidence(every)[..., 0].astype(jnp.float32),
            count=self.count(every.max(2)).astype(jnp.float32),
            query=every[-1],
            frames=known,
        )


def overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(tIoU, generalized tIoU) of intervals [..., 2] (Rezatofighi et al. 2019, in one dimension); an interval whose end
    lies before its start has no length."""
    lengths = [jnp.maximum(x[..., 1] - x[..., 0], 0.0) for x in (a, b)]
    shared = jnp.maximum(jnp.minimum(a[..., 1], b[..., 1]) - jnp.maximum(a[..., 0], b[..., 0]), 0.0)
    union = jnp.maximum(lengths[0] + lengths[1] - shared, 1e-6)
    hull = jnp.maximum(jnp.maximum(a[..., 1], b[..., 1]) - jnp.minimum(a[..., 0], b[..., 0]), 1e-6)
    tiou = shared / union
    return tiou, tiou - (hull - union) / hull


def match(times, confidence, true_times, mask) -> jax.Array:
    """Which query each true event is matched with, one to one at the least cost: int32 [b, e].

    Args:
      times: [b, q, 2]; confidence: logits [b, q]; true_times: [b, e, 2]; mask: bool [b, e]. What is matched with events
        that are none has no meaning.
    """
    far = jnp.abs(times[:, :, None] - true_times[:, None]).sum(-1)
    _, giou = overlap(times[:, :, None], true_times[:, None])
    cost = 5.0 * far - 2.0 * giou - 2.0 * jax.nn.sigmoid(confidence)[:, :, None]
    cost = jnp.where(mask[:, None], cost, 0.0)  # [b, q, e]
    cost = jax.lax.stop_gradient(jnp.nan_to_num(cost, nan=1e3, posinf=1e3, neginf=-1e3))
    queries, events = jax.vmap(optax.assignment.hungarian_algorithm)(cost)
    return jax.vmap(lambda q, e: jnp.zeros(mask.shape[1], jnp.int32).at[e].set(q.astype(jnp.int32)))(queries, events)


def event_memory(memory: Memory, frames: int, times, query, duration, *, most: int, margin: float = 0.5) -> Memory:
    """What the caption of each event is written from: frames of the event, and what its query knows.

    Args:
      memory: of `frames` frames, with the places of each in a row; times: [b, e, 2], shares of the duration;
        query: [b, e, d]; duration: [b] in seconds.
      most: frames that are taken of an event: those next to as many moments at even distances, each once.
      margin: seconds that are seen of what lies before and after the event, and at least a tenth of its length; below
        0: seconds of its own that are not.

    Returns:
      A memory of b * e items, the events of an item in a row, and min(most, frames) * places + 1 positions.
    """
    (b, e), places = times.shape[:2], memory.x.shape[1] // frames
    d, rows = memory.x.shape[-1], jnp.arange(b)[:, None, None]
    by_frame, mask = memory.time[:, ::places], memory.mask[:, ::places]
    start, end = jnp.moveaxis(times * duration[:, None, None], -1, 0)[..., None]
    edge = jnp.maximum(0.1 * (end - start), margin) if margin >= 0 else jnp.maximum(margin, (start - end) / 2)
    first = jnp.where(mask, by_frame, jnp.inf).min(1)[:, None, None]
    last = jnp.where(mask, by_frame, -jnp.inf).max(1)[:, None, None]
    low, high = jnp.clip(start - edge, first, last), jnp.clip(end + edge, first, last)
    moments = low + (high - low) * jnp.linspace(0.0, 1.0, min(most, frames))
    far = jnp.abs(by_frame[:, None, None] - moments[..., None])
    picked = jnp.where(mask[:, None, None], far, jnp.inf).argmin(-1)  # [b, e, k], rising
    fresh = jnp.concatenate([jnp.ones((b, e, 1), bool), picked[..., 1:] != picked[..., :-1]], axis=-1)
    fresh &= mask[rows, picked]

    # A product with one-hot rows: the gradient of indexing, a scatter, takes far longer on CPU.
    one_hot = jax.nn.one_hot(picked.reshape(b, -1), frames, dtype=memory.x.dtype)
    seen = (one_hot @ memory.x.reshape(b, frames, places * d)).reshape(b * e, -1, d)
    x = jnp.concatenate([seen, query.astype(memory.x.dtype).reshape(b * e, 1, d)], axis=1)
    place = memory.grid_index[: picked.shape[-1] * places]

    def with_query(frames, query):
        """[b, e, k] and [b, e, 1] -> [b * e, k * places + 1]."""
        return jnp.concatenate([jnp.repeat(frames, places, axis=-1), query], axis=-1).reshape(b * e, -1)

    return Memory(
        x=x,
        mask=with_query(fresh, jnp.ones((b, e, 1), bool)),
        time=with_query(by_frame[rows, picked], (start + end) / 2),
        grid_index=jnp.concatenate([place, jnp.full((1, 3), -1, place.dtype)]),
    )
