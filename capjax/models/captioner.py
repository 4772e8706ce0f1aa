"""The one model: encoders -> connectors -> memory -> decoder.

A task is a vocabulary, a target format and a config, never another model.

b: batch, t: frames, h w: height and width of a frame, n: positions, d: width, c: captions of an item, l: target
positions, v: vocabulary, e: events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int, Shaped

from capjax.data.batch import feature_entries
from capjax.models.connector import CONNECTORS, time_token_embeddings
from capjax.models.decoders import DECODERS
from capjax.models.encoders import ENCODERS, encode_clip
from capjax.models.encoders.clip import SpaceTimeAttention
from capjax.models.encoders.tap import tap
from capjax.models.events import EventQueries, FrameEvents, match
from capjax.models.layers import split
from capjax.models.memory import DecoderOutput, Memory, concatenate
from capjax.models.temporal import TEMPORAL

# The encoder of pictures and videos, which every captioner has, if only as the features that it once computed.
VISION = "vision"
# The name under which its features can be tapped where its connector hands them on.
FEATURES = "features"


class EncoderSpec(NamedTuple):
    """An encoder of a captioner.

    Attributes:
      name: in ENCODERS.
      options: keyword arguments of the encoder.
      frozen: it does not learn, and its running statistics stay as they are.
      input: the batch entry that it reads. Its times and mask are `{input}_times` [b, t] and `{input}_mask` [b, t], or
        `frame_times` and `frame_mask` of `frames`.
      weights: source of pretrained weights (see capjax.models.pretrained); empty: none.
    """

    name: str
    options: Mapping = {}
    frozen: bool = False
    input: str = "frames"
    weights: str = ""


@struct.dataclass
class Features:
    """Output of an encoder: feature grids of n positions each, with the times (in seconds) and mask of their frames."""

    x: Float[Array, "b t n channels"]
    times: Float[Array, "b t"]
    mask: Bool[Array, "b t"]
    attention: SpaceTimeAttention | None = None


class Captioner(nnx.Module):
    """Writes captions of pictures, videos and what else its encoders read, or of features extracted beforehand.

    Args:
      vocab: v, number of tokens in the vocabulary.
      width: d, of memory and decoder.
      max_len: maximum length of a target, prefix included.
      encoders: by name. A model that reads features has no encoder `vision`.
      decoder: name and options of the decoder.
      temporal: name and options of attention over time above the encoder `vision`, or None.
      connector: name and options of the connectors.
      frame_difference: see `Connector`; of the connector `vision`.
      frame_similarity: see `Connector`; of the connector `vision`.
      dense: the model describes events with their times, for which the memory encodes the share of the duration beside
        the seconds.
      events: options of EventQueries, or None if no queries find events.
      time_ids: tokens of evenly spaced times, for a model that writes times. Their embeddings start as the memory
        encodes the same times, so that a decoder that attends to a frame can name its time.
      image_size: pixels per side of the encoders' input.
      feature_shape: (rows, columns, channels) of the features; required without an encoder.
      dropout: of connectors, temporal attention, events and decoder.
      feature_dropout: of the connectors, on features.
    """

    def __init__(
        self, *, vocab: int, width: int, max_len: int, encoders: Mapping[str, EncoderSpec], decoder: Mapping,
        temporal: Mapping | None = None, connector: Mapping = {"name": "linear"}, frame_difference: bool = False,
        frame_similarity: int = 0, dense: bool = False, events: Mapping | None = None, time_ids: Sequence[int] = (),
        image_size: int = 224, feature_shape: tuple[int, int, int] | None = None, dropout: float = 0.0,
        feature_dropout: float = 0.0, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        common: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        names = tuple(dict.fromkeys([VISION, *encoders]))
        self.encoders: nnx.Dict = nnx.Dict()
        self.connectors: nnx.Dict = nnx.Dict()
        for name in names:
            if name in encoders:
                spec = encoders[name]
                made = ENCODERS.make(spec.name, image_size=image_size, **common, **spec.options)
                self.encoders[name] = made
                grid, channels = made.grid(image_size, image_size), made.width
            elif feature_shape is None:
                raise ValueError(f"a model without the encoder {name!r} needs the feature_shape of its features")
            else:
                *grid, channels = feature_shape
            between_frames = {"frame_difference": frame_difference, "frame_similarity": frame_similarity}
            self.connectors[name] = CONNECTORS.make_from(
                connector, channels, width, grid, modality=name, rate=dropout, feature_dropout=feature_dropout,
                relative=dense, resizable=name in encoders, **common,
                **{key: value for key, value in between_frames.items() if value and name == VISION},
            )  # fmt: skip
        common |= {"width": width, "dropout": dropout}
        self.temporal = TEMPORAL.make_from(temporal, **common) if temporal else None
        self.events = EventQueries(**{**common, **events}) if events is not None else None
        self.decoder = DECODERS.make_from(decoder, vocab=vocab, max_len=max_len, **common)
        self.frame_events = FrameEvents(width, dtype=dtype, rngs=rngs) if dense and events is None else None
        if time_ids:
            table = self.decoder.embedding.table
            table[...] = table[...].at[jnp.asarray(time_ids)].set(time_token_embeddings(len(time_ids), width))
        self.names, self.width = names, width
        self.inputs = tuple(encoders[name].input if name in encoders else "features" for name in names)
        self.frozen = tuple(name for name, spec in encoders.items() if spec.frozen)

    def features(
        self, batch: Mapping, *, train: bool = False, key=None, return_attention: bool = False
    ) -> dict[str, Features]:
        """Runs the encoders: the features of a batch by the name of their encoder.

        Features that the batch already holds are used as they are.

        Args:
          batch: `frames` uint8 [b, t, h, w, 3], or `features` [b, t, n, channels] of a model that reads them, with
            `frame_times` float32 [b, t] in seconds and `frame_mask` bool [b, t]; and the entries that further encoders
            read (see EncoderSpec), or their features (see capjax.data.batch.feature_entries).
          train: use batch statistics and update the running ones, except in frozen encoders.
          key: for dropout; `connect` derives other keys from the same one.
          return_attention: of the encoders that have attention.

        Raises:
          ValueError: the batch lacks an entry; the message names it.
        """
        (key, *_), out = split(key, 3), {}
        for index, (name, entry) in enumerate(zip(self.names, self.inputs, strict=True)):
            is_extracted = name not in self.encoders or feature_entries(name).features in batch
            x, times, mask = _read(batch, name, "features" if is_extracted else entry)
            if is_extracted:
                out[name] = Features(x, times, mask)
                continue
            learns = train and name not in self.frozen
            own_key = key if index == 0 or key is None else jax.random.fold_in(key, index)
            x, times, mask, attention = encode_clip(
                self.encoders[name], x, times, mask, train=learns, key=own_key if learns else None,
                return_attention=return_attention,
            )  # fmt: skip
            if name in self.frozen:
                x = jax.lax.stop_gradient(x)
            out[name] = Features(x, times, mask, attention)
        return out

    def connect(
        self, features: Mapping[str, Features], *, duration: Float[Array, " b"] | None = None, key=None
    ) -> Memory:
        """The memory of features: the outputs of all connectors, concatenated.

        Args:
          features: as of `features`.
          duration: seconds of each item, for a model that describes events.
          key: for dropout.
        """
        return self._connect(features, duration, key)[0]

    def encode(self, batch: Mapping, *, train: bool = False, key=None) -> Memory:
        """The memory of a batch: `connect(features(batch))`."""
        return self.connect(self.features(batch, train=train, key=key), duration=batch.get("duration"), key=key)

    def decode(
        self, target: Int[Array, "b c l"] | Int[Array, "b l"], memory: Memory, *, key=None,
        return_attention: bool = False,
    ) -> DecoderOutput:  # fmt: skip
        """Teacher forcing: logits [b * c, l - 1, v] for target[..., 1:] from target[..., :-1]."""
        tokens = target.reshape(-1, target.shape[-1])[:, :-1]
        out = self.decoder(tokens, memory, key, return_attention=return_attention)
        return replace(out, mask=memory.mask)

    def encoder_attention(self, batch: Mapping) -> dict[str, SpaceTimeAttention]:
        """Attention over space and time before decoding, by the name of the encoder, and `temporal`.

        Encoders without attention are left out. An encoder over time has t groups of `time_stride` frames; grid
        positions are in rows from the upper left. The decoder's attention is in DecoderOutput.
        """
        features = self.features(batch, return_attention=True)
        _, temporal = self._connect(features, batch.get("duration"), None, return_attention=True)
        attention = {name: part.attention for name, part in features.items()} | {"temporal": temporal}
        return {name: weights for name, weights in attention.items() if weights is not None}

    def __call__(
        self, batch: Mapping, *, train: bool = False, key=None, return_attention: bool = False
    ) -> DecoderOutput:
        """The outputs that are trained.

        Args:
          batch: as in `features`, and `target` [b, l], or [b, c, l] with c captions of each item, for which the
            encoders then run once. If queries find events, `event_times`, `event_mask` and `duration` too; the c
            captions are then those of the events.
        """
        encode_key, decode_key, events_key = split(key, 3)
        memory = self.encode(batch, train=train, key=encode_key)
        events = matched = frames = None
        if self.events is not None:
            events = self.events(memory, batch["duration"], events_key)
            matched = match(events.times[-1], events.confidence[-1], batch["event_times"], batch["event_mask"])
            query = jnp.take_along_axis(events.query, matched[..., None], axis=1)
            memory = self.events.memory_of(memory, batch["event_times"], query, batch["duration"])
        elif self.frame_events is not None:
            _, frames = self.frame_events(memory, batch["duration"])
        out = self.decode(batch["target"], memory, key=decode_key, return_attention=return_attention)
        return replace(out, events=events, matched=matched, frames=frames)

    def _connect(self, features: Mapping[str, Features], duration, key, *, return_attention: bool = False):
        _, connector_key, temporal_key = split(key, 3)
        memories, attention = [], None
        for index, name in enumerate(self.names):
            part = features[name]
            own_key = connector_key if index == 0 or key is None else jax.random.fold_in(connector_key, index)
            memory = self.connectors[name](part.x, part.times, part.mask, own_key, duration=duration)
            if name == VISION:
                memory = replace(memory, x=tap(FEATURES, memory.x))
            if name == VISION and self.temporal is not None:
                memory, attention = self.temporal(memory, temporal_key, return_attention=return_attention)
            memories.append(memory)
        return concatenate(memories), attention


def _read(
    batch: Mapping, name: str, entry: str
) -> tuple[Shaped[Array, "b t ..."], Float[Array, "b t"], Bool[Array, "b t"]]:
    """The input of an encoder, its times and its mask; or the features of the encoder, if that is the entry."""
    if entry == "features" and feature_entries(name).features in batch:
        keys: tuple[str, str, str] = feature_entries(name)
    else:
        prefix = "frame" if entry in ("frames", "features") else entry
        keys = (entry, f"{prefix}_times", f"{prefix}_mask")
    if missing := [key for key in keys if key not in batch]:
        raise ValueError(
            f"the encoder {name!r} reads {', '.join(keys)} of a batch; {', '.join(missing)} not found in "
            f"{', '.join(sorted(batch))}"
        )
    x, times, mask = (batch[key] for key in keys)
    return x, times, mask
