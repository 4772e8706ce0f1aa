"""Media files to records."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from capjax.data.media_reader import MediaReader
from capjax.data.record import RecordCaption
from data_prep.media import MediaError, MediaSettings, Storage, read_media, read_photo
from data_prep.readers.item import Item
from tests.helpers.pictures import encode, picture
from tests.helpers.videos import write_video


def item(media) -> Item:
    return Item("1", media, "train", ())


def test_a_photo_is_a_video_of_one_frame(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(picture(30, 20)))
    record = read_photo(item(path), Storage())
    assert record.frames == (path.read_bytes(),)
    assert record.frame_times.tolist() == [0.0]
    assert record.duration == 0


def test_drawn_media_go_the_same_way():
    data = encode(picture(300, 200), "PNG")
    (frame,) = read_photo(item(lambda: data), Storage(MediaSettings(size=100))).frames
    assert frame[:2] == b"\xff\xd8"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"gone\.jpg") as error:
        read_photo(item(tmp_path / "gone.jpg"), Storage())
    assert error.value.kind == "missing_photo"


def read(item: Item, folder) -> list:
    return list(read_media([item], Storage(), lambda share: None, folder / "spool"))


@pytest.mark.parametrize("is_video", [False, True])
def test_the_content_of_a_file_decides_and_records_hold_what_prediction_sees(tmp_path, is_video):
    frames = [Image.new("RGB", (64, 48), color) for color in ("red", "green", "blue")]
    paths = [tmp_path / name for name in ("animation.png", "still.gif", "photo.mp4", "video.jpg")]
    frames[0].save(paths[0], save_all=True, append_images=frames[1:], duration=400)
    frames[0].save(paths[1])
    paths[2].write_bytes(encode(picture(64, 48)))
    write_video(paths[3], np.arange(20) / 10, format="mp4")
    for path, count in zip(paths, (3, 1, 1, 4), strict=True):
        caption = RecordCaption("something")
        (record,) = read(replace(item(path), captions=(caption,), name=path.name, video=is_video), tmp_path)
        sample = MediaReader(MediaSettings(), 2.0, 100).read(path)
        assert record.frames == sample.frames, path.name
        assert len(record.frames) == count
        assert record.duration == pytest.approx(sample.duration)


def test_times_of_a_photo_are_a_problem(tmp_path):
    (tmp_path / "a.mp4").write_bytes(encode(picture(64, 48)))
    event = RecordCaption("something", "en", 0.0, 1.0, "event")
    (problem,) = read(replace(item(tmp_path / "a.mp4"), captions=(event,), video=True), tmp_path)
    assert (problem.kind, problem.costs) == ("not_a_video", "video")


@pytest.mark.parametrize("is_video", [False, True])
@pytest.mark.parametrize("data", [b"", b"nothing", bytes(3000), b"GIF89a"])
def test_a_file_without_media_costs_what_the_annotations_call_it(tmp_path, data, is_video):
    (tmp_path / "a").write_bytes(data)
    (problem,) = read(replace(item(tmp_path / "a"), video=is_video), tmp_path)
    assert problem.costs == ("video" if is_video else "photo")
