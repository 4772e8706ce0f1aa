"""JPEG bytes to pixels in TensorFlow, against what prediction makes of the same files."""

import functools
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from capjax.data.photo import MAX_PIXELS, MediaError, MediaSettings, photo_to_jpeg
from capjax.data.transforms import view

tf = pytest.importorskip("tensorflow")

from capjax.export.jpeg import decode_jpegs, orientation  # noqa: E402


def drawn(height: int, width: int, *, mode: str = "RGB", turn: int = 1, order: str = "<", quality: int = 90) -> bytes:
    """A smooth picture with some edges, as a JPEG file."""
    rng = np.random.default_rng(height * width)
    small = Image.fromarray(rng.integers(0, 256, (7, 9, 3)).astype(np.uint8))
    image = small.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.array(image)
    pixels[: height // 3, : width // 4] = (250, 20, 30)
    exif = Image.Exif()
    exif.endian = order
    if turn != 1:
        exif[0x010F], exif[0x0112] = "a camera", turn
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", quality=quality, exif=exif)
    return file.getvalue()


@functools.cache
def decoder(size: int, settings: MediaSettings, **options):
    """`decode_jpegs` as a graph, which is how exports run it."""
    spec = tf.TensorSpec([None], tf.string)
    return tf.function(lambda jpegs: decode_jpegs(jpegs, size, settings, **options), [spec], autograph=False)


def seen(jpegs: list[bytes], size: int, settings: MediaSettings, **options) -> np.ndarray:
    pixels, errors = decoder(size, settings, **options)(tf.constant(jpegs))
    assert not any(errors.numpy())
    return pixels.numpy().astype(int)


def errors_of(jpegs: list[bytes], **options) -> list[str]:
    """The errors of files, whose pixels are black where there is one."""
    pixels, errors = decoder(32, MediaSettings(256), **options)(tf.constant(jpegs))
    errors = [error.decode() for error in errors.numpy()]
    assert [not image.any() for image in pixels.numpy()] == [bool(error) for error in errors]
    return errors


def expected(jpeg: bytes, size: int, settings: MediaSettings) -> np.ndarray:
    return view(photo_to_jpeg(jpeg, settings), size).astype(int)


@pytest.mark.parametrize("shape", [(200, 150), (224, 224), (97, 301), (255, 256), (31, 40), (256, 700)])
@pytest.mark.parametrize("size", [224, 64, 16])
def test_small_photos_are_the_same_to_the_pixel(shape, size):
    settings = MediaSettings(256)
    jpeg = drawn(*shape)
    assert photo_to_jpeg(jpeg, settings) == jpeg
    np.testing.assert_array_equal(seen([jpeg], size, settings)[0], expected(jpeg, size, settings))


@pytest.mark.parametrize("shape", [(600, 800), (480, 270), (1200, 1700), (257, 900), (2300, 2101)])
def test_large_photos_are_shrunk_to_the_same_pixels(shape):
    settings = MediaSettings(256)
    jpeg = drawn(*shape)
    np.testing.assert_array_equal(seen([jpeg], 224, settings)[0], expected(jpeg, 224, settings))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_photos_are_turned_upright(turn, order):
    settings = MediaSettings(256)
    for jpeg in (drawn(150, 200, turn=turn, order=order), drawn(500, 400, turn=turn, order=order)):
        assert int(orientation(tf.constant(jpeg))) == turn
        np.testing.assert_array_equal(seen([jpeg], 64, settings)[0], expected(jpeg, 64, settings))


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03"]
)
def test_a_damaged_exif_block_says_nothing(exif):
    jpeg = drawn(40, 40)
    assert int(orientation(tf.constant(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + jpeg[2:]))) == 1


def test_gray_photos_become_rgb():
    settings, jpeg = MediaSettings(256), drawn(120, 160, mode="L")
    np.testing.assert_array_equal(seen([jpeg], 64, settings)[0], expected(jpeg, 64, settings))


def test_printers_colors_become_rgb_nearly_alike():
    settings, jpeg = MediaSettings(256), drawn(120, 160, mode="CMYK")
    apart = np.abs(seen([jpeg], 64, settings)[0] - expected(jpeg, 64, settings))
    assert apart.mean() < 2


def test_a_batch_may_have_gaps_where_they_are_allowed():
    settings, jpeg = MediaSettings(256), drawn(50, 60)
    both = seen([b"", jpeg], 32, settings, allow_empty=True)
    assert not both[0].any()
    np.testing.assert_array_equal(both[1], seen([jpeg], 32, settings)[0])
    assert errors_of([b"", jpeg]) == ["no bytes", ""]


def in_format(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("data", [b"no picture", b"\xff", *map(in_format, ("PNG", "GIF", "WEBP", "BMP", "TIFF"))])
def test_what_is_no_jpeg_is_an_error(data):
    assert errors_of([data, drawn(50, 60)]) == ["not a JPEG file; convert it to JPEG", ""]


@pytest.mark.parametrize("data", [b"\xff\xd8\xff\xe0", drawn(300, 300)[:2000], drawn(600, 900)[:-2000]])
def test_a_jpeg_that_is_cut_short_is_an_error(data):
    good = drawn(50, 60)
    assert errors_of([good, data, good])[::2] == ["", ""]
    assert errors_of([data]) == ["a damaged or incomplete JPEG file; copy it again, or save it anew"]


def claimed(height: int, width: int) -> bytes:
    """A JPEG file whose header claims a size."""
    jpeg = drawn(40, 40)
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + jpeg[at + 4 :]


def test_files_are_as_large_as_capjax_reads(monkeypatch):
    with pytest.raises(MediaError, match="too_large|pixels by its header"):
        photo_to_jpeg(claimed(20_000, 20_000), MediaSettings(256))
    (error,) = errors_of([claimed(20_000, 20_000)])
    assert error == f"400000000 pixels; at most {MAX_PIXELS:,} are decoded"
    jpeg = drawn(300, 300)
    monkeypatch.setattr("capjax.export.jpeg.MAX_FILE_BYTES", len(jpeg))
    _, errors = decode_jpegs(tf.constant([jpeg, jpeg + b"\0"]), 32, MediaSettings(256))
    assert errors.numpy().tolist() == [b"", f"{len(jpeg) + 1} bytes; at most {len(jpeg):,} are read".encode()]


def test_no_files_have_no_pixels():
    pixels, errors = decoder(32, MediaSettings(256))(tf.constant([], tf.string))
    assert pixels.shape == (0, 32, 32, 3) and errors.shape == (0,)


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_files_harm_no_other(data):
    good = drawn(150, 200)
    start = data.draw(st.integers(0, len(good)))
    junk = data.draw(st.binary(max_size=20))
    damaged = good[:start] + junk + good[start + data.draw(st.integers(0, 40)) :]
    pixels, errors = decoder(32, MediaSettings(256))(tf.constant([damaged, good, damaged]))
    np.testing.assert_array_equal(pixels[1], view(photo_to_jpeg(good, MediaSettings(256)), 32))
    assert errors[1] == b"" and errors[0] == errors[2]
