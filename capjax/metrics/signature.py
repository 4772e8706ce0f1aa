"""Signatures: one line that says how a score was computed, so that others can reproduce it."""

import importlib.metadata
from collections.abc import Iterable
from functools import cache


class Absent(Exception):
    """A metric that cannot be computed on this machine; the message says why."""


@cache
def version() -> str:
    """Returns the installed version of capjax."""
    return importlib.metadata.version("capjax")


def spread(counts: Iterable[int]) -> str:
    """Returns the range of counts: `5` if all are equal, else `3-5`."""
    counts = list(counts)
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least}-{most}"


def signature(metric: str, **fields: object) -> str:
    """Returns a signature like `CIDEr-D|items:113|refs:5|tok:ptb-3.4.1|idf:references|capjax:0.1.0`.

    Fields that are None are left out.
    """
    shown = [f"{name}:{value}" for name, value in fields.items() if value is not None]
    return "|".join([metric, *shown, f"capjax:{version()}"])
