"""The same pictures are the same mp4 file."""

import cv2
import numpy as np

from data_prep.synthetic.mp4 import encode


def moving_square(size: int, count: int) -> list[np.ndarray]:
    """A soft square that crosses the picture: motion, edges and, at the end, stillness."""
    pictures = []
    for k in range(count):
        picture = np.full((size, size, 3), (200, 220, 190), np.uint8)
        at = min(k, count // 2) * size // count
        picture[size // 4 : size // 2, at : at + size // 4] = (180, 30, 60)
        pictures.append(cv2.GaussianBlur(picture, (3, 3), 0))
    return pictures


def test_the_bytes_do_not_depend_on_where_the_encoders_memory_lies():
    rng = np.random.default_rng(0)
    clips = [moving_square(size, count) for size, count in ((32, 40), (48, 25), (32, 65))]
    files, held = [set() for _ in clips], []
    for _ in range(12):
        for variants, clip in zip(files, clips, strict=True):
            variants.add(encode(clip, 12.5))
            held.append(np.ones(rng.integers(1_000, 300_000), np.uint8))  # the next encoder finds other memory
            if len(held) > 20:
                del held[rng.integers(len(held))]
    assert [len(variants) for variants in files] == [1, 1, 1]
