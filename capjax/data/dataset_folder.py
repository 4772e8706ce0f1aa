"""The metadata in the folder of a dataset that data_prep wrote."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict, cast

from capjax import digests
from capjax.files import absolute, read_bytes, read_json
from capjax.metrics.json_types import between

if TYPE_CHECKING:
    from tensorflow_datasets.core.read_only_builder import ReadOnlyBuilder

# What to do about a damaged file, for messages.
REMEDY = "copy the dataset again, or write it again with the same `capjax prepare` command and --overwrite"
# The files of metadata that every dataset has.
_METADATA = ("dataset_info.json", "features.json")


class MediaJson(TypedDict, total=False):
    """The settings of stored media, see `RecordSource.media`; in a workdir also the seconds of the `longest` record."""

    short_side: Annotated[int, between(1, 2**20)]
    quality: Annotated[int, between(1, 100)]
    fps: Annotated[float, between(1e-3, 1e3)]
    window: Annotated[float, between(1e-3, 1e9)]
    overlap: Annotated[float, between(0, 1e9)]
    longest: Annotated[float, between(0, 1e9)]


class _SplitJson(TypedDict):
    captions: dict[str, int]


class _OriginJson(TypedDict):
    path: str
    fingerprint: str


# The parts of report.json that are read again; the file is written by data_prep/build_report.py. No classes, since
# `there` names no local variable in capjax.
_VideosJson = TypedDict("_VideosJson", {"named": int, "there": int})  # noqa: UP013
ReportJson = TypedDict(  # noqa: UP013
    "ReportJson",
    {
        "splits": dict[str, _SplitJson], "media": MediaJson, "there": dict[str, _VideosJson],
        "extracted_from": _OriginJson,
    },
    total=False,
)  # fmt: skip


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
            "Write one with `capjax prepare NAME --input ... --output ...`."
        )
    if digests.read_digests(folder) is None:
        digests.warn_without_digests(folder)
    for name in _METADATA:
        if (folder / name).is_file():
            read_bytes(folder / name, REMEDY)
    with metadata_errors_named(folder):
        return tfds.builder_from_directory(folder)


@contextmanager
def metadata_errors_named(folder: Path) -> Iterator[None]:
    """Converts errors of TFDS about damaged metadata to ValueErrors that name the folder."""
    try:
        yield
    except Exception as error:  # TFDS and protobuf have no common class for them
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"{folder}: dataset_info.json or features.json is missing, cut short or damaged ({reason:.120}); {REMEDY}"
        ) from error


def read_report(folder: Path) -> ReportJson:
    """Returns the contents of a dataset's report.json; empty without one.

    Raises:
      ValueError: The file is damaged.
    """
    path = folder / "report.json"
    return cast(ReportJson, read_json(path, REMEDY, ReportJson)) if path.is_file() else {}


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
