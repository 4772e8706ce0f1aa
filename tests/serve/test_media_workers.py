"""Processes that read uploaded photos: limits, and files that hang or end their decoder."""

import asyncio
import struct
import zlib

import pytest
from PIL import Image

from capjax.data.media_reader import MediaReader, MediaSample
from capjax.data.photo import MediaError, MediaSettings
from capjax.serve import media_workers
from capjax.serve.media_workers import MediaWorkers
from capjax.serve.settings import ServeSettings
from tests.helpers import hostile_decoders
from tests.helpers.hostile_decoders import HOSTILE
from tests.helpers.pictures import encode, picture, png_chunk

READER = MediaReader(MediaSettings(64), 2.0, 8)
SETTINGS = ServeSettings(photo_seconds=2.0, max_pixels=100_000, worker_bytes=2**31)


@pytest.fixture(scope="module")
def lost():
    return []


@pytest.fixture(scope="module")
def workers(lost):
    workers = MediaWorkers(SETTINGS, lost.append)
    workers.start()
    yield workers
    workers.close()


def read(workers: MediaWorkers, *files: bytes) -> list:
    """The samples or errors of photos that are read at the same time."""

    async def gather():
        return await asyncio.gather(*(workers.read_photo(data, READER) for data in files), return_exceptions=True)

    return asyncio.run(gather())


def test_a_photo_is_read_as_in_process(workers):
    for data in (encode(picture(120, 80)), encode(picture(80, 120), "PNG")):
        [sample] = read(workers, data)
        expected = READER.read(data)
        assert isinstance(sample, MediaSample)
        assert sample.frames == expected.frames


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ""), (b"no photo", ""), (encode(picture(120, 80))[:200], "damaged"),
        (encode(picture(1000, 101)), "too_large"),
        (encode(picture(64, 64), "GIF", save_all=True, append_images=[picture(64, 64, 1)]), "not_a_photo"),
    ],
)  # fmt: skip
def test_a_photo_that_cannot_be_read_has_the_kind_of_its_error(workers, data, kind):
    [error] = read(workers, data)
    assert isinstance(error, MediaError)
    assert error.kind == kind if kind else error.kind


def test_a_bomb_is_refused_before_it_is_decoded(workers):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(10**7))) + png_chunk(b"IEND", b"")
    [error] = read(workers, bomb)
    assert error.kind == "too_large"


@pytest.mark.parametrize(
    ("decoder", "kind"),
    [("hang", "too_slow"), *((name, "decoder_failed") for name in ("crash", "leave", "exhaust_memory", "fail"))],
)  # fmt: skip
def test_a_file_that_harms_its_decoder_costs_its_own_answer_only(workers, lost, monkeypatch, decoder, kind):
    monkeypatch.setattr(media_workers, "_read_photo", getattr(hostile_decoders, decoder))
    good = encode(picture(120, 80))
    lost.clear()
    results = read(workers, good, good + HOSTILE, good, good + HOSTILE, good)
    assert [isinstance(result, MediaSample) for result in results] == [True, False, True, False, True]
    assert {results[1].kind, results[3].kind} == {kind}
    assert "/" not in str(results[1])
    ends_the_process = decoder in ("hang", "crash", "leave")
    assert lost == [kind] * (2 if ends_the_process else 0)
    assert isinstance(read(workers, good)[0], MediaSample), "the processes were replaced"


def test_many_files_that_crash_their_decoder_leave_the_pool_working(workers, monkeypatch):
    monkeypatch.setattr(media_workers, "_read_photo", hostile_decoders.crash)
    good = encode(picture(120, 80))
    results = read(workers, *[good + HOSTILE] * 12)
    assert all(isinstance(result, MediaError) for result in results)
    assert isinstance(read(workers, good)[0], MediaSample)


def test_a_reading_that_is_canceled_ends(workers, monkeypatch):
    monkeypatch.setattr(media_workers, "_read_photo", hostile_decoders.hang)
    good = encode(picture(120, 80))

    async def cancel():
        tasks = [asyncio.create_task(workers.read_photo(good + HOSTILE, READER)) for _ in range(4)]
        await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await workers.read_photo(good, READER)

    assert isinstance(asyncio.run(asyncio.wait_for(cancel(), 20)), MediaSample)


def test_a_process_has_no_more_memory_than_the_limit():
    workers = MediaWorkers(ServeSettings(worker_bytes=2**30, max_pixels=10**9))
    try:
        large = encode(Image.new("L", (13_000, 13_000)), "PNG", compress_level=1)
        [error] = read(workers, large)
        assert isinstance(error, MediaError)
        assert isinstance(read(workers, encode(picture(120, 80)))[0], MediaSample)
    finally:
        workers.close()
