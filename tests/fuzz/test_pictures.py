"""Damaged and hostile pictures: no exception but MediaError, no hang, little memory, every item stored or reported."""

import io
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capjax.data.media_reader import MediaReader
from capjax.data.photo import MediaError, MediaSettings
from capjax.data.record import Record, RecordCaption
from data_prep.media import Storage
from data_prep.readers.item import Item, Problem
from data_prep.shards import Shard, make_records
from tests.helpers.fuzzing import LIMIT_BYTES, LIMIT_SECONDS, count_cases, damaged, run_cases
from tests.helpers.pictures import encode, picture, png, png_chunk, png_rows

READER = MediaReader(MediaSettings(64), 2.0, 8)
# Bytes of a pixel in the decoder's output.
PIXEL_BYTES = 4


def intact() -> list[bytes]:
    """A file of each format, mode and kind of compression."""
    source = picture(96, 64, 1).effect_spread(2)
    files = [
        *(encode(source, "JPEG", quality=80, **options) for options in (
            {}, {"progressive": True}, {"restart_marker_blocks": 3}, {"subsampling": 0}, {"keep_rgb": True})),
        *(encode(source.convert(mode), "JPEG", quality=80) for mode in ("L", "CMYK")),
        encode(source, "MPO", save_all=True, append_images=[source]),
        *(encode(source.convert(mode), "PNG") for mode in ("1", "L", "LA", "RGB", "RGBA")),
        encode(source.quantize(16), "PNG", transparency=3),
        encode(Image.fromarray(np.asarray(source.convert("L"), np.uint16) * 257), "PNG"),
        *(encode(source.convert(mode), "TIFF", compression=compression) for mode in ("L", "RGB", "RGBA", "CMYK")
          for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
          if (mode, compression) not in (("RGBA", "jpeg"), ("CMYK", "jpeg"))),
        *(encode(source, "WEBP", lossless=lossless) for lossless in (False, True)),
        encode(source.convert("RGBA"), "WEBP"),
        *(encode(source.convert(mode), "BMP") for mode in ("1", "L", "RGB")),
        *(encode(source.convert(mode), "PPM") for mode in ("1", "L", "RGB")),
        encode(source.quantize(32), "GIF"),
        encode(source, "AVIF", quality=60),
        *(encode(source, kind, save_all=True, append_images=[source.rotate(90)], duration=100)
          for kind in ("GIF", "PNG", "WEBP", "AVIF", "TIFF")),
        encode(source, quality=80) + encode(source.rotate(180), quality=80),
    ]  # fmt: skip
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
        files.append(encode(source, "HEIF", quality=60))
    exif = Image.Exif()
    exif[0x0112] = 6
    return files + [encode(source, kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]


def pictures(count: int, seed: int) -> Iterator[bytes]:
    """Damaged files, and now and then one made to cost much."""
    rng, files = np.random.default_rng(seed), intact()
    for _ in range(count):
        yield hostile(rng) if rng.random() < 0.05 else damaged(files[rng.integers(len(files))], rng, files)


def hostile(rng: np.random.Generator) -> bytes:
    """A small file that asks for many pixels, frames, scans or bytes of text."""
    width, height = (int(2 ** rng.uniform(0, 16)) for _ in range(2))
    match rng.integers(0, 7):
        case 0:
            bits = min(width, 16_384) - 1 | (min(height, 16_384) - 1) << 14
            data = b"VP8L" + struct.pack("<I", 26) + b"\x2f" + struct.pack("<I", bits) + rng.bytes(5) + bytes(16)
            return b"RIFF" + struct.pack("<I", len(data) + 4) + b"WEBP" + data
        case 1:
            depth, color = [(1, 0), (8, 0), (8, 2), (8, 3), (8, 6), (16, 0), (16, 6)][rng.integers(7)]
            palette = png_chunk(b"PLTE", bytes(768)) if color == 3 else b""
            return png(width, height, depth, color, bytes(10**6), before=palette, interlaced=bool(rng.integers(2)))
        case 2:
            text = png_chunk(
                [b"zTXt", b"iCCP"][rng.integers(2)], b"a\0\0" + zlib.compress(bytes(2 ** int(rng.integers(16, 26))))
            )
            return png(8, 8, 8, 0, png_rows(np.zeros((8, 8)), 8), **{rng.choice(["before", "after"]): text})
        case 3:
            lzw = bytes([2, 2, 0x4C, 1, 0])
            frame = b"," + struct.pack("<HHHH", 0, 0, width - 1, height - 1) + b"\0" + lzw
            return (
                b"GIF89a"
                + struct.pack("<HH", width - 1, height - 1)
                + b"\x80\0\0"
                + bytes(6)
                + frame * int(rng.integers(1, 9))
                + b";"
            )
        case 4:
            data = bytearray(encode(picture(32, 32), progressive=True))
            frame = data.index(b"\xff\xc2")
            data[frame + 5 : frame + 9] = struct.pack(">HH", min(height, 65_500), min(width, 65_500))
            return (
                bytes(data[:-2])
                + bytes(data[data.rindex(b"\xff\xda") : -2]) * int(2 ** rng.uniform(0, 12))
                + b"\xff\xd9"
            )
        case 5:
            header = struct.pack("<IIIIiiHHIIIIII", 0, 0, 1078, 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
            return b"BM" + header + bytes(1024) + b"\0\2\xff\xff" * int(rng.integers(1, 999))
        case _:
            return b"P%d\n%d %d\n%d\n" % (rng.integers(1, 7), width, height, rng.integers(1, 65_536)) + rng.bytes(1000)


def read(data: bytes) -> tuple[str, int]:
    """(the kind of the error, number of pixels of the file by its header); at the top of the module for `run_cases`."""
    try:
        width, height = Image.open(io.BytesIO(data)).size
    except Exception:
        width = height = 0
    try:
        sample = READER.read(data)
    except MediaError as error:
        return error.kind, width * height
    for frame in sample.frames:
        image = Image.open(io.BytesIO(frame))
        image.load()
        assert (image.format, image.mode) == ("JPEG", "RGB")
    return "", width * height


@pytest.mark.parametrize("part", range(4))
def test_damaged_pictures_are_read_or_refused_within_their_limits(part):
    kinds: Counter[str] = Counter()
    count = count_cases(160, 10_000) // 4
    for outcome in run_cases(read, pictures(count, seed=part)):
        assert not outcome.error, f"case {outcome.case} of seed {part}: {outcome.error}"
        kind, pixels = outcome.value
        kinds[kind] += 1
        assert outcome.seconds < LIMIT_SECONDS, f"case {outcome.case} of seed {part}"
        assert outcome.memory < LIMIT_BYTES + PIXEL_BYTES * pixels, f"case {outcome.case} of seed {part}"
    assert sum(kinds.values()) == count
    assert kinds[""] > count / 10, "some damage is harmless, or the cases prove little"
    assert kinds["damaged"] > count / 10


def test_every_item_of_a_dataset_is_stored_or_reported(tmp_path: Path):
    items = []
    for number, data in enumerate(pictures(count_cases(40, 2000), seed=99)):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data)
        is_video = number % 3 == 0
        items.append(Item(str(number), path, "train", (RecordCaption("x"),), where=f"a.json:{number}", video=is_video))
    shard = Shard(tmp_path / "s", tmp_path / "r", "f", tmp_path / "frames", tuple(items), Storage(MediaSettings(64)))
    results = list(make_records(shard, lambda count: None))
    stored = [result.id for result in results if isinstance(result, Record)]
    reported = [result.id for result in results if isinstance(result, Problem) and result.costs != "nothing"]
    assert sorted(stored + reported) == sorted(item.id for item in items)
