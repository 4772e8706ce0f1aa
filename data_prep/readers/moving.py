"""Generated videos: drawn shapes that move, with the exact times of all events."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from capjax.data.record import Label, RecordCaption
from data_prep.readers import generated
from data_prep.readers.item import Item, ItemStream
from data_prep.readers.registry import READERS
from data_prep.readers.video_files import add_videos, write_videos
from data_prep.synthetic.moving.draw import MovingVideo
from data_prep.synthetic.moving.grammar import LANGUAGES, PARAPHRASES, captions, events, summaries
from data_prep.synthetic.moving.scene import MovingScene, make_moving_scene


def add_arguments(parser):
    generated.add_arguments(parser, list(LANGUAGES), "width and height in pixels, even")
    parser.add_argument("--paraphrases", type=int, default=PARAPHRASES, metavar="N",
                        help="in each language: captions of the whole, summaries, and annotation sets of the events, "
                        f"1 to {PARAPHRASES} (default {PARAPHRASES})")  # fmt: skip
    add_videos(parser)


@READERS.register("moving")
def read(
    count: int = 6000, seed: int = 0, size: int = 64, languages: Sequence[str] = tuple(LANGUAGES),
    paraphrases: int = PARAPHRASES, videos: Path | None = None, all_videos: bool = False,
) -> ItemStream:  # fmt: skip
    """Yields `count` scenes. With a larger count the first scenes are the same.

    Raises:
      InputError: a language is not available, or a size or number is out of range.
    """
    generated.check_arguments(
        count, seed, size, languages, paraphrases, sizes=range(32, 1025, 2), available=LANGUAGES, most=PARAPHRASES
    )
    yield from write_videos(_items(count, seed, size, languages, paraphrases), videos, all_videos)


def _items(count: int, seed: int, size: int, languages: Sequence[str], paraphrases: int) -> Iterator[Item]:
    for index in range(count):
        scene = make_moving_scene(seed, index)
        name = f"moving-{index:07d}"
        yield Item(
            id=name,
            media=MovingVideo(scene, size),
            split=generated.split_of(index),
            captions=tuple(caption for lang in languages for caption in _captions(scene, lang, paraphrases)),
            labels=tuple(Label(f"{thing.color} {thing.shape}") for thing in scene.things),
            where=f"scene {index}",
            name=f"{name}.mp4",
            video=True,
        )


def _captions(scene: MovingScene, lang: str, count: int) -> Iterator[RecordCaption]:
    """Yields captions of the whole video, of the events (set by set, in order), and summaries of all events."""
    for text in captions(scene, lang, count):
        yield RecordCaption(text, lang)
    sentences = events(scene, lang, count)
    for set in range(count):
        for event, texts in zip(scene.events, sentences, strict=True):
            yield RecordCaption(texts[set], lang, event.start, event.end, kind="event", set=set)
    for text in summaries(scene, lang, count):
        yield RecordCaption(text, lang, kind="summary")
