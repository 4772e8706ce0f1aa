"""Flickr8k, as published by its authors or on Kaggle.

    DIR/Flickr8k_text/Flickr8k.token.txt          DIR/Flicker8k_Dataset/1000268201_693b08cb0e.jpg
    DIR/Flickr8k_text/Flickr_8k.trainImages.txt   (and devImages, testImages; photos in none of them are left out)

    DIR/captions.txt (a CSV: image,caption)       DIR/Images/1000268201_693b08cb0e.jpg

The second has no splits: a hash of the photo's name assigns them. `dev` is called `val`, as everywhere else. The id of
  an item is the photo's file name.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.readers.files import DEFAULT_FRACTIONS, add_fractions, find
from data_prep.readers.item import ItemStream
from data_prep.readers.media_folder import MediaFolder
from data_prep.readers.registry import READERS, add_input
from data_prep.readers.table import parse_pairs
from data_prep.readers.tokens import listed_photos, parse_tokens

_PHOTOS = ["Flicker8k_Dataset", "Flickr8k_Dataset", "Flicker8k_Images", "Images", "images"]
_LISTS = {"train": "trainImages", "val": "devImages", "test": "testImages"}


def add_arguments(parser):
    add_input(parser, "the folder with Flickr8k_text/ and Flicker8k_Dataset/, or with captions.txt and Images/")
    add_fractions(parser)


@READERS.register("flickr8k")
def read(input_dir: Path, images: Path | None = None, fractions: Sequence[float] = DEFAULT_FRACTIONS) -> ItemStream:
    """Yields the photos, in the order of the caption file.

    Raises:
      InputError: the caption file or the folder of photos is missing.
    """
    captions = find(
        input_dir, ["Flickr8k_text/Flickr8k.token.txt", "Flickr8k.token.txt", "captions.txt"], "the caption file"
    )
    photos = MediaFolder(images or find(input_dir, _PHOTOS, "the folder of photos"))
    entries = parse_pairs(captions, input_dir) if captions.name == "captions.txt" else parse_tokens(captions, input_dir)
    lists = {split: captions.with_name(f"Flickr_8k.{name}.txt") for split, name in _LISTS.items()}
    lists = {split: path for split, path in lists.items() if path.is_file()}
    yield from listed_photos(entries, lists, input_dir, photos, fractions)
