"""What must be said of a score so that somebody else gets the same: as sacrebleu does, in one line."""

import importlib.metadata
from collections.abc import Iterable
from functools import cache


@cache
def version() -> str:
    return importlib.metadata.version("capjax")


def spread(counts: Iterable[int]) -> str:
    """`5` where every item has five references, `3-5` where they differ."""
    counts = list(counts)
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least}-{most}"


def signature(metric: str, **fields: object) -> str:
    """`CIDEr-D|items:113|refs:5|tok:ptb-3.4.1|idf:references|capjax:0.1.0`; fields that are None are left out."""
    told = {name: value for name, value in fields.items() if value is not None}
    return "|".join([metric, *(f"{name}:{value}" for name, value in told.items()), f"capjax:{version()}"])
