"""Media files to records."""

import pytest

from data_prep.media import MediaError, MediaSettings, Storage, read_photo
from data_prep.readers.item import Item
from tests.helpers.pictures import encode, picture


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
