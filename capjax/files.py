"""Paths as users write them, on this machine or in a bucket; reading of files that may be damaged; atomic writing."""

import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, cast

from capjax.metrics.writing import replacing

# etils reads this before its first access. Buckets are then accessed with gcsfs also where TensorFlow is installed,
# which has other credentials and errors.
os.environ.setdefault("EPATH_USE_TF", "false")
# `Path` turns gs://BUCKET into gs:/BUCKET.
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)")


def _url(path: str | Path) -> str:
    """The URL that a path is; empty for other paths."""
    match = _URL.match(str(path))
    return f"{match[1]}://{match[2]}" if match else ""


def is_url(path: str | Path) -> bool:
    """Whether a path is a URL, such as gs://BUCKET/FOLDER."""
    return bool(_url(path))


def local_path(path: str | Path) -> Path:
    """Returns the path of a folder or file, with `~` expanded.

    Raises:
      ValueError: the path is a URL, which would become a folder of that name.
    """
    if url := _url(path):
        raise ValueError(
            f"{url} is a URL, not a path on this machine; mount the bucket and give the path where it is mounted"
        )
    return Path(path).expanduser()


def storage_path(path: str | Path) -> Path:
    """Returns the path of a workdir or dataset, or of a file in one: on this machine, with `~` expanded, or in a bucket
    of Google Cloud Storage, as gs://BUCKET/PATH.

    A path in a bucket is an `etils.epath.Path`. It has the methods of `pathlib.Path`, except that `resolve` does not
    work, that files cannot be appended to, and that folders exist only through their files.

    Raises:
      ValueError: the URL is of another kind, or the extra `gcs` is not installed.
    """
    url = _url(path)
    if not url:
        return Path(path).expanduser()
    if not url.startswith("gs://"):
        copy = "copy it with `aws s3 sync`" if url.startswith("s3://") else "copy it"
        raise ValueError(
            f"{url}: Orbax and ArrayRecord, which read and write checkpoints and datasets, support gs:// and no other "
            f"URLs. Give a path on this machine: mount the bucket, or {copy}"
        )
    if importlib.util.find_spec("gcsfs") is None:
        raise ValueError(f"{url}: gs:// needs gcsfs; run `pip install 'capjax[gcs]'`")
    from etils import epath
    from fsspec.config import conf

    # Orbax writes into the same folders through TensorStore, and so do the other processes of a job.
    conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    return cast(Path, epath.Path(url))


def absolute(path: Path) -> Path:
    """Returns the absolute path of a file or folder, on this machine or in a bucket."""
    return path if is_url(path) else path.resolve()


def remove_tree(path: Path):
    """Removes a folder and everything in it, if it exists."""
    if is_url(path):
        cast(Any, path).rmtree(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def read_text(path: Path, remedy: str) -> str:
    """Reads a UTF-8 file that capjax wrote.

    Args:
      remedy: what to do if the file is missing or damaged, for messages.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing; {remedy}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); {remedy}") from error


def read_json(path: Path, remedy: str) -> Any:
    """Reads a JSON file that capjax wrote; see `read_text`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is cut short or damaged.
    """
    try:
        return json.loads(read_text(path, remedy))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is cut short or damaged ({error}); {remedy}") from error


def write_bytes(path: Path, data: bytes):
    """Writes a file such that readers never see a part of it.

    On this machine the file is written under a temporary name and then renamed. In a bucket a file appears when it is
    complete.
    """
    if is_url(path):
        path.write_bytes(data)
        return
    with replacing(path, "wb") as file:
        file.write(data)


def write_text(path: Path, text: str):
    """Writes text in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode())
