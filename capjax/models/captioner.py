"""The one model: encoder -> connector -> decoder.

A task is a vocabulary, a target format and a config, never another model.

b: batch, t: frames, h w: picture, n: memory positions, d: width, l: target positions, v: vocabulary, m: beams.
"""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.decoders import DECODERS
from capjax.models.encoders import ENCODERS, encode_clip
from capjax.models.encoders.clip import SpaceTimeAttention, time_stride
from capjax.models.events import EventQueries, EventSet, FrameEvents, event_memory, match
from capjax.models.frame_difference import FrameDifference, FrameSimilarity
from capjax.models.layers import TIME_SCALE, LayerNorm, Linear, dropout, sinusoid, split
from capjax.models.memory import DecoderOutput, Memory
from capjax.models.temporal import TEMPORAL

# Radians of the fastest sinusoid in the whole of a video.
SHARE_SCALE = 100.0


class Connector(nnx.Module):
    """Feature grids of t frames -> memory: projected to d, with learned rows and columns and the sinusoid of the time.

    Args:
      channels: of the features.
      grid: (rows, columns) of one frame's features.
      resizable: pictures are square, and of another size they give another square grid: rows and columns are
        interpolated linearly. Otherwise another grid is an error.
      feature_dropout: on the normalized features, before the projection.
      relative: half of the time's channels are of its share of the duration.
      changes: tell what differs from the frames before and after.
      similarities: frames before and after that each is told its likeness to.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        grid,
        *,
        rate: float,
        feature_dropout: float,
        relative: bool = False,
        resizable: bool = False,
        frame_difference: bool = False,
        frame_similarity: int = 0,
        dtype,
        rngs,
    ):
        rows, columns = grid
        normal = nnx.initializers.normal(0.5)
        self.norm = LayerNorm(channels, dtype=dtype)
        self.project = Linear(channels, width, axes=(None, "embed"), dtype=dtype, rngs=rngs)
        self.out_norm = LayerNorm(width, dtype=dtype)
        self.frame_difference = FrameDifference(channels, width, dtype=dtype, rngs=rngs) if frame_difference else None
        self.frame_similarity = (
            FrameSimilarity(frame_similarity, width, dtype=dtype, rngs=rngs) if frame_similarity else None
        )
        # Not small beside the normalized features: "left of" must be learned from these.
        self.row = nnx.Param(normal(rngs.params(), (rows, width)), out_sharding=(None, "embed"))
        self.column = nnx.Param(normal(rngs.params(), (columns, width)), out_sharding=(None, "embed"))
        self.grid, self.rate, self.feature_dropout, self.dtype = (rows, columns), rate, feature_dropout, dtype
        self.relative, self.resizable = relative, resizable

    def __call__(self, features, times, mask, key=None, *, duration=None) -> Memory:
        """features [b, t, n, channels], times float32 [b, t] (s), mask bool [b, t], duration float32 [b] (s) -> Memory
        of t * n positions."""
        b, t, n, channels = features.shape
        rows, columns = self._grid_of(n)
        feature_key, out_key = split(key, 2)
        normal = self.norm(features.reshape(b * t * n, channels))
        x = dropout(normal, self.feature_dropout, feature_key)
        x = self.out_norm(self.project(x)).reshape(b, t, n, -1)
        if self.frame_difference is not None:
            x = x + self.frame_difference(normal.reshape(b, t, n, channels), mask)
        if self.frame_similarity is not None:
            x = x + self.frame_similarity(normal.reshape(b, t, n, channels), mask)[:, :, None]
        place = (_resized(self.row[...], rows)[:, None] + _resized(self.column[...], columns)[None]).reshape(n, -1)
        x = x + place.astype(x.dtype) + self._time(times, duration, x.shape[-1])[:, :, None].astype(x.dtype)
        frame, position = jnp.divmod(jnp.arange(t * n), n)
        return Memory(
            x=dropout(x.reshape(b, t * n, -1), self.rate, out_key),
            mask=jnp.repeat(mask, n, axis=1),
            time=jnp.repeat(times, n, axis=1),
            grid_index=jnp.stack([frame, position // columns, position % columns], axis=-1),
        )

    def _grid_of(self, n: int) -> tuple[int, int]:
        """(rows, columns) of n positions."""
        rows, columns = self.grid
        if n == rows * columns:
            return rows, columns
        side = math.isqrt(n)
        if not self.resizable or rows != columns or side * side != n:
            raise ValueError(f"the model was made for a feature grid of {rows} x {columns}, not for {n} positions")
        return side, side

    def _time(self, times, duration, d: int):
        """[b, t, d]."""
        if not self.relative:
            return sinusoid(times * TIME_SCALE, d)
        shares = sinusoid(times / duration[:, None] * SHARE_SCALE, d - d // 2)
        return jnp.concatenate([sinusoid(times * TIME_SCALE, d // 2), shares], axis=-1)


def _moment_pieces(count: int, d: int) -> jax.Array:
    """Embeddings [count, d] of length 1 of evenly spaced moments, in the channels where the memory has the share of the
    duration."""
    shares = sinusoid(jnp.linspace(0.0, 1.0, count) * SHARE_SCALE, d - d // 2)
    pieces = jnp.concatenate([jnp.zeros((count, d // 2)), shares], axis=-1)
    return pieces / jnp.linalg.norm(pieces, axis=-1, keepdims=True)


def _resized(embedding: jax.Array, count: int) -> jax.Array:
    """Embeddings [r, d] of evenly spaced places -> of `count` places over the same stretch."""
    if len(embedding) == count:
        return embedding
    return jax.image.resize(embedding, (count, embedding.shape[1]), "linear", antialias=False)


class Captioner(nnx.Module):
    """Pictures, or features extracted beforehand, to captions.

    Args:
      vocab: v, pieces in the vocabulary.
      width: d of memory and decoder.
      max_len: the longest target, prefix included.
      encoder: name and options of an encoder, or None for a model that is fed features.
      temporal: name and options of attention over time, or None.
      decoder: name and options of a decoder.
      changes: tell what differs from frame to frame.
      similarities: frames before and after each, whose likeness is told.
      dense: events with their times are asked for: the memory tells the share of the duration beside the seconds.
      events: options of EventQueries, or None where no queries find events.
      time_ids: the pieces of evenly spaced moments, where times are written: each begins as the memory tells its
        moment, so that who attends to a frame can name its time.
      image_size: pixels a side of what the encoder sees.
      feature_shape: (rows, columns, channels) of the features; needed without an encoder.
      frozen_encoder: the encoder learns nothing, and its running statistics stay as they are.
      dropout: of connector and decoder.
    """

    def __init__(
        self, *, vocab: int, width: int, max_len: int, encoder: Mapping | None, decoder: Mapping,
        temporal: Mapping | None = None, frame_difference: bool = False, frame_similarity: int = 0, dense: bool = False,
        events: Mapping | None = None,
        time_ids: Sequence[int] = (), image_size: int = 224, feature_shape=None, frozen_encoder: bool = False,
        dropout: float = 0.0, feature_dropout: float = 0.0, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if encoder is None:
            self.encoder = None
        else:
            options = dict(encoder)
            self.encoder = ENCODERS.make(options.pop("name"), image_size=image_size, dtype=dtype, rngs=rngs, **options)
            rows, columns = self.encoder.grid(image_size, image_size)
            feature_shape = (rows, columns, self.encoder.width)
        *grid, channels = feature_shape
        self.connector = Connector(
            channels, width, grid, rate=dropout, feature_dropout=feature_dropout, relative=dense,
            resizable=encoder is not None, frame_difference=frame_difference, frame_similarity=frame_similarity,
            dtype=dtype, rngs=rngs,
        )  # fmt: skip
        if temporal is None:
            self.temporal = None
        else:
            options = {"dropout": dropout} | dict(temporal)
            self.temporal = TEMPORAL.make(options.pop("name"), width=width, dtype=dtype, rngs=rngs, **options)
        if events is None:
            self.events = None
        else:
            self.events = EventQueries(width=width, dtype=dtype, rngs=rngs, **{"dropout": dropout} | dict(events))
        options = {"dropout": dropout} | dict(decoder)
        self.decoder = DECODERS.make(
            options.pop("name"), vocab=vocab, width=width, max_len=max_len, dtype=dtype, rngs=rngs, **options
        )
        if dense and events is None:
            self.frame_events = FrameEvents(width, dtype=dtype, rngs=rngs)
        else:
            self.frame_events = None
        if time_ids:
            table = self.decoder.embedding.table
            table[...] = table[...].at[jnp.asarray(time_ids)].set(_moment_pieces(len(time_ids), width))
        self.frozen_encoder, self.width = frozen_encoder, width

    def encode(self, batch: Mapping, *, train: bool = False, key=None) -> Memory:
        """Memory of a batch: `frames` uint8 [b, t, h, w, 3] or `features` [b, t, n, c], their times and their mask."""
        return self._encode(batch, train=train, key=key)[0]

    def encoder_attention(self, batch: Mapping) -> dict[str, SpaceTimeAttention]:
        """What is attended to over space and time before a word is written: by `encoder` and by `temporal`, as far as
        they attend; a batch as in `encode`. What the words attend to is in DecoderOutput.

        An encoder over time has t moments of `time_stride` frames each; places are in rows from the upper left.
        """
        return self._encode(batch, return_attention=True)[1]

    def _encode(self, batch: Mapping, *, train: bool = False, key=None, return_attention: bool = False):
        encoder_key, connector_key, temporal_key = split(key, 3)
        times, mask, found = batch["frame_times"], batch["frame_mask"], {}
        if self.encoder is None:
            features = batch["features"]
        else:
            train = train and not self.frozen_encoder
            features, times, mask, attention = encode_clip(
                self.encoder, batch["frames"], times, mask, train=train, key=encoder_key if train else None,
                return_attention=return_attention,
            )  # fmt: skip
            if attention is not None:
                found["encoder"] = attention
            if self.frozen_encoder:
                features = jax.lax.stop_gradient(features)
        memory = self.connector(features, times, mask, connector_key, duration=batch.get("duration"))
        if self.temporal is not None:
            memory, attention = self.temporal(
                memory, features.shape[1], temporal_key, return_attention=return_attention
            )
            if attention is not None:
                found["temporal"] = attention
        return memory, found

    def __call__(
        self, batch: Mapping, *, train: bool = False, key=None, return_attention: bool = False
    ) -> DecoderOutput:
        """Teacher forcing: logits for target[..., 1:] from target[..., :-1].

        Args:
          batch: as in `encode`, and `target` [b, l], or [b, c, l] with c captions of each item, for which the encoder
            then runs once. Logits and attention are [b * c, ...]. Where events are found by queries, `event_times`,
            `event_mask` and `duration` too; the c captions are then those of the events.
        """
        encode_key, decode_key, events_key = split(key, 3)
        memory = self.encode(batch, train=train, key=encode_key)
        target = batch["target"].reshape(-1, batch["target"].shape[-1])
        found = matched = frames = None
        if self.events is not None:
            found = self.find_events(memory, batch, key=events_key)
            matched = match(found.times[-1], found.confidence[-1], batch["event_times"], batch["event_mask"])
            query = jnp.take_along_axis(found.query, matched[..., None], axis=1)
            memory = self.event_memory(memory, batch, batch["event_times"], query)
        elif self.frame_events is not None:
            _, frames = self.frame_events(memory, self._moments(batch), batch["duration"])
        out = self.decoder(target[:, :-1], memory, decode_key, return_attention=return_attention)
        return out.replace(mask=memory.mask, events=found, matched=matched, frames=frames)

    def find_events(self, memory: Memory, batch: Mapping, key=None) -> EventSet:
        """What the queries find in the memory of a batch."""
        return self.events(memory, self._moments(batch), batch["duration"], key)

    def event_memory(self, memory: Memory, batch: Mapping, times, query) -> Memory:
        """What captions are written from: a memory of b * e items, the events at `times` [b, e, 2], shares of the
        duration; `query` [b, e, d] is of the queries that found them."""
        return event_memory(
            memory,
            self._moments(batch),
            times,
            query,
            batch["duration"],
            most=self.events.frames,
            margin=self.events.margin,
        )

    def _moments(self, batch: Mapping) -> int:
        """How many frames, or groups of frames, the memory of a batch has."""
        stride = 1 if self.encoder is None else time_stride(self.encoder)
        return -(-batch["frame_times"].shape[1] // stride)
