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
class EventSet:
    """What the queries found. The first axis of the first four is the layer, the last layer's last.

    Attributes:
      times: float32 [layers, b, q, 2], start and end as shares of the duration, start before end.
      pointers: float32 [layers, b, q, 2, t], logits over frames of start and end.
      confidence: float32 [layers, b, q], logits of being an event.
      count: float32 [layers, b, e + 1], logits of how many events there are.
      query: [b, q, d], what each query knows.
      inside: float32 [b, t, 3], logits of each frame: it lies in an event, an event starts at it, one ends at it.
      frames: float32 [b, t], the times of the frames as shares of the duration; frame_mask: bool [b, t].
    """

    times: jax.Array
    pointers: jax.Array
    confidence: jax.Array
    count: jax.Array
    query: jax.Array
    inside: jax.Array
    frames: jax.Array
    frame_mask: jax.Array


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
    """

    def __init__(
        self, *, width: int, events: int, queries: int = 20, layers: int = 2, heads: int = 4, mlp_ratio: float = 4.0,
        dropout: float = 0.0, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if queries < events:
            raise ValueError(f"{queries} queries cannot find the {events} events of data.events; use as many or more")
        if layers < 1 or width % heads:
            raise ValueError(f"{layers} layers of width {width} with {heads} heads: expected 1 or more that divide it")
        normal, hidden = nnx.initializers.normal(1.0), int(width * mlp_ratio)
        self.embed = nnx.Param(normal(rngs.params(), (queries, width)), out_sharding=(None, "embed"))
        self.blocks = stack(
            lambda rngs: Block(width, heads, hidden, rate=dropout, dtype=dtype, rngs=rngs), layers, rngs
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.frame_norm = LayerNorm(width, dtype=dtype)
        self.inside = Linear(width, 3, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.point = Linear(width, 2 * width, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.pointed = Linear(width, 2 * width, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.shift = Linear(width, 2, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.confidence = Linear(width, 1, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.count = Linear(width, events + 1, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.layers, self.width, self.dtype = layers, width, dtype

    def __call__(self, memory: Memory, frames: int, duration, key=None) -> EventSet:
        """A memory of `frames` frames, with the places of each in a row; duration float32 [b] in seconds."""
        b, n, d = memory.x.shape
        places = n // frames
        x = self.frame_norm(memory.x.reshape(b, frames, places, d).mean(2))
        mask, times = memory.mask[:, ::places], memory.time[:, ::places] / duration[:, None]
        queries = jnp.broadcast_to(self.embed[...].astype(self.dtype), (b, *self.embed.shape))

        def layer(block, queries, key):
            queries = block(queries, x, mask, key)
            return queries, queries

        _, every = scan(self.blocks, self.layers, queries, layer, key=key)
        every = self.norm(every)  # [layers, b, q, d]
        layers, q = every.shape[0], every.shape[2]
        point = self.point(every).reshape(layers, b, q, 2, d)
        pointed = self.pointed(x).reshape(b, frames, 2, d)
        pointers = jnp.einsum("LbqSd,btSd->LbqSt", point, pointed, preferred_element_type=jnp.float32) * d**-0.5
        pointers = jnp.where(mask[:, None, None], pointers, _LEAST)
        at = jnp.einsum("LbqSt,bt->LbqS", jax.nn.softmax(pointers, axis=-1), times)
        # Up to a second from where it points: what lies between two frames, or after the last.
        at = at + jnp.tanh(self.shift(every).astype(jnp.float32)) / jnp.maximum(duration, 1e-3)[:, None, None]
        return EventSet(
            times=jnp.sort(jnp.clip(at, 0.0, 1.0), axis=-1),
            pointers=pointers,
            confidence=self.confidence(every)[..., 0].astype(jnp.float32),
            count=self.count(every.max(2)).astype(jnp.float32),
            query=every[-1],
            inside=self.inside(x).astype(jnp.float32),
            frames=times,
            frame_mask=mask,
        )


def overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(tIoU, generalised tIoU) of intervals [..., 2] (Rezatofighi et al. 2019, in one dimension); an interval whose end
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


def event_memory(memory: Memory, times, query, duration, *, margin: float = 0.1) -> Memory:
    """What the caption of each event is written from: the frames of the event, and what its query knows.

    Args:
      memory: of n positions; times: [b, e, 2], shares of the duration; query: [b, e, d]; duration: [b] in seconds.
      margin: share of an event's length that is seen of what lies before and after it; and at least half a second.

    Returns:
      A memory of n + e positions, whose mask is [b, e, n + e]: each event sees its own.
    """
    b, e = times.shape[:2]
    seconds = times * duration[:, None, None]
    start, end = seconds[..., :1], seconds[..., 1:]
    edge = jnp.maximum(margin * (end - start), 0.5)
    at = memory.time[:, None]  # [b, 1, n]
    inside = (at >= start - edge) & (at <= end + edge) & memory.mask[:, None]
    middle = jnp.where(memory.mask[:, None], jnp.abs(at - (start + end) / 2), jnp.inf)
    nearest = (middle == middle.min(-1, keepdims=True)) & memory.mask[:, None]
    inside = jnp.where(inside.any(-1, keepdims=True), inside, nearest)
    own = jnp.broadcast_to(jnp.eye(e, dtype=bool), (b, e, e))
    nowhere = jnp.full((e, 3), -1, memory.place.dtype)
    return Memory(
        x=jnp.concatenate([memory.x, query.astype(memory.x.dtype)], axis=1),
        mask=jnp.concatenate([inside, own], axis=-1),
        time=jnp.concatenate([memory.time, seconds.mean(-1)], axis=1),
        place=jnp.concatenate([memory.place, nowhere]),
    )


def per_event(memory: Memory, events: int) -> Memory:
    """The memory of `event_memory` as one of b * e items, each with its own mask: what a search reads."""

    def repeat(x):
        return jnp.repeat(x, events, axis=0)

    return memory.replace(
        x=repeat(memory.x), mask=memory.mask.reshape(-1, memory.mask.shape[-1]), time=repeat(memory.time)
    )
