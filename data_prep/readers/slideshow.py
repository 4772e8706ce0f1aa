"""Photos of a dataset one after another as videos; each photo's captions are those of an event.

The videos of a split show photos of that split only, by hard cuts and with a slow pan or zoom. The event of a photo
lasts from its first frame to the next photo's first frame, and the photo's caption k is in annotation set k. The ids of
the photos are the labels `photo:ID`, in order.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

from capjax.data.dataset_folder import open_dataset
from capjax.data.record import Label, RecordCaption, RecordSource
from data_prep.readers.item import InputError, Item, ItemStream
from data_prep.readers.registry import READERS
from data_prep.readers.video_files import add_videos, write_videos
from data_prep.synthetic.slideshow import FPS, Shot, Slideshow, make_shots, starts


def add_arguments(parser):
    parser.add_argument("--input", dest="input_dir", type=Path, required=True, metavar="DIR",
                        help="a dataset of photos that data_prep wrote")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shown", type=float, default=2.0, metavar="TIMES",
                        help="how often a photo is shown, about (default: 2)")  # fmt: skip
    parser.add_argument("--photos", type=int, nargs=2, default=(3, 8), metavar=("FROM", "TO"),
                        help="photos a video (default: 3 8)")  # fmt: skip
    parser.add_argument("--seconds", type=float, nargs=2, default=(2.0, 6.0), metavar=("FROM", "TO"),
                        help="that a photo is shown (default: 2 6)")  # fmt: skip
    parser.add_argument("--size", type=int, default=256, help="height in pixels, even; videos are 4:3 (default 256)")
    add_videos(parser)


@READERS.register("slideshow")
def read(
    input_dir: Path, seed: int = 0, shown: float = 2.0, photos: Sequence[int] = (3, 8),
    seconds: Sequence[float] = (2.0, 6.0), size: int = 256, videos: Path | None = None, all_videos: bool = False,
) -> ItemStream:  # fmt: skip
    """Yields the videos of each split. With a larger `shown`, the first videos are the same.

    Raises:
      InputError: the input is not a dataset of photos, or a number is out of range.
    """
    if not 1 <= photos[0] <= photos[1] or not 2 / FPS <= seconds[0] <= seconds[1]:
        raise InputError(f"expected --photos FROM TO and --seconds FROM TO, at least 1 photo and {2 / FPS} s of each")
    if not 32 <= size <= 1080 or size % 2 or not 0 < shown <= 10_000 or seed < 0:
        raise InputError("expected --size 32 to 1080 and even, --shown above 0, --seed 0 or more")
    items = _items(input_dir.resolve(), seed, shown, tuple(photos), tuple(seconds), size)
    yield from write_videos(items, videos, all_videos)


def _items(folder: Path, seed: int, shown: float, photos, seconds, size: int) -> Iterator[Item]:
    for split in _splits(folder):
        source = RecordSource(folder, split)
        captions_by_photo = _Photos(source)
        number = max(1, round(shown * len(source) / (sum(photos) / 2)))
        for index, shots in enumerate(islice(make_shots(len(source), split, seed, photos, seconds), number)):
            name = f"slideshow-{split}-{index:06d}"
            yield Item(
                id=name,
                media=Slideshow(str(folder), split, shots, size),
                split=split,
                captions=tuple(_captions(shots, captions_by_photo)),
                labels=tuple(Label(f"photo:{captions_by_photo[shot.photo][0]}") for shot in shots),
                where=f"{split} {index}",
                name=f"{name}.mp4",
                video=True,
            )


def _splits(folder: Path) -> list[str]:
    try:
        return list(open_dataset(folder).info.splits)
    except (OSError, ValueError) as error:
        raise InputError(f"--input should be a folder that `capjax prepare` wrote: {error}") from error


class _Photos:
    """Maps the number of a photo to (id, {language: captions}). Photos are shown more than once, and read once."""

    def __init__(self, source: RecordSource):
        self._source = source
        self._cache: dict[int, tuple[str, dict[str, list[str]]]] = {}

    def __getitem__(self, index: int) -> tuple[str, dict[str, list[str]]]:
        if index not in self._cache:
            record = self._source[index]
            if len(record.frames) != 1 or record.duration:
                what = "a video" if record.frames else "no photo, only its features"
                raise InputError(f"{self._source.dataset_dir}: record {record.id!r} is {what}; --input has photos")
            texts: dict[str, list[str]] = {}
            for caption in record.captions:
                if caption.kind == "caption":
                    texts.setdefault(caption.lang, []).append(caption.text)
            self._cache[index] = (record.id, texts)
        return self._cache[index]


def _captions(shots: tuple[Shot, ...], captions_by_photo: _Photos) -> Iterator[RecordCaption]:
    """Yields captions set by set, in order. There are as many sets as the photo with the fewest captions has
    captions."""
    texts = [captions_by_photo[shot.photo][1] for shot in shots]
    for lang in texts[0]:
        for set in range(min(len(photo.get(lang, ())) for photo in texts)):
            for photo, (start, end) in zip(texts, pairwise(starts(shots)), strict=True):
                yield RecordCaption(photo[lang][set], lang, start, end, kind="event", set=set)
