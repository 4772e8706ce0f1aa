"""Flickr30k, as published by its authors or on Kaggle.

    DIR/results_20130124.token                    DIR/flickr30k-images/1000092795.jpg
    DIR/flickr30k_images/results.csv (`image_name| comment_number| comment`, in which one line is known to be broken)
                                                  DIR/flickr30k_images/flickr30k_images/1000092795.jpg

Splits come from lists of names beside the captions (train.txt, val.txt, test.txt, optionally with the prefix
`flickr30k_`; names with or without .jpg); without lists a hash of the photo's name assigns them. The id of an item is
the photo's file name.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.readers.files import DEFAULT_FRACTIONS, add_fractions, find, lines, shown
from data_prep.readers.item import ItemStream, Problem
from data_prep.readers.media_folder import MediaFolder
from data_prep.readers.registry import READERS, add_input
from data_prep.readers.tokens import listed_photos, malformed, parse_tokens

_CAPTIONS = [
    "results_20130124.token", "flickr30k/results_20130124.token", "results.csv", "flickr30k_images/results.csv"
]  # fmt: skip
_PHOTOS = ["flickr30k-images", "flickr30k_images/flickr30k_images", "flickr30k_images", "Images", "images"]


def add_arguments(parser):
    add_input(parser, "the folder with results_20130124.token (or results.csv) and flickr30k-images/")
    add_fractions(parser)


@READERS.register("flickr30k")
def read(input_dir: Path, images: Path | None = None, fractions: Sequence[float] = DEFAULT_FRACTIONS) -> ItemStream:
    """Yields the photos, in the order of the caption file.

    Raises:
      InputError: the caption file or the folder of photos is missing.
    """
    captions = find(input_dir, _CAPTIONS, "the caption file")
    photos = MediaFolder(images or find(input_dir, _PHOTOS, "the folder of photos"))
    entries = _parse_bars(captions, input_dir) if captions.suffix == ".csv" else parse_tokens(captions, input_dir)
    lists = {}
    for split in ("train", "val", "test"):
        for folder in (captions.parent, input_dir):
            for name in (f"{split}.txt", f"flickr30k_{split}.txt"):
                if (folder / name).is_file():
                    lists[split] = folder / name
    yield from listed_photos(entries, lists, input_dir, photos, fractions, suffix=".jpg")


def _parse_bars(path: Path, input_dir: Path) -> Iterator[tuple[str, tuple[str, str] | Problem]]:
    """Yields (location, (photo's name, caption)) of each line `NAME.jpg| 0| CAPTION`."""
    for location, line in lines(path, shown(path, input_dir)):
        if isinstance(line, Problem):
            yield location, line
            continue
        fields = [field.strip() for field in line.split("|", 2)]
        if fields[0] == "image_name":
            continue
        if len(fields) == 3 and fields[1].isdigit():
            yield location, (fields[0], fields[2])
        else:
            yield location, malformed(line, location, "NAME| NUMBER| CAPTION")
