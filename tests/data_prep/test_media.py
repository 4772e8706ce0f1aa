"""Media files to frames with times."""

import pytest
from pictures import encode, picture

from data_prep.media import MediaError, MediaSettings, read_media


def test_a_photo_is_a_video_of_one_frame(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(picture(30, 20)))
    media = read_media(path, MediaSettings())
    assert media.frames == (path.read_bytes(),)
    assert media.frame_times.tolist() == [0.0]
    assert media.duration == 0


def test_drawn_media_go_the_same_way():
    data = encode(picture(300, 200), "PNG")
    (frame,) = read_media(lambda: data, MediaSettings(size=100)).frames
    assert frame[:2] == b"\xff\xd8"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"gone\.jpg") as error:
        read_media(tmp_path / "gone.jpg", MediaSettings())
    assert error.value.kind == "missing_photo"
