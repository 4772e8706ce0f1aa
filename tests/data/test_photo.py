"""Photos of every kind become upright RGB JPEGs; what is no photo is refused by name."""

import io
import os
import time

import numpy as np
import pytest
from PIL import Image, ImageOps

from capjax.data.photo import MAX_PIXELS, MediaError, MediaSettings, photo_to_jpeg, read_file
from tests.helpers.pictures import encode, picture, png

SETTINGS = MediaSettings(size=64)


def decoded(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    image.load()
    return image


def difference(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 95}),
        ("JPEG", "RGB", {"quality": 95, "progressive": True}),
        ("JPEG", "CMYK", {"quality": 95}),
        ("PNG", "RGB", {}),
        ("PNG", "P", {}),
        ("GIF", "P", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("TIFF", "RGB", {}),
        ("TIFF", "CMYK", {}),
        ("BMP", "RGB", {}),
        ("PPM", "RGB", {}),
    ],
)
def test_every_format_shows_the_same_picture(kind, mode, options):
    original = picture(200, 120)
    source = original.quantize(256) if mode == "P" else original.convert(mode)
    result = decoded(photo_to_jpeg(encode(source, kind, **options), SETTINGS))
    assert result.size == (107, 64)
    assert difference(result, original.resize((107, 64), Image.Resampling.BICUBIC)) < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_gray_becomes_rgb_of_three_equal_channels(kind):
    result = np.asarray(decoded(photo_to_jpeg(encode(picture(40, 40).convert("L"), kind), SETTINGS)), int)
    assert np.abs(result - result[..., :1]).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_gray_keeps_its_brightness(kind):
    ramp = np.linspace(0, 65535, 64)[None].repeat(48, 0).astype(np.uint16)
    result = np.asarray(decoded(photo_to_jpeg(encode(Image.fromarray(ramp), kind), SETTINGS)), int)
    assert np.abs(result[..., 0] - (ramp >> 8)).max() < 6


def test_sixteen_bit_color_keeps_its_colors():
    pixels = np.asarray(picture(48, 48), np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    result = decoded(photo_to_jpeg(png(48, 48, 16, 2, rows), SETTINGS))
    assert difference(result, picture(48, 48)) < 3


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA")])
def test_transparency_is_put_on_white(kind, mode):
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 16, 32))
    result = np.asarray(decoded(photo_to_jpeg(encode(image.convert(mode), kind, lossless=True), SETTINGS)), int)
    assert result[:, :12].max() < 40
    assert result[:, 20:].min() > 215


def test_palette_transparency_is_put_on_white():
    image = Image.new("P", (32, 32), 0)
    image.putpalette([0, 0, 0, 200, 30, 30])
    image.paste(1, (0, 0, 16, 32))
    result = np.asarray(decoded(photo_to_jpeg(encode(image, "GIF", transparency=0), SETTINGS)), int)
    assert result[:, 20:].min() > 215


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(decoded(photo_to_jpeg(data, SETTINGS)), int)[16, 16].argmax() == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [64, 20])
def test_exif_orientation_is_applied(kind, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    data = encode(picture(60, 40), kind, exif=exif, **quality)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    result = decoded(photo_to_jpeg(data, MediaSettings(size=size)))
    assert min(result.size) == min(size, 40)
    assert difference(result, upright.resize(result.size, Image.Resampling.BICUBIC)) < 4
    assert result.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}, {"subsampling": 0}])
def test_a_small_jpeg_keeps_its_bytes(options):
    data = encode(picture(90, 64), **options)
    assert photo_to_jpeg(data, SETTINGS) == data


@pytest.mark.parametrize(
    "data",
    [
        encode(picture(90, 65)),  # a pixel too large
        encode(picture(60, 40).convert("L")),
        encode(picture(60, 40).convert("CMYK")),
        encode(picture(60, 40), "PNG"),
        encode(picture(60, 40)) + bytes(100_000),  # mostly not the picture
    ],
    ids=["large", "gray", "cmyk", "png", "junk"],
)
def test_other_files_are_written_anew(data):
    assert photo_to_jpeg(data, SETTINGS) != data


@pytest.mark.parametrize(("width", "height"), [(64, 64), (640, 480), (333, 1000), (65, 4000), (1, 300), (7, 5)])
def test_the_short_side_is_scaled_and_never_enlarged(width, height):
    result = decoded(photo_to_jpeg(encode(picture(width, height), "PNG"), SETTINGS))
    assert min(result.size) == min(64, width, height)
    assert result.width / result.height == pytest.approx(width / height, rel=0.02)


def test_reduced_decoding_shows_the_same_picture():
    data = encode(picture(1600, 1200), quality=95)
    full = Image.open(io.BytesIO(data)).resize((85, 64), Image.Resampling.BICUBIC)
    assert difference(decoded(photo_to_jpeg(data, SETTINGS)), full) < 2


def test_the_same_photo_gives_the_same_bytes():
    data = encode(picture(200, 100), "PNG")
    assert photo_to_jpeg(data, SETTINGS) == photo_to_jpeg(data, SETTINGS)


@pytest.mark.parametrize("size", [(90, 60), (600, 400)])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_truncated_file_is_refused(kind, share, size):
    data = encode(picture(*size, 1).effect_spread(3), kind)
    with pytest.raises(MediaError) as error:
        photo_to_jpeg(data[: int(len(data) * share)], SETTINGS)
    assert error.value.kind in ("damaged", "not_an_image")


@pytest.mark.parametrize("data", [b"GIF89a", b"hello, world", bytes(1000), b"\xff\xd8\xff\xe0", b"%PDF-1.4", b"<svg/>"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(MediaError) as error:
        photo_to_jpeg(data, SETTINGS)
    assert error.value.kind in ("damaged", "not_an_image")


def test_random_damage_never_gives_another_exception():
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        good = np.frombuffer(encode(picture(80, 60), kind), np.uint8)
        for _ in range(40):
            bad = good.copy()
            places = rng.integers(0, len(bad), rng.integers(1, 12))
            bad[places] = rng.integers(0, 256, len(places))
            try:
                decoded(photo_to_jpeg(bad.tobytes(), SETTINGS))
            except MediaError as error:
                assert error.kind


def test_a_bomb_is_refused_by_its_header():
    start = time.process_time()
    with pytest.raises(MediaError, match="pixels") as error:
        photo_to_jpeg(png(30_000, 30_000, 8, 2, bytes(1000)), SETTINGS)
    assert error.value.kind == "too_large"
    assert time.process_time() - start < 0.1


def test_the_limit_of_pixels_is_the_documented_one():
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(MediaError, match=f"{MAX_PIXELS:,}"):
        photo_to_jpeg(png(side, side, 8, 0, bytes(100)), SETTINGS)


def test_a_picture_too_long_for_a_jpeg_is_refused():
    with pytest.raises(MediaError) as error:
        photo_to_jpeg(png(70_000, 1, 8, 0, bytes(70_001)), SETTINGS)
    assert error.value.kind == "too_large"


def test_files_are_judged_before_they_are_read(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2**30)  # no disk is used
    kinds = {}
    for name in ("empty", "folder", "pipe", "huge", "missing"):
        with pytest.raises(MediaError, match=name) as error:
            read_file(tmp_path / f"{name}.jpg")
        kinds[name] = error.value.kind
    assert kinds == {
        "empty": "empty_file", "folder": "not_an_image", "pipe": "not_an_image", "huge": "too_large",
        "missing": "missing_photo",
    }  # fmt: skip


@pytest.mark.parametrize("bad", [{"size": 0}, {"quality": 0}, {"quality": 101}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        MediaSettings(**bad)
