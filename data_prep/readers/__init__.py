"""Annotation formats, one file each. Importing this registers them all in READERS."""

from data_prep.readers import coco, flickr8k, flickr30k, jsonl, karpathy, moving, shapes, slideshow, table  # noqa: F401
from data_prep.readers.item import InputError, Item, Problem
from data_prep.readers.registry import READERS

__all__ = ["READERS", "InputError", "Item", "Problem"]
