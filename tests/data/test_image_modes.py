"""Range and transparency come from the file, by one rule for every depth, mode and form of a picture."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from capjax.data.image_modes import eight_bit_rgb, image_of
from capjax.data.photo import MediaError, MediaSettings, photo_to_jpeg, to_jpeg
from tests.helpers.pictures import encode, picture, png, png_chunk, png_rows

SETTINGS = MediaSettings(64, quality=100)
WHITE = 255


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photo_to_jpeg(data, SETTINGS))), int)


def twelve_bit_tiff(samples: np.ndarray, photometric: int = 1) -> bytes:
    """A TIFF file with two samples in three bytes."""
    pairs = samples.reshape(-1, 2).astype(int)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1)
    return tiff(samples.shape, packed.astype(np.uint8).tobytes(), bits=12, photometric=photometric)


def tiff(shape, strip: bytes, bits: int, photometric: int = 1, extra: dict | None = None) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    values = {256: shape[1], 257: shape[0], 258: bits, 259: 1, 262: photometric, 277: 1, 278: shape[0], 279: len(strip)}
    for tag, value in {**values, **(extra or {})}.items():
        tags[tag] = value
    tags[273] = 0  # Pillow adds the offset of what follows the tags
    return b"II*\0\x08\0\0\0" + tags.tobytes(8) + strip


def ramp(bits: int) -> np.ndarray:
    return np.linspace(0, 2**bits - 1, 64).round().astype(np.uint16)[None].repeat(48, 0)


def test_twelve_bit_gray_keeps_its_brightness():
    shown = pixels(twelve_bit_tiff(ramp(12)))
    assert np.abs(shown - (ramp(12) >> 4)[..., None]).max() < 4


def test_a_tiff_in_which_white_is_zero_is_not_a_negative():
    samples = tiff((48, 64), ramp(16).tobytes(), bits=16, photometric=0)
    assert np.abs(pixels(samples) - (255 - (ramp(16) >> 8))[..., None]).max() < 4


def test_floating_point_samples_are_scaled_from_the_range_that_the_file_gives():
    samples = np.linspace(-2, 6, 64, dtype=np.float32)[None].repeat(48, 0)
    extra = {339: 3, 340: -2.0, 341: 6.0}
    shown = pixels(tiff(samples.shape, samples.tobytes(), 32, extra=extra))
    assert np.abs(shown[0, :, 0] - np.linspace(0, 255, 64)).max() < 4
    with pytest.raises(MediaError, match="range"):
        photo_to_jpeg(tiff(samples.shape, samples.tobytes(), 32, extra={339: 3}), SETTINGS)
    with pytest.raises(MediaError, match="expected -2 to 5"):
        photo_to_jpeg(tiff(samples.shape, samples.tobytes(), 32, extra={**extra, 341: 5.0}), SETTINGS)


@pytest.mark.parametrize(("dtype", "sample_format"), [("<i2", 2), ("<i4", 2), ("<u4", 1)])
def test_signed_and_long_samples_are_refused_rather_than_guessed(dtype, sample_format):
    samples = ramp(10).astype(dtype)
    data = tiff(samples.shape, samples.tobytes(), samples.itemsize * 8, extra={339: sample_format})
    with pytest.raises(MediaError, match="16 bits|head"):
        photo_to_jpeg(data, SETTINGS)


@pytest.mark.parametrize("maxval", [1, 100, 255, 1000, 4095, 65535])
def test_the_brightest_sample_of_a_pgm_is_white(maxval):
    samples = np.linspace(0, maxval, 64).round().astype(int)[None].repeat(48, 0)
    data = b"P5\n64 48\n%d\n" % maxval + samples.astype(">u2" if maxval > 255 else "u1").tobytes()
    assert np.abs(pixels(data)[..., 0] - samples * 255 / maxval).max() < 4


@settings(max_examples=60, deadline=None)
@given(
    depth=st.sampled_from([1, 2, 4, 8, 16]), color=st.booleans(), seed=st.integers(0, 99), from_image=st.booleans(),
    interlaced=st.just(False),
)  # fmt: skip
def test_the_transparent_value_of_a_png_shows_white(depth, color, seed, from_image, interlaced):
    depth = max(depth, 8) if color else depth
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**depth, (4, 3 if color else 1))
    values[1] = values[0] ^ 1  # nearly the transparent value
    squares = values[rng.integers(0, 4, (3, 4))].repeat(16, 0).repeat(16, 1)
    transparent = png_chunk(b"tRNS", values[0].astype(">u2").tobytes())
    data = png(64, 48, depth, 2 if color else 0, png_rows(squares, depth), before=transparent)
    expected = squares >> (depth - 8) if depth >= 8 else squares * 255 // (2**depth - 1)
    expected = np.where((squares == values[0]).all(-1, keepdims=True), WHITE, expected)
    shown = np.asarray(
        Image.open(io.BytesIO(to_jpeg(Image.open(io.BytesIO(data)) if from_image else data, SETTINGS))), int
    )
    centers = shown[8::16, 8::16]
    assert np.abs(centers - expected[8::16, 8::16]).max() < 12


GRAY_MODES = ["L", "LA", "La", "PA", "I;16"]


@pytest.mark.parametrize("mode", [*GRAY_MODES, "1", "P", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_an_image_of_any_mode_gives_the_picture_that_pillow_shows(mode):
    original = picture(64, 48)
    if mode in ("La", "RGBa", "PA"):
        image = original.convert("RGBA" if mode == "RGBa" else "LA").convert(mode)
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(original.convert("L"), np.uint16) * 257)
    else:
        image = original.quantize(64) if mode == "P" else original.convert(mode)
    if mode in ("1", "P"):
        original = image.convert("RGB")
    expected = np.asarray(original.convert("L").convert("RGB") if mode in GRAY_MODES else original, int)
    shown = np.asarray(eight_bit_rgb(image), int)
    assert np.abs(shown - expected).mean() < 4
    stored = np.asarray(Image.open(io.BytesIO(to_jpeg(image, SETTINGS))), int)
    assert np.abs(stored - shown).mean() < 12


@pytest.mark.parametrize("mode", ["I", "F"])
def test_an_image_of_an_unknown_range_is_refused(mode):
    with pytest.raises(MediaError):
        to_jpeg(Image.new(mode, (64, 48), 70_000), SETTINGS)


def test_transparency_is_on_white_in_every_form():
    image = Image.new("RGBA", (64, 48), (10, 200, 30, 128))
    expected = [round(value * 128 / 255 + 255 * 127 / 255) for value in (10, 200, 30)]
    forms = [image, image.convert("RGBa"), np.asarray(image), encode(image, "PNG"), encode(image, "TIFF"),
             encode(image, "WEBP", lossless=True)]  # fmt: skip
    for form in forms:
        shown = np.asarray(Image.open(io.BytesIO(to_jpeg(form, SETTINGS))), int)
        assert np.abs(shown - expected).max() < 4


RGB = np.asarray(picture(64, 48))
GRAY = RGB[..., 1]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (RGB, RGB),
        (GRAY, GRAY),
        (GRAY[..., None], GRAY),
        (np.dstack([GRAY, np.full_like(GRAY, 255)]), GRAY),
        (np.dstack([RGB, np.zeros_like(GRAY)]), np.full_like(RGB, 255)),
        (RGB.astype(np.uint16) * 257, RGB),
        (RGB.astype(">u2") * 257, RGB),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float32), RGB),
        (GRAY > 100, (GRAY > 100) * 255),
        (RGB[::-1, ::-1], RGB[::-1, ::-1]),
        (np.asfortranarray(RGB), RGB),
    ],
    ids=["rgb", "gray", "one channel", "gray and alpha", "transparent", "uint16", "big-endian", "float64", "float32",
         "bool", "reversed", "fortran"],
)  # fmt: skip
def test_arrays_of_any_channels_and_samples_are_taken(array, expected):
    expected = expected if expected.ndim == 3 else np.dstack([expected] * 3)
    assert np.abs(np.asarray(eight_bit_rgb(image_of(array)), int) - expected).max() <= 1


@pytest.mark.parametrize(
    "array",
    [
        RGB.astype(np.int64), RGB.astype(np.float32), RGB / 255 * np.nan, RGB[None], RGB.transpose(2, 0, 1), RGB[:0],
        np.zeros((8, 8, 5), np.uint8), np.zeros(8, np.uint8), np.array("x"), np.array([[None]]), RGB.astype(complex),
        np.array(3),
    ],
)  # fmt: skip
def test_other_arrays_are_refused_with_what_is_expected(array):
    with pytest.raises(MediaError, match="expected|no pixels"):
        to_jpeg(array, SETTINGS)
