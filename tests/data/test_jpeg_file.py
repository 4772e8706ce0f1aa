"""A JPEG with missing data is refused, however it ends; stray bytes and metadata are none of its picture."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from capjax.data.photo import MediaError, MediaSettings, photo_to_jpeg
from tests.helpers.pictures import encode, picture

KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 2},
    "full chroma": {"subsampling": 0},
}
MODES = ["RGB", "L", "CMYK"]
SIZES = [64, 512]


def photo(mode: str = "RGB", **options) -> bytes:
    return encode(picture(400, 300).effect_spread(3).convert(mode), quality=90, **options)


def pixels(data: bytes, size: int = 64) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photo_to_jpeg(data, MediaSettings(size)))))


def refuse(data: bytes, size: int):
    with pytest.raises(MediaError, match="damaged|cut short") as error:
        photo_to_jpeg(data, MediaSettings(size))
    assert error.value.kind == "damaged"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.2, 0.4, 0.95])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9", b"\0" * 50 + b"\xff\xd9", b"\xff\xd9" * 3])
def test_a_cut_jpeg_is_damaged_with_and_without_an_end_marker(kind, mode, share, end, size):
    data = photo(mode, **KINDS[kind])
    refuse(data[: int(len(data) * share)] + end, size)


@pytest.mark.parametrize("scans", range(1, 6))
def test_a_progressive_jpeg_cut_between_two_scans_is_damaged(scans):
    data = photo(progressive=True)
    starts = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xda"]
    assert len(starts) > scans
    end = (
        data.rindex(b"\xff\xc4", 0, starts[scans])
        if b"\xff\xc4" in data[starts[scans - 1] : starts[scans]]
        else starts[scans]
    )
    refuse(data[:end] + b"\xff\xd9", 64)


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_whose_middle_is_missing_is_damaged(kind):
    data = photo(**KINDS[kind])
    refuse(data[: len(data) // 2] + data[len(data) // 2 + 500 :], 64)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_stray_bytes_and_unknown_metadata_change_no_pixel(kind, mode):
    data = photo(mode, **KINDS[kind])
    frame = data.index(b"\xff\xdb")
    bad_icc = b"\xff\xe2" + struct.pack(">H", 40) + b"ICC_PROFILE\0\x09\x02" + bytes(24)
    unknown_jfif = data.replace(b"JFIF\0\1", b"JFIF\0\7", 1)
    variants = {
        "before a segment": data[:frame] + b"\0\0\0" + data[frame:],
        "before the end": data[:-2] + b"\0\1\2\3\4" + data[-2:],
        "after the end": data + b"junk" * 100,
        "without an end": data[:-2],
        "fill bytes": data[:frame] + b"\xff" * 9 + data[frame:],
        "icc": data[:frame] + bad_icc + data[frame:],
        "jfif": unknown_jfif,
        "all": unknown_jfif[:frame] + bad_icc + b"\0\0" + unknown_jfif[frame:-2] + b"\0\1\2" + data[-2:] + b"junk",
    }
    for size in (16, 64, 299):  # smaller than the photo, which would be stored as it is
        for name, variant in variants.items():
            np.testing.assert_array_equal(pixels(variant, size), pixels(data, size), err_msg=name)


def test_extraneous_bytes_hide_no_missing_data():
    data = photo(progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    tables = data.rindex(b"\xff\xc4", 0, second)
    stray = data[:tables] + b"\0\1\2\3" + data[tables:]
    np.testing.assert_array_equal(pixels(stray), pixels(data))
    refuse(stray[: int(len(stray) * 0.9)] + b"\xff\xd9", 64)


def test_parameters_without_meaning_in_a_baseline_scan_are_ignored():
    good = photo()
    data, scan = bytearray(good), good.index(b"\xff\xda")
    data[scan + 11 : scan + 14] = b"\0\0\0"
    np.testing.assert_array_equal(pixels(bytes(data)), pixels(good))


def test_colors_are_those_that_an_adobe_marker_names():
    rgb = encode(picture(400, 300), keep_rgb=True, quality=95)
    assert b"Adobe" in rgb
    np.testing.assert_array_equal(pixels(rgb[:-2] + b"\0\0\0" + rgb[-2:]), pixels(rgb))


def test_unusual_sampling_factors_are_read_and_checked():
    data = photo("CMYK", subsampling=2)  # TurboJPEG refuses it
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((85, 64), Image.Resampling.BICUBIC), int)
    assert np.abs(pixels(data).astype(int) - expected).mean() < 3
    for share in (0.3, 0.8):
        refuse(data[: int(len(data) * share)] + b"\xff\xd9", 64)


def test_a_jpeg_with_thousands_of_scans_is_refused_before_it_is_decoded():
    data = bytearray(photo(progressive=True))
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 13_000, 13_000)
    scan = bytes(data[data.rindex(b"\xff\xda") : -2])
    with pytest.raises(MediaError, match="scans") as error:
        photo_to_jpeg(bytes(data[:-2]) + scan * 500 + b"\xff\xd9", MediaSettings(64))
    assert error.value.kind == "too_large"
