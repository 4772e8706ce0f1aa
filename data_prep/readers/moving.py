"""Generated videos: drawn shapes that move, with the exact times of all events."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from capjax.data.record import Label, RecordCaption
from data_prep.readers.item import InputError, Item, ItemStream
from data_prep.readers.registry import READERS
from data_prep.readers.video_files import add_videos, write_videos
from data_prep.synthetic.moving.draw import MovingVideo
from data_prep.synthetic.moving.grammar import LANGUAGES, PARAPHRASES, captions, events, summaries
from data_prep.synthetic.moving.scene import MovingScene, make_moving_scene

# Of every twenty scenes one belongs to val and one to test.
_SPLITS = {18: "val", 19: "test"}


def add_arguments(parser):
    parser.add_argument(
        "--count",
        type=int,
        default=6000,
        help="number of scenes, of which 1/20 go to val and 1/20 to test (default: 6000)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64, help="width and height in pixels, even (default: 64)")
    parser.add_argument("--languages", type=lambda text: text.split(","), default=list(LANGUAGES), metavar="A,B",
                        help=f"languages of the captions (default: {','.join(LANGUAGES)})")  # fmt: skip
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
    if unknown := [lang for lang in languages if lang not in LANGUAGES]:
        raise InputError(f"--languages {unknown[0]}: choose from {', '.join(LANGUAGES)}")
    if not 1 <= paraphrases <= PARAPHRASES or not 32 <= size <= 1024 or size % 2 or count < 1 or seed < 0:
        raise InputError(
            f"expected --paraphrases 1 to {PARAPHRASES}, --size 32 to 1024 and even, --count 1 or more, "
            "--seed 0 or more"
        )
    yield from write_videos(_items(count, seed, size, languages, paraphrases), videos, all_videos)


def _items(count: int, seed: int, size: int, languages: Sequence[str], paraphrases: int) -> Iterator[Item]:
    for index in range(count):
        scene = make_moving_scene(seed, index)
        name = f"moving-{index:07d}"
        yield Item(
            id=name,
            media=MovingVideo(scene, size),
            split=_SPLITS.get(index % 20, "train"),
            captions=tuple(caption for lang in languages for caption in _captions(scene, lang, paraphrases)),
            labels=tuple(Label(f"{thing.colour} {thing.shape}") for thing in scene.things),
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
