"""Explanations of photos and videos with a loaded model: `capjax.explain(model, media, method=...)`."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from capjax.data.media_file import MediaError
from capjax.data.media_reader import MediaSample
from capjax.data.photo import MediaSettings, to_jpeg
from capjax.explain import attention, event_maps, gradcam, lime, occlusion  # noqa: F401  # they register their methods
from capjax.explain.explanation import Explanation
from capjax.explain.methods import METHODS, Options, make_options, method_names
from capjax.explain.model import CaptionedBatch, CaptionModel
from capjax.predict import Predictor

# A photo is shown at its own size, within what a JPEG can hold.
_OWN_SIZE = MediaSettings(65_000)


def explain(model: Predictor, media: Iterable, *, method: str | Sequence[str] = "attention", **options):
    """Returns the explanations of photos and videos as a list; see `explain_each`."""
    return list(explain_each(model, media, method=method, **options))


def explain_each(
    model: Predictor, media: Iterable, *, method: str | Sequence[str] = "attention",
    caption: str | Sequence[str] | None = None, lang: str | None = None, batch_size: int = 8, **options,
) -> Iterator[Explanation]:  # fmt: skip
    """Yields the explanation of each photo or video, in order; of a model that finds events, of each event.

    A photo or video that cannot be read does not affect the others: its explanation has an `error`.

    Args:
      model: as of `capjax.load`.
      media: photos and videos, as `Predictor.caption` takes them.
      method: one or more of METHODS, in one string or several.
      caption: the caption to explain, or one for each photo or video; None: those that the model writes.
      lang: its language; None: the model's first.
      batch_size: largest number of captions in a batch.
      **options: see `capjax.explain.methods.Options`.

    Raises:
      TypeError: `media` is one photo or video instead of several.
      ValueError: a method, option, language, layer or caption that the model does not have.
    """
    if isinstance(media, str | bytes | Path):
        raise TypeError(f"expected several photos or videos, such as a list; found one {type(media).__name__}")
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: expected 1 or more")
    explainer = _Explainer(
        CaptionModel.of(model), method_names(method), make_options(options), model.language(lang), batch_size
    )
    if caption is None:
        captions: Iterator[list[int] | None] = itertools.repeat(None)
    elif isinstance(caption, str):
        captions = itertools.repeat(explainer.tokens(caption))
    else:
        captions = iter([explainer.tokens(each) for each in caption])
    pending: list[_Medium | Explanation] = []
    for number, each in enumerate(media):
        name = str(each) if isinstance(each, str | Path) else f"item {number}"
        try:
            sample = explainer.read(each)
            picture = sample.frames[0] if sample.duration else to_jpeg(each, _OWN_SIZE)
            pending.append(_Medium(name, sample, picture, _next_caption(captions, number)))
        except MediaError as error:
            pending.append(Explanation(name, lang=explainer.lang, error=error))
        if len(pending) == batch_size:
            yield from explainer.explain(pending)
            pending = []
    if pending:
        yield from explainer.explain(pending)


def explain_samples(
    model: Predictor, samples: Sequence[MediaSample], captions: Sequence[str], *,
    method: str | Sequence[str] = "attention", lang: str | None = None, **options,
) -> list[Explanation]:  # fmt: skip
    """Returns the explanations of given captions of one batch of photos or videos that were read already.

    Args:
      model: one that writes captions of whole photos or videos.
      samples: as `Predictor.read` returns them.
      captions: one for each.
      method, lang, **options: as in `explain_each`.

    Raises:
      ValueError: as `explain_each`.
    """
    explainer = _Explainer(
        CaptionModel.of(model), method_names(method), make_options(options), model.language(lang), len(samples)
    )
    media = [
        _Medium(f"item {number}", sample, sample.frames[0], explainer.tokens(caption))
        for number, (sample, caption) in enumerate(zip(samples, captions, strict=True))
    ]
    return list(explainer.explain(media))


class _Medium(NamedTuple):
    """A photo or video: its name, the frames that the model sees, the picture to show, and the tokens of its caption if
    that is given."""

    name: str
    sample: MediaSample
    picture: bytes
    tokens: Sequence[int] | None


def _next_caption(captions: Iterator, number: int):
    try:
        return next(captions)
    except StopIteration:
        raise ValueError(f"{number} captions were given, and more photos or videos; give one for each") from None


class _Explainer:
    """Captions and explains batches with one model, methods and options."""

    def __init__(
        self, model: CaptionModel, methods: Sequence[str], options: Options, lang: str, batch_size: int
    ):  # fmt: skip
        self.model, self.methods, self.options = model, methods, options
        self.lang, self.batch_size = lang, batch_size

    def tokens(self, caption: str) -> list[int]:
        """The tokens of a given caption.

        Raises:
          ValueError: it has no words, or the model finds events.
        """
        if self.model.predictor.dense:
            raise ValueError("a caption cannot be given to a model that finds events: of which would it be?")
        tokens = self.model.vocabulary.encode(caption)
        if not tokens:
            raise ValueError(f"the caption {caption!r} is empty; give the words to explain")
        return tokens

    def read(self, media) -> MediaSample:
        """Reads a photo or video.

        Raises:
          MediaError: it cannot be read, or is too long to find its events at once.
        """
        sample = self.model.predictor.read(media)
        if self.model.predictor.dense:
            windows = self.model.parts.windows.split(sample.duration)
            if not sample.duration:
                raise MediaError("not_a_video", f"{media!s:.200} is a photo; this model finds events in videos")
            if len(windows) > 1:
                raise MediaError(
                    "too_long", f"{media!s:.200} takes {sample.duration:.0f} s, and this model explains "
                    f"{windows[0][1]:.0f} s at a time; cut the video"
                )  # fmt: skip
        return sample

    def explain(self, pending: Sequence[_Medium | Explanation]) -> Iterator[Explanation]:
        """Yields the explanations of media in order; those that could not be read are explanations already."""
        readable = [each for each in pending if not isinstance(each, Explanation)]
        explain = self._events if self.model.predictor.dense else self._captions
        explanations = iter(explain(readable) if readable else ())
        for each in pending:
            if isinstance(each, Explanation):
                yield each
            else:
                yield from next(explanations)

    def _captions(self, readable: Sequence[_Medium]) -> Iterator[list[Explanation]]:
        """Yields the explanation of each photo or video."""
        model, parts = self.model, self.model.parts
        media = model.media([medium.sample for medium in readable])
        given = readable[0].tokens is not None
        written = [medium.tokens for medium in readable]
        if not given:
            captions = parts.generator.captions(parts.params, parts.batch_stats, _inputs(media), self.lang)
            written = [caption.tokens for caption in captions[: len(readable)]]
        items = [
            model.item(medium.name, medium.sample, medium.picture, tokens or (), self.lang, ends=given, given=given)
            for medium, tokens in zip(readable, written, strict=True)
        ]
        yield from ([explanation] for explanation in self._explain_items(model.batch(items, media)))

    def _events(self, readable: Sequence[_Medium]) -> Iterator[list[Explanation]]:
        """Yields the explanations of the events of each video."""
        model, parts = self.model, self.model.parts
        media = model.media([medium.sample for medium in readable])
        events = parts.generator.events(parts.params, parts.batch_stats, _inputs(media), self.lang)
        for medium, own in zip(readable, events, strict=False):
            items, before = [], parts.generator.prefix(self.lang, 1)[0].tolist()
            for event in own:
                about: dict[str, Any] = {"event": (event.start, event.end), "ends": False}
                if parts.generator.times:  # times and events are written one after another
                    about["prefix"] = before
                    before = [*before, *event.tokens]
                items.append(model.item(medium.name, medium.sample, medium.picture, event.tokens, self.lang, **about))
            batches = (items[start : start + self.batch_size] for start in range(0, len(items), self.batch_size))
            yield [each for batch in batches for each in self._explain_items(model.batch(batch))]

    def _explain_items(self, batch: CaptionedBatch) -> Iterator[Explanation]:
        maps = {name: METHODS.get(name)(self.model, batch, self.options) for name in self.methods}
        for row, (item, words, log_prob) in enumerate(zip(batch.items, *self.model.with_log_probs(batch), strict=True)):
            frames = (item.picture,) if not item.sample.duration else item.sample.frames
            yield Explanation(
                item.name, item.caption, item.lang, item.given, log_prob, words,
                {name: each[row] for name, each in maps.items()}, tuple(frames), tuple(item.sample.times.tolist()),
                item.event,
            )  # fmt: skip


def _inputs(media: Mapping) -> dict:
    """The media as the generator takes them: features in place of the frames that they were computed from."""
    return {name: value for name, value in media.items() if name != "frames" or "features" not in media}
