"""Rows of different lengths in flat arrays."""

import numpy as np


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each range, `count` of them; one after the other. int64 [sum of counts]."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


def starts_of(counts: np.ndarray) -> np.ndarray:
    """Where each of rows of these lengths begins, and where the last ends. int64 [rows + 1]."""
    return np.concatenate([[0], np.cumsum(counts)])


def group(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of ascending keys: each that occurs, where its run begins, and how long it is."""
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    return keys[first], first, np.diff(np.append(first, len(keys)))


def look_up(keys: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which keys occur among ascending, distinct values, and where: places in `keys`, places in `among`."""
    if not len(among):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    found = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    places = np.flatnonzero(among[found] == keys)
    return places, found[places]
