"""Slideshows: cuts are where the events say, pictures are those that the captions were written of."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capjax.data.photo import MediaSettings
from capjax.data.record import RecordSource
from capjax.data.video import VideoFile
from data_prep.readers import READERS
from data_prep.readers.item import InputError
from data_prep.synthetic.slideshow import FPS, make_shots, starts
from tests.helpers.built_records import build_records
from tests.helpers.pictures import encode
from tests.helpers.videos import pixels

PHOTOS = {"train": 24, "val": 8, "test": 5}


def color(index: int) -> np.ndarray:
    """A color of its own for each of 64 photos."""
    return np.array([index % 4, index // 4 % 4, index // 16]) * 64 + 32


def detailed(index: int) -> Image.Image:
    """Details of one color."""
    small = (color(index) + np.random.default_rng(index).integers(-30, 31, (12, 16, 3))).astype(np.uint8)
    width, height = ((320, 240), (240, 320), (500, 180))[index % 3]
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A dataset of photos; each says in its captions which it is."""
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for index, split in enumerate(itertools.chain(*([split] * count for split, count in PHOTOS.items()))):
        (folder / f"{index}.jpg").write_bytes(encode(detailed(index), quality=95))
        captions = [
            {"text": f"{lang} {k} of {index}", "lang": lang} for lang in ("en", "de") for k in range(2 + index % 2)
        ]
        rows.append(json.dumps({"image": f"{index}.jpg", "captions": captions, "split": split}) + "\n")
    (folder / "captions.jsonl").write_text("".join(rows))
    return build_records("photos", READERS.make("jsonl", folder), folder / "out").output_dir


@pytest.fixture(scope="module")
def items(photos) -> list:
    return list(READERS.make("slideshow", photos, shown=0.7, photos=(3, 5), seconds=(0.8, 2.0), size=96))


