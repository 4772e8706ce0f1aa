"""The content of a file decides whether it is a photo or a video."""

import io
import struct

import av
import numpy as np
import pytest
from PIL import Image

from capjax.data.media_formats import media_kind
from tests.helpers.pictures import encode, picture
from tests.helpers.videos import write_video

FRAMES = [picture(64, 48, seed) for seed in range(3)]


def animation(kind: str, count: int) -> bytes:
    return encode(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:count], duration=100)


def raw_stream(codec: str, container: str, count: int = 3) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(
            codec, rate=25, width=64, height=48, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p"
        )
        for index in range(count):
            output.mux(stream.encode(av.VideoFrame.from_image(FRAMES[index % 3])))
        output.mux(stream.encode(None))
    return file.getvalue()


MANY = ["GIF", "PNG", "WEBP", "AVIF"]
PHOTOS = {
    **{kind: encode(FRAMES[0], kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")},
    **{f"{kind} of one frame": animation(kind, 1) for kind in MANY},
    "TIFF of three pages": animation("TIFF", 3),
    "MPO": encode(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:]),
    "PGM": encode(FRAMES[0].convert("L"), "PPM"),
    "JPEG with a preview": encode(FRAMES[0]) + encode(FRAMES[1].resize((16, 12))),
    "one frame of Motion JPEG": raw_stream("mjpeg", "mjpeg", 1),
}
VIDEOS = {
    **{f"{kind} of two frames": animation(kind, 2) for kind in MANY},
    "Motion JPEG": encode(FRAMES[0]) + encode(FRAMES[1]),
    "raw Motion JPEG": raw_stream("mjpeg", "mjpeg"),
    "raw H.264": raw_stream("libx264", "h264", 30),
    "raw HEVC": raw_stream("libx265", "hevc", 30),
    "raw MPEG-4": raw_stream("mpeg4", "m4v", 30),
    **{name: raw_stream("mpeg4", name) for name in ("mp4", "mov", "matroska", "avi", "nut", "mpegts")},
    "webm": raw_stream("libvpx", "webm"),
    "mpeg": raw_stream("mpeg1video", "mpeg", 30),
    "flv": raw_stream("flv", "flv"),
    "y4m": raw_stream("wrapped_avframe", "yuv4mpegpipe"),
}
NEITHER = {
    "text": b"# Notes\n\nP5 is a format, and BM a city.\n", "JSON": b'{"image": "a.jpg"}', "zeros": bytes(5000),
    "empty": b"", "noise": np.random.default_rng(0).bytes(5000), "PDF": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + bytes(99),
    "ZIP": b"PK\3\4" + bytes(99), "text like a bitmap": b"BMW builds cars. " * 20, "text of boxes": b"fat-free " * 9,
    "text like a PGM": b"P5 or P6?", "UTF-16": "notes".encode("utf-16"), "NumPy": b"\x93NUMPY\1\0v\0" + bytes(200),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["", ".jpg", ".mp4", ".txt"])
@pytest.mark.parametrize("kind", ["photo", "video"])
def test_the_kind_does_not_depend_on_the_name(kind, suffix, tmp_path):
    for name, data in (PHOTOS if kind == "photo" else VIDEOS).items():
        path = tmp_path / f"file{suffix}"
        path.write_bytes(data)
        assert media_kind(path) == media_kind(data) == kind, name


@pytest.mark.parametrize(
    ("container", "codec"), [("ogg", "libopus"), ("ipod", "aac"), ("matroska", "aac"), ("flac", "flac")]
)
def test_music_is_neither_and_a_film_without_pictures_is_damaged(container, codec, tmp_path):
    with av.open(tmp_path / "music", "w", format=container) as output:
        stream = output.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), "s16", "mono")
        frame.sample_rate = 48_000
        for resampled in av.AudioResampler(stream.format, "mono", 48_000, stream.frame_size or 960).resample(frame):
            output.mux(stream.encode(resampled))
        output.mux(stream.encode(None))
    assert media_kind(tmp_path / "music") is None
    (tmp_path / "music").rename(tmp_path / "film.mp4")
    assert media_kind(tmp_path / "film.mp4") == "video", "its reader says that it has no pictures"


def test_other_files_are_neither():
    assert {name: media_kind(data) for name, data in NEITHER.items()} == dict.fromkeys(NEITHER)


def test_a_file_without_known_content_is_what_its_suffix_says(tmp_path):
    for name, expected in {
        "a.JPG": "photo",
        "a.heic": "photo",
        "a.mp4": "video",
        "a.h264": "video",
        "a.txt": None,
    }.items():
        (tmp_path / name).write_bytes(bytes(5000))
        assert media_kind(tmp_path / name) == expected


def test_motion_jpeg_is_not_found_within_metadata():
    thumbnails = encode(FRAMES[1]) + encode(FRAMES[2])
    data = encode(FRAMES[0])
    assert (
        media_kind(data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnails) + 2) + thumbnails + data[2:]) == "photo"
    )


@pytest.mark.parametrize("kind", ["JPEG", *MANY])
def test_a_file_that_is_cut_anywhere_has_a_kind(kind):
    data = encode(FRAMES[0]) + encode(FRAMES[1]) if kind == "JPEG" else animation(kind, 3)
    for end in range(16, len(data), max(1, len(data) // 97)):
        assert media_kind(data[:end]) in ("photo", "video")


def test_the_file_is_read_only_as_far_as_needed(tmp_path):
    path = write_video(tmp_path / "a.mp4", np.arange(30) / 10)
    with path.open("ab") as file:
        file.truncate(2**40)  # no disk is used
    assert media_kind(path) == "video"


def test_an_avif_with_a_general_brand_is_a_photo():
    data = encode(FRAMES[0], "AVIF")
    assert media_kind(data[:8] + b"mif1" + data[12:]) == "photo"
    assert Image.open(io.BytesIO(data)).format == "AVIF"
