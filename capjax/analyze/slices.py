"""Slices of a set of items: by length of the caption, number of objects, frequency in training, language, duration."""

from collections.abc import Mapping

import numpy as np

Id = int | str

# Upper ends of the slices, and their names; the last is open.
_OBJECTS = ((0, "0"), (1, "1"), (2, "2"), (3, "3"), (np.inf, "4 or more"))
_TRAINING = (
    (0, "never"), (9, "1 to 9 times"), (99, "10 to 99 times"), (999, "100 to 999 times"),
    (np.inf, "1,000 times or more"),
)  # fmt: skip
_SECONDS = ((10, "up to 10 s"), (30, "10 to 30 s"), (120, "30 s to 2 min"), (np.inf, "longer than 2 min"))


def by_number_of_objects(counts: Mapping[Id, int]) -> dict[Id, str]:
    """Returns {id: slice} by the number of kinds of objects."""
    return {id: _slice(count, _OBJECTS) for id, count in counts.items()}


def by_training_frequency(counts: Mapping[Id, int]) -> dict[Id, str]:
    """Returns {id: slice} by how often the item's rarest object is named in training."""
    return {id: _slice(count, _TRAINING) for id, count in counts.items()}


def by_duration(seconds: Mapping[Id, float]) -> dict[Id, str]:
    """Returns {id: slice} by the duration of videos; photos have none."""
    return {id: _slice(value, _SECONDS) for id, value in seconds.items() if value > 0}


def by_length(lengths: Mapping[Id, int]) -> dict[Id, str]:
    """Returns {id: slice} by the number of words of captions, in thirds."""
    if not lengths:
        return {}
    low, high = (int(value) for value in np.quantile(list(lengths.values()), [1 / 3, 2 / 3], method="lower"))
    names = ((low, f"up to {low} words"), (high, f"up to {high} words"), (np.inf, f"more than {high} words"))
    return {id: _slice(length, names) for id, length in lengths.items()}


def _slice(value: float, ends) -> str:
    return next(name for end, name in ends if value <= end)