def pictures(item, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(seconds [n], uint8 [n, h, w, 3]) of all frames."""
    path = folder / "slideshow.mp4"
    path.write_bytes(item.media())
    video = VideoFile(path)
    shown = [
        (one.time, pixels(video.jpeg(one.frame, MediaSettings(96, 95)))) for one in video.frames_at((), all_frames=True)
    ]
    return np.array([time for time, _ in shown]), np.stack([picture for _, picture in shown])


def event_times(item) -> list[tuple[float, float]]:
    return sorted({(caption.start, caption.end) for caption in item.captions})


def test_events_begin_and_end_where_the_picture_is_cut(items, tmp_path):
    for item in items[:6]:
        times, shown = pictures(item, tmp_path)
        change = np.abs(np.diff(shown.astype(int), axis=0)).mean((1, 2, 3))
        cuts = times[1:][change > 12]
        events = event_times(item)
        assert cuts == pytest.approx([start for start, _ in events][1:], abs=1e-3)
        assert [end for _, end in events][:-1] == [start for start, _ in events][1:]
        assert events[0][0] == 0
        assert events[-1][1] == pytest.approx(times[-1] + 1 / FPS, abs=1e-3)


def test_pictures_move_slowly_between_cuts(items, tmp_path):
    times, shown = pictures(items[0], tmp_path)
    for start, end in event_times(items[0]):
        inside = shown[(times >= start - 1e-3) & (times < end - 1e-3)].astype(int)
        assert np.abs(inside[-1] - inside[0]).mean() > 0.5
        assert np.abs(np.diff(inside, axis=0)).mean((1, 2, 3)).max() < 12


def test_captions_of_an_event_are_those_of_the_photo_that_is_shown(items, photos):
    for item in items:
        source = RecordSource(photos, item.split)
        texts = {record.id: record.captions for record in map(source.__getitem__, range(len(source)))}
        shown = [label.name.removeprefix("photo:") for label in item.labels]
        for photo, (start, end) in zip(shown, event_times(item), strict=True):
            own = {(c.lang, c.text) for c in texts[photo]}
            captions = [c for c in item.captions if (c.start, c.end) == (start, end)]
            assert captions
            assert {(c.lang, c.text) for c in captions} <= own
            assert all(c.text.startswith(f"{c.lang} {c.set} of") for c in captions)
        sets = {(c.lang, c.set) for c in item.captions}
        assert all(sum((c.lang, c.set) == one for c in item.captions) == len(shown) for one in sets)


def test_what_is_shown_is_the_photo_that_is_told_of(items, tmp_path):
    for item in items[::4]:
        times, shown = pictures(item, tmp_path)
        for label, (start, end) in zip(item.labels, event_times(item), strict=True):
            for picture in shown[(times >= start - 1e-3) & (times < end - 1e-3)]:
                apart = [np.abs(picture.mean((0, 1)) - color(index)).max() for index in range(sum(PHOTOS.values()))]
                assert label.name == f"photo:{int(np.argmin(apart))}.jpg"


def test_no_photo_of_training_is_in_a_video_of_another_split(items, photos):
    for item in items:
        source = RecordSource(photos, item.split)
        ids = {f"photo:{source[index].id}" for index in range(len(source))}
        assert {label.name for label in item.labels} <= ids
    assert {item.split for item in items} == set(PHOTOS)


@pytest.mark.parametrize(("photos_there", "each"), [(24, (3, 8)), (5, (3, 5)), (2, (3, 8)), (1, (1, 1))])
def test_all_photos_are_dealt_before_any_comes_again(photos_there, each):
    shots = list(itertools.islice(make_shots(photos_there, "train", 0, each, (2.0, 6.0)), 60))
    counts = np.zeros(photos_there, int)
    for video in shots:
        assert len({shot.photo for shot in video}) == len(video)
        assert min(each[0], photos_there) <= len(video) <= each[1]
        for shot in video:
            counts[shot.photo] += 1
        assert counts.max() - counts.min() <= 2
        assert all(2 - 1 / FPS <= b - a <= 6 + 1 / FPS for a, b in itertools.pairwise(starts(video)))


def test_what_is_shown_more_often_begins_with_the_same_videos_and_the_bytes_are_the_same(photos, items):
    more = list(READERS.make("slideshow", photos, shown=1.4, photos=(3, 5), seconds=(0.8, 2.0), size=96))
    assert [item for item in more if item.id in {item.id for item in items}] == items
    assert len(more) == 13 and len(items) == 6  # of 24, 8 and 5 photos, 4 a video
    assert more[0].media() == items[0].media()


def test_videos_written_as_files_are_those_of_the_dataset(photos, tmp_path):
    made = list(READERS.make("slideshow", photos, shown=0.4, seconds=(0.5, 1), size=64, videos=tmp_path / "v"))
    rows = [json.loads(line) for line in (tmp_path / "v" / "captions.jsonl").read_text().splitlines()]
    written = {item.name: item for item in made if item.split != "train"}
    assert {row["video"] for row in rows} == set(written)
    for row in rows:
        item = written[row["video"]]
        assert (tmp_path / "v" / row["video"]).read_bytes() == item.media()
        assert row["split"] == item.split
        assert [(c["text"], c["lang"], c["start"], c["end"], c["set"]) for c in row["captions"]] == [
            (c.text, c.lang, c.start, c.end, c.set) for c in item.captions
        ]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"photos": (0, 2)}, "--photos"),
        ({"seconds": (3, 2)}, "--seconds"),
        ({"size": 97}, "--size"),
        ({"shown": 0}, "--shown"),
        ({"shown": float("nan")}, "--shown"),
    ],
)
def test_what_cannot_be_shown_is_refused(photos, bad, words):
    with pytest.raises(InputError, match=words):
        list(READERS.make("slideshow", photos, **bad))


def test_a_folder_that_is_no_dataset_is_told(tmp_path):
    with pytest.raises(InputError, match=r"dataset_info.json is missing"):
        list(READERS.make("slideshow", tmp_path))
