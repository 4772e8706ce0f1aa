"""A loaded model under teacher forcing: from frames to the log-probability of each word of given captions.

b: items of a batch, padded to one of a few sizes; t: frames; n: positions of a feature grid; l: target positions;
k: predicted tokens (l - 1); w: words of a caption and then the whole caption, padded; v: vocabulary; q: event queries.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from capjax.data.media_reader import MediaSample
from capjax.data.transforms import jpeg_size
from capjax.explain.explanation import Geometry, Word
from capjax.explain.words import caption_words
from capjax.models.captioner import VISION, Captioner, Features
from capjax.models.encoders import encode_clip
from capjax.models.encoders.clip import SpaceTimeAttention
from capjax.models.encoders.receptive_field import grid_extent
from capjax.models.encoders.tap import tapped
from capjax.models.events import EventSet
from capjax.models.memory import DecoderOutput, Memory
from capjax.predict import Predictor

# Lengths of targets and numbers of words are padded to multiples of this, which limits the number of programs.
_MULTIPLE = 8


@dataclass(frozen=True)
class CaptionedItem:
    """A photo, a video or an event in a video, with the caption to explain.

    Attributes:
      name: of the photo or video.
      sample: the frames that the model sees.
      picture: the photo, upright at its own size, or the first frame of the video, as JPEG.
      target: the tokens to explain with the prefix before them, <eos> included.
      first: position in `target` of the first token of the caption.
      caption, lang, words: of the caption.
      given: the caption was given, and not written by the model.
      event: start and end in seconds, for the caption of an event.
    """

    name: str
    sample: MediaSample
    picture: bytes
    target: tuple[int, ...]
    first: int
    caption: str
    lang: str
    words: tuple[Word, ...]
    given: bool = False
    event: tuple[float, float] | None = None


@dataclass(frozen=True)
class CaptionedBatch:
    """Items as the arrays that programs take. Rows after the last item are padding.

    Attributes:
      items: the items.
      media: the entries of a batch (see capjax.data.batch); of a model that takes features `frames` too, where its
        encoder sees single frames. `event` [b, 2] holds start and end of the events, as shares of the duration.
      target: the tokens of the captions, with their prefixes.
      word_tokens: 1 for the tokens of `target[:, 1:]` that spell a word. After the words of an item comes its whole
        caption.
    """

    items: Sequence[CaptionedItem]
    media: Mapping[str, Any]
    target: Int[Array, "b l"] | Int[np.ndarray, "b l"]
    word_tokens: Float32[np.ndarray, "b w k"]

    def rows(self, values: Any) -> list[np.ndarray]:
        """Returns the rows [words + 1, ...] of an array [b, w, ...] that are not padding, by item."""
        values = np.asarray(values)
        return [values[row, : len(item.words) + 1] for row, item in enumerate(self.items)]


class BoundModel:
    """A captioner with its weights, and its frozen encoder if it takes features, in a traced function."""

    def __init__(self, captioner: Captioner, encoder=None):
        self.captioner, self.encoder = captioner, encoder
        # Explanations differentiate through encoders that did not learn.
        captioner.frozen = ()

    def features(self, media: Mapping) -> dict[str, Features]:
        """The features of all encoders, computed from `frames` unless `features` are given."""
        if self.encoder is None or "features" in media:
            return self.captioner.features(media)
        x, *_ = encode_clip(self.encoder, media["frames"], media["frame_times"], media["frame_mask"])
        # Rounded as in feature datasets; the gradient passes by, since float16 would lose small ones.
        x = x + jax.lax.stop_gradient(x.astype(jnp.float16).astype(x.dtype) - x)
        return self.captioner.features({**media, "features": x})

    def memory(self, features: Mapping[str, Features], media: Mapping) -> Memory:
        """What the decoder attends to: of the whole item, or of its event where queries find events."""
        memory = self.captioner.connect(features, duration=media.get("duration"))
        if self.captioner.events is None:
            return memory
        events, query = self.find_event(memory, media)
        times, states = (jnp.take_along_axis(x, query[:, None, None], axis=1) for x in (events.times[-1], events.query))
        return self.captioner.events.memory_of(memory, times, states, media["duration"])

    def find_event(
        self, memory: Memory, media: Mapping, *, return_attention: bool = False
    ) -> tuple[EventSet, Int[Array, " b"]]:
        """The predictions of the event queries, and the query that found the event of each item."""
        queries = self.captioner.events
        assert queries is not None
        events = queries(memory, media["duration"], return_attention=return_attention)
        return events, jnp.abs(events.times[-1] - media["event"][:, None]).sum(-1).argmin(1)

    def encoder_attention(self, media: Mapping) -> dict[str, SpaceTimeAttention]:
        """See `Captioner.encoder_attention`; of a frozen encoder too, if there are frames."""
        attention = {}
        if self.encoder is not None and "frames" in media:
            *_, weights = encode_clip(
                self.encoder, media["frames"], media["frame_times"], media["frame_mask"], return_attention=True
            )
            attention = {VISION: weights} if weights is not None else {}
        return attention | self.captioner.encoder_attention(media)

    def decode(self, target: Int[Array, "b l"], memory: Memory, *, return_attention: bool = False) -> DecoderOutput:
        """Teacher forcing, see `Captioner.decode`."""
        return self.captioner.decode(target, memory, return_attention=return_attention)

    def word_log_probs(
        self, media: Mapping, target: Int[Array, "b l"], word_tokens: Float[Array, "b w k"]
    ) -> Float[Array, "b w"]:
        """The log-probability of each word."""
        out = self.decode(target, self.memory(self.features(media), media))
        return sum_by_word(token_log_probs(out.logits, target), word_tokens)


def from_frames(media: Mapping) -> dict[str, Any]:
    """The media without the features of a frozen encoder, so that it is run on the frames, if those are there."""
    return {name: value for name, value in media.items() if name != "features" or "frames" not in media}


def token_log_probs(logits: Float[Array, "b k v"], target: Int[Array, "b l"]) -> Float[Array, "b k"]:
    """Natural logarithm of the probability of each token of `target[:, 1:]`."""
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    return jnp.take_along_axis(log_probs, target[:, 1:, None], axis=-1)[..., 0]


def sum_by_word(values: Float[Array, "b k"], word_tokens: Float[Array, "b w k"]) -> Float[Array, "b w"]:
    """The sum over the tokens of each word."""
    return jnp.einsum("bl,bwl->bw", values, word_tokens)


class CaptionModel:
    """A loaded model as explanation methods use it. `CaptionModel.of` makes one once.

    Args:
      predictor: the model.
    """

    def __init__(self, predictor: Predictor):
        self.predictor, self.parts = predictor, predictor.parts()
        self.vocabulary, self.extractor = self.parts.generator.vocabulary, self.parts.extractor
        self.image_size = self.parts.image_size
        pure_model, extractor = self.parts.pure_model, self.extractor
        self.weights = (
            self.parts.params, self.parts.batch_stats,
            *((extractor.params, extractor.batch_stats) if extractor else ()),
        )  # fmt: skip
        captioner = pure_model.bind(pure_model.shapes, pure_model.batch_stat_shapes)
        self.max_len = captioner.decoder.max_len
        encoder: Any = captioner.encoders[VISION] if extractor is None else extractor.bind(*self.weights[2:])
        self.grid: tuple[int, int] = encoder.grid(self.image_size, self.image_size)
        self._strided = getattr(encoder, "strided", ())
        self._programs: dict[tuple, Callable] = {}
        self._memory: dict[tuple, int] = {}

    @classmethod
    def of(cls, predictor: Predictor) -> "CaptionModel":
        """Returns the same object at each call for a model, so that its programs are compiled once."""
        if cls not in predictor.derived:
            predictor.derived[cls] = cls(predictor)
        return predictor.derived[cls]

    def bind(self, weights: tuple) -> BoundModel:
        """The model with weights, which are those of the captioner and then those of its frozen encoder."""
        params, batch_stats, *of_encoder = weights
        captioner = self.parts.pure_model.bind(params, batch_stats)
        return BoundModel(captioner, self.extractor.bind(*of_encoder) if self.extractor else None)

    def run(self, function: Callable, batch: CaptionedBatch, **static) -> Any:
        """Calls function(BoundModel, media, target, word_tokens, **static), jitted once for each function and static
        arguments."""
        return self._program(function, static)(self.weights, batch.media, batch.target, batch.word_tokens)

    def memory_of(self, function: Callable, batch: CaptionedBatch, **static) -> int:
        """Returns the bytes that `run` with these arguments takes beside them. Compiles the program, once for each
        shape."""
        arguments = (self.weights, batch.media, batch.target, batch.word_tokens)
        shapes = tuple((np.shape(x), str(x.dtype)) for x in jax.tree.leaves(arguments))
        key = (function, tuple(sorted(static.items())), shapes)
        if key not in self._memory:
            stats: Any = self._program(function, static).lower(*arguments).compile().memory_analysis()
            self._memory[key] = stats.temp_size_in_bytes + stats.output_size_in_bytes
        return self._memory[key]

    def _program(self, function: Callable, static: Mapping) -> Any:
        key = (function, tuple(sorted(static.items())))
        if key not in self._programs:

            def program(weights, media, target, word_tokens):
                return function(self.bind(weights), media, target, word_tokens, **static)

            self._programs[key] = jax.jit(program)
        return self._programs[key]

    def word_log_probs(self, batch: CaptionedBatch) -> Float[Array, "b w"]:
        """The log-probability of each word, and of the whole caption, of each item."""
        return self.run(BoundModel.word_log_probs, batch)

    def layers(self, batch: CaptionedBatch) -> list[str]:
        """Returns the names of the layers at which Grad-CAM can be computed, in order: of the encoder if it can be run
        on the batch, and `features`."""

        def encode(weights, media):
            model = self.bind(weights)
            return model.memory(model.features(media), media)

        with tapped("") as tap:
            jax.eval_shape(encode, self.weights, from_frames(batch.media))
        return tap.layers

    # ---- Items and batches

    def media(self, samples: Sequence[MediaSample]) -> dict[str, Any]:
        """The media entries of a batch: see `CaptionedBatch`."""
        extractor = self.extractor
        if extractor is None or extractor.over_time:
            return {**self.parts.make_batch(samples)}
        batch: dict[str, Any] = {**self.parts.make_batch.frames(samples)}
        features = extractor(batch["frames"], batch["frame_times"], batch["frame_mask"])
        return {**batch, "features": features}

    def item(
        self, name: str, sample: MediaSample, picture: bytes, tokens: Sequence[int], lang: str, *,
        prefix: Sequence[int] | None = None, ends: bool = True, **about,
    ) -> CaptionedItem:  # fmt: skip
        """Returns an item of the tokens of a caption, with or without <eos>.

        Args:
          prefix: the tokens before the caption; None: as every caption in its language starts.
          ends: <eos> is a part of the caption.
          **about: further attributes of the item.

        Raises:
          ValueError: the caption has more tokens than the decoder can read.
        """
        eos = self.vocabulary.eos_id
        tokens = [*tokens, eos] if ends and eos not in tokens else [*tokens]
        if prefix is None:
            prefix = self.parts.generator.prefix(lang, 1)[0].tolist()
        if len(prefix) + len(tokens) > self.max_len + 1:  # the last token is not read
            raise ValueError(
                f"a caption of {len(tokens)} tokens: this model reads at most {self.max_len + 1 - len(prefix)}; give a "
                "shorter one"
            )
        text, words = caption_words(self.vocabulary, tokens, lang)
        target = (*map(int, prefix), *map(int, tokens))
        return CaptionedItem(name, sample, picture, target, len(prefix), text, lang, words, **about)

    def batch(self, items: Sequence[CaptionedItem], media: Mapping | None = None) -> CaptionedBatch:
        """Returns items as arrays.

        Args:
          media: entries of `self.media` of the items' samples, if they are computed already.
        """
        media = dict(media or self.media([item.sample for item in items]))
        b = len(media["frame_mask"])
        length = min(_padded(max(len(item.target) for item in items)), self.max_len + 1)
        target = np.full((b, length), self.vocabulary.pad_id, np.int32)
        word_tokens = np.zeros((b, _padded(max(len(item.words) for item in items) + 1), length - 1), np.float32)
        event = np.zeros((b, 2), np.float32)
        for row, item in enumerate(items):
            target[row, : len(item.target)] = item.target
            for number, (first, end) in enumerate((*(w.tokens for w in item.words), (0, len(item.target)))):
                word_tokens[row, number, item.first - 1 + first : item.first - 1 + end] = 1
            word_tokens[row, :, len(item.target) - 1 :] = 0
            if item.event:
                event[row] = np.asarray(item.event) / item.sample.duration
        target[len(items) :] = target[0]
        if self.predictor.dense:
            media["event"] = event
        return CaptionedBatch(items, media, target, word_tokens)

    def with_log_probs(self, batch: CaptionedBatch) -> tuple[list[tuple[Word, ...]], list[float]]:
        """Returns the words of each item with their log-probabilities, and the log-probability of each caption."""
        words, totals = [], []
        for item, values in zip(batch.items, batch.rows(self.word_log_probs(batch)), strict=True):
            *by_word, total = values.tolist()
            words.append(tuple(replace(w, log_prob=value) for w, value in zip(item.words, by_word, strict=True)))
            totals.append(total)
        return words, totals

    def picture_size(self, item: CaptionedItem) -> tuple[int, int]:
        """Width and height of the picture of an item, in pixels."""
        height, width = jpeg_size(item.picture)
        return width, height

    def geometry(self, item: CaptionedItem, rows: int, columns: int) -> Geometry:
        """Where a grid of the encoder lies in the picture of an item.

        The model saw the whole picture, scaled to a square.
        """
        width, height = self.picture_size(item)
        (x0, x1), (y0, y1) = (grid_extent(self._strided, self.image_size, cells) for cells in (columns, rows))
        by_x, by_y = width / self.image_size, height / self.image_size
        return Geometry(width, height, (x0 * by_x, y0 * by_y, x1 * by_x, y1 * by_y))


def _padded(count: int) -> int:
    return -(-count // _MULTIPLE) * _MULTIPLE
