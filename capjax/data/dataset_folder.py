"""The metadata in the folder of a dataset that data_prep wrote."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from capjax.files import absolute, read_json

if TYPE_CHECKING:
    from tensorflow_datasets.core.read_only_builder import ReadOnlyBuilder

# What to do about a damaged file, for messages.
REMEDY = "copy the dataset again, or write it again with the same `python -m data_prep` command and --overwrite"


def open_dataset(folder: Path) -> "ReadOnlyBuilder":
    """Returns the TFDS builder of a dataset.

    Raises:
      FileNotFoundError: The folder has no finished dataset.
      ValueError: Its metadata are damaged.
    """
    import tensorflow_datasets as tfds

    if not (folder / "dataset_info.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no dataset here (dataset_info.json is missing). "
            "Write one with `python -m data_prep NAME --input ... --output ...`."
        )
    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # TFDS and protobuf have no common class for metadata that are missing or damaged
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"{folder}: dataset_info.json or features.json is missing, cut short or damaged ({reason:.120}); {REMEDY}"
        ) from error


def read_report(folder: Path) -> dict:
    """Returns the contents of a dataset's report.json; empty without one.

    Raises:
      ValueError: The file is damaged.
    """
    path = folder / "report.json"
    return read_json(path, REMEDY) if path.is_file() else {}


def fingerprint(folder: Path) -> str:
    """Returns a hash of a dataset's metadata, which tells it from another dataset in the same folder."""
    return hashlib.blake2b((folder / "dataset_info.json").read_bytes(), digest_size=16).hexdigest()


def find_original(folder: Path) -> Path:
    """Returns the folder of the dataset from which the features in a dataset were extracted.

    Raises:
      FileNotFoundError: That dataset is not recorded, or not where it was.
      ValueError: Another dataset is there now.
    """
    origin = read_report(folder).get("extracted_from")
    if origin is None:
        raise FileNotFoundError(f"{folder} does not record the dataset that it was extracted from")
    original = absolute(absolute(folder) / origin["path"])
    if not (original / "dataset_info.json").is_file():
        raise FileNotFoundError(f"{original}, from which {folder} was extracted, is not there any more")
    if fingerprint(original) != origin["fingerprint"]:
        raise ValueError(f"{original}, from which {folder} was extracted, has been replaced since")
    return original
