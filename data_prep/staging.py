"""Staging folder for media and shards that this machine and the workers of a Beam job reach, such as gs://BUCKET/FOLDER.

It serves workers that share no file system with this machine, as on Dataflow. Media are copied to the folder before the
job, each worker copies those of its shard, and finished shards are copied back. The folder's URL is one of Beam's
`FileSystems`. It may be deleted when the dataset is finished; media already in it are not sent again.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from capjax.metrics.writing import WriteError
from data_prep.readers.item import InputError
from data_prep.shards import Shard, ShardReport, write_report, write_shard

# Parallel copies.
_COPIES = 16


@dataclass(frozen=True)
class StagingFolder:
    """A folder with media/ and shards/.

    Attributes:
      url: URL of the folder, which is created if it does not exist.
    """

    url: str

    def stop_path(self) -> str:
        return FileSystems.join(self.url, "stop")

    def send(self, shards: Sequence[Shard]) -> list["StagedShard"]:
        """Copies media that are not yet in the folder.

        Raises:
          InputError: the folder cannot be written.
        """
        tasks = []
        for shard in shards:
            paths = {item.media for item in shard.items if isinstance(item.media, Path)}
            tasks.append(StagedShard(self, shard, {path: self._media_url(path) for path in paths}))
        paths_by_url = {url: path for task in tasks for path, url in task.media.items()}
        try:
            for name in ("media", "shards"):
                if not FileSystems.exists(FileSystems.join(self.url, name)):
                    FileSystems.mkdirs(FileSystems.join(self.url, name))
            (listing,) = FileSystems.match([FileSystems.join(self.url, "media", "*")])
            missing = set(paths_by_url) - {file.path for file in listing.metadata_list}
            with ThreadPoolExecutor(_COPIES) as pool:
                list(pool.map(lambda url: _send(paths_by_url[url], url), sorted(missing)))
        except (OSError, ValueError) as error:  # Beam's own errors are OSErrors
            needs = "; gs:// needs pip install 'capjax[dataflow]'" if "apache-beam[gcp]" in str(error) else ""
            raise InputError(f"--stage {self.url}: cannot be written: {error}{needs}") from error
        return tasks

    def fetch(self, waiting: Mapping[str, Shard]) -> list[tuple[str, ShardReport]]:
        """Moves finished shards out of the folder and returns their names and reports."""
        fetched = []
        urls = {self.report_url(shard): name for name, shard in waiting.items()}
        (listing,) = FileSystems.match([FileSystems.join(self.url, "shards", "*.json")])
        for url in sorted(file.path for file in listing.metadata_list if file.path in urls):
            shard = waiting[urls[url]]
            _copy(_shard_url(url), shard.path)
            _copy(url, shard.report_path)
            if report := ShardReport.read(shard):
                fetched.append((urls[url], report))
            FileSystems.delete([url, _shard_url(url)])
        return fetched

    def report_url(self, shard: Shard) -> str:
        return FileSystems.join(self.url, "shards", f"{shard.fingerprint}-{shard.path.name}.json")

    def _media_url(self, path: Path) -> str:
        status = path.stat()
        identity = repr((str(path), status.st_size, status.st_mtime_ns)).encode("utf-8", "surrogateescape")
        name = hashlib.blake2b(identity, digest_size=16).hexdigest()
        return FileSystems.join(self.url, "media", name + path.suffix)


@dataclass(frozen=True)
class StagedShard:
    """A shard, and the URL of each of its media in a staging folder."""

    folder: StagingFolder
    shard: Shard
    media: dict[Path, str]

    def make(self, on_items: Callable[[float], None]):
        """Writes the shard in a folder of this worker, then copies it, and last its report, to the staging folder."""
        report_url = self.folder.report_url(self.shard)
        if FileSystems.exists(report_url):
            return
        with TemporaryDirectory() as name:
            folder = Path(name)
            local = {path: folder / str(number) / path.name for number, path in enumerate(sorted(self.media))}
            with ThreadPoolExecutor(_COPIES) as pool:
                list(pool.map(lambda path: _copy(self.media[path], local[path]), local))
            items = tuple(
                replace(item, media=local.get(item.media, item.media)) if isinstance(item.media, Path) else item
                for item in self.shard.items
            )
            path = folder / self.shard.path.name
            local_shard = replace(
                self.shard, path=path, report_path=folder / "report.json", frames_dir=folder / "frames", items=items
            )
            report = write_shard(local_shard, on_items)
            # Messages name files as they are on the machine of the user.
            names = {str(path): str(original) for original, path in local.items()}
            problems = tuple(replace(problem, message=_renamed(problem.message, names)) for problem in report.problems)
            write_report(replace(report, problems=problems), local_shard.report_path)
            _send(path, _shard_url(report_url))
            _send(local_shard.report_path, report_url)


def _shard_url(report_url: str) -> str:
    return report_url.removesuffix(".json")


def _renamed(message: str, names: Mapping[str, str]) -> str:
    for name, original in names.items():
        message = message.replace(name, original)
    return message


def _send(path: Path, url: str):
    """Copies a file to the staging folder under a temporary name, then renames it."""
    with (
        path.open("rb") as source,
        FileSystems.create(f"{url}.tmp", compression_type=CompressionTypes.UNCOMPRESSED) as to,
    ):
        shutil.copyfileobj(source, to, 2**20)
    FileSystems.rename([f"{url}.tmp"], [url])


def _copy(url: str, path: Path):
    """Copies a file from the staging folder under a temporary name, then renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED) as source, aside.open("wb") as to:
            shutil.copyfileobj(source, to, 2**20)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise WriteError(error.errno, error.strerror or str(error), str(path)) from error
