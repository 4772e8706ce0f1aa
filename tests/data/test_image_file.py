"""The cost of decoding is bounded before it is paid, and broken metadata is not a broken picture."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from capjax.data.media_formats import media_kind
from capjax.data.photo import MediaError, MediaSettings, photo_to_jpeg, to_jpeg
from tests.helpers.fuzzing import LIMIT_BYTES, LIMIT_SECONDS, run_cases
from tests.helpers.pictures import encode, picture, png, png_chunk, png_rows

SETTINGS = MediaSettings(64)
PIXELS = np.asarray(picture(64, 48))
ROWS = png_rows(PIXELS, 8)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def size24(width: int, height: int) -> bytes:
    return (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def lossless(width: int, height: int) -> bytes:
    return b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(20)


SIDE = 13_000
# Three pictures in its header, and entries of two.
MPF = b"MPF\0II*\0\x08\0\0\0\3\0" + struct.pack(
    "<HHI4sHHIIHHIII", 0xB000, 7, 4, b"0100", 0xB001, 4, 1, 3, 0xB002, 7, 32, 50, 0
) + bytes(32)  # fmt: skip
GIF_FRAME = b"," + struct.pack("<HHHH", 0, 0, 65_535, 65_535) + b"\0" + b"\2\2\x4c\1\0;"
BOMBS = {
    "webp, lossless": riff((b"VP8L", lossless(SIDE, SIDE))),
    "webp, lossy": riff((b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", SIDE, SIDE) + bytes(20))),
    "webp, canvas": riff((b"VP8X", bytes([2, 0, 0, 0]) + size24(SIDE, SIDE)), (b"VP8L", lossless(8, 8))),
    "webp, frame": riff(
        (b"VP8X", bytes([2, 0, 0, 0]) + size24(64, 64)),
        (b"ANIM", bytes(6)),
        (b"ANMF", bytes(6) + size24(SIDE, SIDE) + bytes(4) + b"VP8L" + struct.pack("<I", 26) + lossless(SIDE, SIDE)),
    ),
    "png": png(SIDE * 2, SIDE * 2, 8, 6, bytes(1000)),
    "gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + bytes(6) + GIF_FRAME,
    "bmp, run lengths": b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 1078, 40, 170_000_000, 1, 1, 8, 1, 0, 0, 0, 256, 0)
    + bytes(1024) + b"\0\2\xff\xff" * 50,
    "tiff, tile": b"II*\0\x08\0\0\0" + struct.pack("<H", 9)
    + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in (
        (256, 64), (257, 64), (258, 8), (259, 32946), (262, 1), (277, 1), (322, 65_520), (323, 65_520)))
    + struct.pack("<HHII", 324, 4, 1, 8) + bytes(4),
}  # fmt: skip


def convert(data: bytes) -> str:
    """The kind of the error, or an empty text; at the top of the module for `run_cases`."""
    try:
        photo_to_jpeg(data, SETTINGS)
    except MediaError as error:
        return error.kind
    return ""


def test_small_files_that_ask_for_gigabytes_are_refused_by_their_headers():
    for name, outcome in zip(BOMBS, run_cases(convert, BOMBS.values()), strict=True):
        assert not outcome.error, name
        assert outcome.value == "too_large", name
        assert outcome.memory < 2**26, name
        assert outcome.seconds < 1, name


COSTLY = {
    "jpeg, segments": b"\xff\xd8" + b"\xff\xe0\0\2" * 3_000_000,
    "png, chunks": png(64, 48, 8, 2, ROWS, before=png_chunk(b"teST", b"") * 2_000_000),
    "png, bytes of pixels": png(64, 48, 8, 2, b"").replace(
        png_chunk(b"IDAT", zlib.compress(b"")), png_chunk(b"IDAT", b"\0") * 2_000_000
    ),
    "gif, blocks": b"GIF89a" + struct.pack("<HH", 64, 48) + b"\0\0\0" + b"!\xfe" + b"\1a" * 20_000_000,
    "gif, comment": b"GIF89a" + struct.pack("<HH", 64, 48) + b"\0\0\0!\xfe" + (b"\xff" + b"a" * 255) * 400_000,
    "gif, extensions": b"GIF89a" + struct.pack("<HH", 64, 48) + b"\0\0\0" + b"!\xfe\0" * 10_000_000,
    "webp, chunks": riff((b"VP8X", bytes([2, 0, 0, 0]) + size24(64, 64)))[:-1] + b"none\0\0\0\0" * 5_000_000,
    "pbm, text": b"P1\n13000 13000\n" + b"0" * 30_000_000,
    "ppm, text": b"P3\n8000 8000\n255\n" + b"0 " * 30_000_000,
    "pgm, range": b"P5\n8000 8000\n4095\n" + bytes(2 * 8000 * 8000),
    "bmp, run lengths": b"BM"
    + struct.pack("<IIIIiiHHIIIIII", 0, 0, 1078, 40, 13_000, 13_000, 1, 8, 1, 0, 0, 0, 256, 0)
    + bytes(1024)
    + b"\1\1" * 20_000_000,
}


def read(data: bytes) -> str:
    """As `convert`, with the search for further frames."""
    media_kind(data)
    return convert(data)


def test_files_of_many_small_parts_do_not_take_long():
    for name, outcome in zip(COSTLY, run_cases(read, COSTLY.values()), strict=True):
        assert not outcome.error, (name, outcome.error)
        assert outcome.seconds < LIMIT_SECONDS, name
        assert outcome.memory < LIMIT_BYTES, name


@pytest.mark.parametrize("maxval", [1, 5, 200, 255, 256, 1000, 4095, 65_534, 65_535])
@pytest.mark.parametrize("kind", [b"P5", b"P6"])
def test_pnm_files_of_any_range_have_the_pixels_of_pillow(kind, maxval):
    samples = np.random.default_rng(0).integers(0, maxval + 1, 48 * 64 * (3 if kind == b"P6" else 1))
    samples[:9] = maxval
    data = kind + b"\n64 48\n%d\n" % maxval + samples.astype(">u2" if maxval > 255 else np.uint8).tobytes()
    image = Image.open(io.BytesIO(data))
    assert photo_to_jpeg(data, SETTINGS) == to_jpeg(
        np.asarray(image.convert("RGB") if kind == b"P6" else gray(image)), SETTINGS
    )
    with pytest.raises(MediaError):
        photo_to_jpeg(data[:-1], SETTINGS)


def gray(image: Image.Image) -> np.ndarray:
    samples = np.asarray(image)
    return samples.astype(np.uint16) if image.mode == "I" else samples


@pytest.mark.parametrize("size", [2 * 2**20, 2**26])
@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_compressed_text_of_any_size_is_passed_over(name, at_end, size):
    heads = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}
    text = png_chunk(name, heads[name] + zlib.compress(bytes(size)))
    data = png(64, 48, 8, 2, ROWS, after=text) if at_end else png(64, 48, 8, 2, ROWS, before=text)
    assert photo_to_jpeg(data, SETTINGS) == photo_to_jpeg(png(64, 48, 8, 2, ROWS), SETTINGS)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "name", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"pHYs", b"gAMA", b"cHRM", b"tIME", b"eXIf", b"sRGB"]
)
@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 30])
def test_damaged_metadata_of_a_png_changes_no_pixel(name, at_end, content):
    for chunk in (png_chunk(name, content), png_chunk(name, content)[:-1] + b"\7"):
        data = png(64, 48, 8, 2, ROWS, after=chunk) if at_end else png(64, 48, 8, 2, ROWS, before=chunk)
        assert photo_to_jpeg(data, SETTINGS) == photo_to_jpeg(png(64, 48, 8, 2, ROWS), SETTINGS)


def test_the_orientation_survives_other_metadata_that_are_damaged():
    exif = Image.Exif()
    exif[0x0112] = 6
    for at_end in (False, True):
        text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21)))
        where = {"after": text} if at_end else {"before": text}
        bad = png(
            64, 48, 8, 2, ROWS, **{**where, "before": png_chunk(b"eXIf", exif.tobytes()) + where.get("before", b"")}
        )
        good = encode(picture(64, 48), "PNG", exif=exif)
        assert photo_to_jpeg(bad, SETTINGS) == photo_to_jpeg(good, SETTINGS)


@pytest.mark.parametrize(
    "segment",
    [
        b"MPF\0", b"MPF\0MM\0*\0\0\0\x08\xff\xff", MPF, b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"FPXR\0",
        b"ICC_PROFILE\0\1\2", b"Photoshop 3.0\0\0008BIM\x04\x04",
    ],
)  # fmt: skip
@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEE])
def test_damaged_metadata_of_a_jpeg_changes_no_pixel(segment, marker):
    data = encode(picture(200, 150), quality=90)
    head = data.index(b"\xff\xdb")
    broken = data[:head] + bytes([0xFF, marker]) + struct.pack(">H", len(segment) + 2) + segment + data[head:]
    assert photo_to_jpeg(broken, SETTINGS) == photo_to_jpeg(data, SETTINGS)
    Image.open(io.BytesIO(photo_to_jpeg(broken, MediaSettings(256)))).load()


@pytest.mark.parametrize("size", [(64, 48), (300, 200), (1, 9), (9, 1), (5, 2)])
@pytest.mark.parametrize("color", [0, 2, 6])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_png_whose_compressed_data_end_too_soon_is_damaged(color, share, size):
    channels = {0: 1, 2: 3, 6: 4}[color]
    rows = png_rows(np.full((size[1], size[0], channels), 200, np.uint8), 8)
    assert photo_to_jpeg(png(*size, 8, color, rows), SETTINGS)
    assert photo_to_jpeg(png(*size, 8, color, bytes(len(rows))), SETTINGS), "black rows are a picture"
    with pytest.raises(MediaError, match="before its last row|truncated") as error:
        photo_to_jpeg(png(*size, 8, color, rows[: int(len(rows) * share)]), SETTINGS)
    assert error.value.kind == "damaged"


@pytest.mark.parametrize("size", [(64, 48), (1, 1), (3, 5), (17, 9), (8, 1)])
def test_an_interlaced_png_is_complete_with_all_its_passes(size):
    width, height = size
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    for value in (0, 200):
        samples = np.full((height, width, 3), value, np.uint8)
        rows = b"".join(png_rows(samples[y::dy, x::dx], 8) for x, y, dx, dy in passes if x < width and y < height)
        assert photo_to_jpeg(png(width, height, 8, 2, rows, interlaced=True), SETTINGS)
        with pytest.raises(MediaError, match="before its last row|decoded"):
            photo_to_jpeg(png(width, height, 8, 2, rows[:-1], interlaced=True), SETTINGS)


def test_comments_of_a_gif_are_passed_over():
    plain = encode(picture(64, 48).quantize(64), "GIF", transparency=3)
    commented = encode(picture(64, 48).quantize(64), "GIF", transparency=3, comment=b"a comment " * 999, loop=0)
    assert len(commented) > len(plain) + 9000
    assert photo_to_jpeg(commented, SETTINGS) == photo_to_jpeg(plain, SETTINGS)


def test_a_tiff_whose_jpeg_strip_is_cut_is_damaged():
    image = picture(200, 160).effect_spread(3)
    data = encode(image, "TIFF", compression="jpeg", quality=90)
    assert photo_to_jpeg(data, SETTINGS)
    tags = Image.open(io.BytesIO(data)).tag_v2
    start, length = tags[273][0], tags[279][0]
    half = data[: start + length // 2] + b"\xff\xd9" + bytes(length - length // 2 - 2) + data[start + length :]
    with pytest.raises(MediaError, match="cut short") as error:
        photo_to_jpeg(half, SETTINGS)
    assert error.value.kind == "damaged"


def test_heic_photos_are_read_with_the_extra_and_name_it_without(monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    original = picture(200, 120)
    exif = Image.Exif()
    exif[0x0112] = 6  # without effect: the format has rotations of its own, which libheif applies
    data = encode(original, "HEIF", quality=95, exif=exif)
    shown = Image.open(io.BytesIO(photo_to_jpeg(data, SETTINGS)))
    expected = original.resize(shown.size, Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(shown, int) - np.asarray(expected, int)).mean() < 5
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(MediaError, match=r"pip install 'capjax\[heic\]'"):
        photo_to_jpeg(data, SETTINGS)
