"""Rows of different lengths in flat arrays, and look-ups in sorted keys."""

import numpy as np


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenates the ranges start, start + 1, ..., start + count - 1. Returns int64 [sum of counts]."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


def offsets(counts: np.ndarray) -> np.ndarray:
    """Returns the start of each row of these lengths, and the end of the last one: int64 [rows + 1]."""
    return np.concatenate([[0], np.cumsum(counts)])


def group(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups ascending keys into runs. Returns the key, the start and the length of each run."""
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    return keys[first], first, np.diff(np.append(first, len(keys)))


def distinct(keys: np.ndarray) -> np.ndarray:
    """Returns the distinct keys in ascending order.

    `np.unique` builds a hash table, which is slower than sorting when most keys differ.
    """
    keys = np.sort(keys)
    return keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys


def match(keys: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Looks keys up in an ascending table. Returns bool [keys], which ones it has, and int64 [keys], their positions.

    The position of a key that the table lacks is arbitrary.
    """
    if not len(table):
        return np.zeros(len(keys), bool), np.zeros(len(keys), np.int64)
    position = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return table[position] == keys, position


def look_up(keys: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the keys that an ascending table has, and their positions in the table."""
    is_known, position = match(keys, table)
    return np.flatnonzero(is_known), position[is_known]
