"""Paths as users write them, on this machine or in a bucket; reading of files that may be damaged; atomic writing."""

import errno
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, cast

from capjax import digests
from capjax.metrics.json_types import check_type
from capjax.metrics.writing import replacing, write_errors_named

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


def read_bytes(path: Path, remedy: str, *, editable: bool = False) -> bytes:
    """Reads a file that capjax wrote, and verifies it where its folder has a digest of it.

    Args:
      remedy: what to do if the file is missing or damaged, for messages.
      editable: users may edit the file; a difference from the digest is a warning.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it differs from its digest.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing; {remedy}") from error
    digests.check(path, data, remedy, editable=editable)
    return data


def read_text(path: Path, remedy: str, *, editable: bool = False) -> str:
    """Reads a UTF-8 file that capjax wrote; see `read_bytes`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not UTF-8, or differs from its digest.
    """
    try:
        return read_bytes(path, remedy, editable=editable).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); {remedy}") from error


def read_json(path: Path, remedy: str, kind: Any = Any) -> Any:
    """Reads a JSON file that capjax wrote; see `read_bytes`.

    Args:
      kind: the type of its contents, see `capjax.metrics.json_types.type_mismatch`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is cut short or damaged, or its contents have another type.
    """
    text = read_text(path, remedy)
    try:
        value = json.loads(text)
        check_type(value, kind)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error}); {remedy}") from error
    return value


def check_output(folder: Path):
    """Checks before anything is computed that results can be written into a folder, which need not exist.

    Raises:
      ValueError: they cannot; the message suggests the option --output.
    """
    if is_url(folder):
        return
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        code = errno.EROFS if os.statvfs(existing).f_flag & os.ST_RDONLY else errno.EACCES
        raise ValueError(f"{folder} cannot be written ({os.strerror(code)}); give another folder with --output DIR")


def make_folder(folder: Path):
    """Creates a folder and those above it, if they do not exist.

    Raises:
      WriteError: the disk is full, or the folder cannot be written.
    """
    with write_errors_named(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_bytes(path: Path, data: bytes):
    """Writes a file such that readers never see a part of it.

    On this machine the file is written under a temporary name and then renamed. In a bucket a file appears when it is
    complete.
    """
    if is_url(path):
        with write_errors_named(path):
            path.write_bytes(data)
        return
    with replacing(path, "wb") as file:
        file.write(data)


def write_text(path: Path, text: str):
    """Writes text in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_with_digest(path: Path, data: bytes):
    """Writes a file as `write_bytes` does, and its digest into the `digests.json` of its folder.

    A process that is killed in between leaves a file without a digest, never one that differs from its digest.
    """
    if path.is_file() and path.read_bytes() != data:
        digests.set_digest(path, None)
    write_bytes(path, data)
    digests.set_digest(path, data)
