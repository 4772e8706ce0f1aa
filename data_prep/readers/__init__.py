"""Annotation formats, one file each. Importing this registers them all in READERS."""

from data_prep.readers import (  # noqa: F401
    activitynet,
    coco,
    flickr8k,
    flickr30k,
    jsonl,
    karpathy,
    moving,
    msrvtt,
    msvd,
    shapes,
    slideshow,
    table,
    vitt,
    youcook2,
)  # fmt: skip
from data_prep.readers.item import InputError, Item, Problem
from data_prep.readers.registry import READERS

__all__ = ["READERS", "InputError", "Item", "Problem"]
