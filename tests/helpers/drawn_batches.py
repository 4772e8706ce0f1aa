"""Records made up in memory and what a pipeline gave for them."""

import itertools

import numpy as np
import simplejpeg

from capjax.data.record import Record, RecordCaption

LANGUAGES = ("de", "en")


class Source(list):
    """Records in memory, as a dataset that was written without a report and sizes."""

    languages = None

    def sizes(self):
        return None

    def __repr__(self):
        return "Source"


def jpeg(number: int) -> bytes:
    color = np.random.default_rng(number).integers(0, 256, (1, 1, 3), dtype=np.uint8)
    gradient = np.arange(40, dtype=np.uint8)[:, None, None] + np.arange(50, dtype=np.uint8)[None, :, None]
    return simplejpeg.encode_jpeg(np.ascontiguousarray(color // 2 + gradient), 90)


def record(number: int, langs=LANGUAGES, captions: int = 3, **fields) -> Record:
    return Record(
        id=f"r{number}",
        media=f"m{number}.jpg",
        captions=tuple(
            RecordCaption(f"{lang} {number} take {take}", lang) for lang in langs for take in range(captions)
        ),
        **{"frames": (jpeg(number),), **fields},
    )


def take(iterator, count: int) -> list[dict]:
    return list(itertools.islice(iterator, count))


def assert_same(a: dict, b: dict):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def joined(batches: list[dict]) -> dict:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
