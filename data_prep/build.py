"""The TFDS builder that writes Items as ArrayRecord files, without TensorFlow.

    builder = RecordBuilder(name="flickr8k", reader=READERS.make("flickr8k", path), output_dir="data/flickr8k")
    builder.download_and_prepare()
    builder.as_data_source("train")   # or, in another process, tfds.builder_from_directory("data/flickr8k")

It is a TFDS `DatasetBuilder` with its own `download_and_prepare`: TFDS's generators write in one process (or on Beam),
pass all data through temporary shuffle files, and start over after an interruption. Here the shards are planned first,
from the annotations alone; each is then written by one pure function (`shards.write_shard`) in any process.

All work is done in OUTPUT.partial:
    dataset/        the shards, and at the end the metadata; renamed to OUTPUT as the last step
    shards/*.json   a report of each finished shard, from which an interrupted run resumes
    frames/         frames of long videos, so that a run resumes within a video
    report.json     what was skipped, if the run fails
    lock            held while a run is writing
    stop            asks the workers of a Beam job to stop
"""

import fcntl
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from capjax.data.record import SIZES_FILE, tfds_features
from capjax.digests import write_digests
from capjax.files import write_text
from capjax.metrics.messages import describe_unforeseen, noting
from capjax.metrics.writing import WriteError, write_errors_named
from capjax.runtime import available_cores
from data_prep.build_report import Report, TooMuchBad
from data_prep.language_check import check_languages
from data_prep.media import Storage
from data_prep.plan import check_items, clear_stale, make_shards
from data_prep.pool import run
from data_prep.readers.files import current_location
from data_prep.readers.item import InputError, ItemStream
from data_prep.readers.translations import Translations
from data_prep.shards import ShardFile, ShardReport, after_kill, write_shard

# Fewer photos, or fewer bytes of videos, are written before worker processes have started.
_MIN_PHOTOS_FOR_POOL = 300
_MIN_BYTES_FOR_POOL = 2**24


class BuildError(RuntimeError):
    """No dataset was written. The message gives the reason and the path of the report."""


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self):
        """Does nothing: no bucket has this dataset, and TFDS's method would leave an empty temporary folder."""


class RecordBuilder(
    tfds.core.dataset_builder.FileReaderBuilder,
    skip_registration=True,  # type: ignore[call-arg]  # __init_subclass__ of TFDS is not annotated
):
    """Writes and reads one dataset.

    The same items and media give the same bytes in every file, whatever the number of workers and interruptions.

    Args:
      name: name of the dataset, with which its files begin.
      reader: the items and problems that a reader yields. It is consumed when the dataset is prepared.
      output_dir: folder of the dataset; it must not exist, or be empty.
      settings: how media are stored.
      translations: captions in further languages.
      workers: number of processes. None: one per core, or only the calling process if there is little to do.
      beam: options of Apache Beam, which then writes the shards instead of `workers`; see data_prep/beam.py.
      stage: URL of a folder through which media and shards travel to and from Beam's workers; see
        data_prep/staging.py.
      max_bad: the largest accepted share of bad photos, and of bad captions; see data_prep/build_report.py.
      strict: stop at the first bad input.
      keep_copies: keep items of val and test of which an exact copy is in another split.
      overwrite: replace an existing dataset, which stays until the new one is complete.
      progress: show a progress bar.

    Raises:
      ValueError: the name is not an identifier, or an argument is out of range.
      RuntimeError: `beam` is given, and Apache Beam is not installed.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        name: str,
        reader: ItemStream,
        output_dir: str | Path,
        settings: Storage | None = None,
        translations: Translations | None = None,
        workers: int | None = None,
        beam: Sequence[str] | None = None,
        stage: str | None = None,
        max_bad: float = 0.01,
        strict: bool = False,
        keep_copies: bool = False,
        overwrite: bool = False,
        progress: bool = True,
    ):
        if not name.isidentifier():
            raise ValueError(f"the dataset's name {name!r} should be letters, digits and underscores")
        if not 0 <= max_bad <= 1:
            raise ValueError(f"max_bad = {max_bad} should be from 0 to 1")
        if workers is not None and workers < 1:
            raise ValueError(f"workers = {workers} should be 1 or more")
        self._beam, self._stage = None, stage
        if beam is not None:
            from capjax.beam_options import make_options

            self._beam = make_options(beam)
        self.name, self.workers = name, workers
        self.reader = reader
        self.output_dir = Path(output_dir).resolve()
        self.work_dir = self.output_dir.with_name(self.output_dir.name + ".partial")
        self.settings = settings or Storage()
        self.translations = translations
        self.overwrite, self.keep_copies = overwrite, keep_copies
        self._bar: dict[str, Any] = {"disable": not progress, "mininterval": 0.2 if sys.stderr.isatty() else 10}
        self.report = Report(name, max_bad, strict)
        picture, (window, overlap) = self.settings.picture, self.settings.clips.windows(self.settings.fps)
        self.report.media = {
            "short_side": picture.size, "quality": picture.quality, "fps": self.settings.fps, "window": window,
            "overlap": overlap,
        }  # fmt: skip
        super().__init__(data_dir=self.output_dir, file_format="array_record")

    def _build_data_dir(self, data_dir: str) -> tuple[str, str]:
        return data_dir, data_dir

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(
            builder=self,
            features=tfds_features(),
            description=f"Captioned {self.report.noun}s from {self.name}, with a short side of at most "
            f"{self.settings.picture.size} pixels.",
        )

    def download_and_prepare(self):
        """Writes the dataset, resuming an interrupted run of the same input.

        Raises:
          BuildError: too much bad input, an unusable input, a full disk, or OUTPUT exists.
          KeyboardInterrupt: with a message that says where finished shards are kept.
        """
        self._check_output()
        with _locked(self.work_dir):
            try:
                self._download_and_prepare()
            except KeyboardInterrupt as error:
                raise KeyboardInterrupt(
                    f"What is finished is kept in {self.work_dir}; the same command goes on from there."
                ) from error
            except (TooMuchBad, InputError) as error:
                path = self.work_dir / "report.json"
                self.report.write(path, finished=False)
                raise BuildError(f"{error}\nNo dataset was written. All problems are listed in {path}") from error
            except WriteError as error:
                raise BuildError(
                    f"{error.filename}: {error.strerror}. What is finished is kept in {self.work_dir}; "
                    "when there is room, the same command goes on from there."
                ) from error
            self._publish()

    def _download_and_prepare(self, dl_manager=None, download_config=None):
        """Everything up to the rename."""
        items = self.translations.join(self.reader) if self.translations else self.reader
        items = tqdm(items, desc=f"{self.name}: annotations", unit="", leave=False, **self._bar)
        splits, files = check_items(_located(items), self.report, keep_copies=self.keep_copies)
        self.report.translations = self.translations.counts if self.translations else {}
        self._media_bytes = sum(size for size, _ in files.values())
        shards = make_shards(self.name, splits, files, self.settings, self.work_dir)
        with ThreadPoolExecutor(1) as pool:
            language_problems = pool.submit(check_languages, splits)
            reports = self._write_shards(shards)
        # In the order of the shards: the report must not depend on which worker was first.
        for split, part in shards.items():
            for shard, report in zip(part, reports[split], strict=True):
                self.report.problems += report.problems
                videos = {item.id for item in shard.items if item.video}
                if lost := videos & {problem.id for problem in report.problems if problem.costs == "video"}:
                    self.report.lose_videos(split, len(lost))
        self.report.problems += language_problems.result()
        self.report.check()
        self._describe(reports, shards)

    def _write_shards(self, shards: Mapping[str, Sequence[ShardFile]]) -> dict[str, list[ShardReport]]:
        """Writes the shards that are not finished; returns the reports of all, by split."""
        all_shards = [shard for part in shards.values() for shard in part]
        clear_stale(self.work_dir, all_shards)
        reports = {shard.path: report for shard in all_shards if (report := ShardReport.read(shard))}
        pending = [shard for shard in all_shards if shard.path not in reports]
        total, left = (sum(shard.size for shard in part) for part in (all_shards, pending))
        with tqdm(total=total, initial=total - left, desc=self.name, unit=f" {self.report.noun}s", **self._bar) as bar:
            for report in reports.values():
                self._check_strict(report)
            for shard, report in self._run_shards(pending, bar):
                reports[shard.path] = report
                self._check_strict(report)
        return {split: [reports[shard.path] for shard in part] for split, part in shards.items()}

    def _run_shards(self, shards: list, bar: tqdm) -> Iterator[tuple[ShardFile, ShardReport]]:
        """Yields shards and their reports as they finish, and advances the progress bar."""
        if self._beam is not None:
            from data_prep.beam import make_shards_on_beam

            for shard, report in make_shards_on_beam(shards, self._beam, self.work_dir, self._stage):
                bar.update(shard.size)
                yield shard, report
            return
        use_pool = sum(shard.size for shard in shards) >= _MIN_PHOTOS_FOR_POOL or (
            self.report.noun == "video" and self._media_bytes >= _MIN_BYTES_FOR_POOL
        )
        workers = self.workers or (available_cores() if use_pool else 1)
        yield from run(write_shard, shards, workers, _fractional_updates(bar), after_kill)

    def _check_strict(self, report: ShardReport):
        if self.report.strict and report.problems:
            self.report.add(report.problems[0])

    def _describe(self, reports: Mapping[str, list[ShardReport]], shards: Mapping[str, Sequence[ShardFile]]):
        """Writes the metadata and the report beside the shards."""
        folder = self.work_dir / "dataset"
        infos, tables = [], {}
        for split, parts in reports.items():
            records = sum(part.records for part in parts)
            if not records:  # possible with --max-bad 1; TFDS has no empty splits
                for shard in shards[split]:
                    shard.path.unlink()
                continue
            captions = sum((Counter(part.captions) for part in parts), Counter())
            sizes = {name: [size for part in parts for size in part.sizes[name]] for name in parts[0].sizes}
            self.report.splits[split] = {
                f"{self.report.noun}s": records,
                "shards": len(parts),
                "bytes": sum(part.file_bytes for part in parts),
                "captions": dict(sorted(captions.items())),
            }
            tables[split] = sizes
            infos.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[part.records for part in parts],
                    num_bytes=sum(part.bytes for part in parts),
                    filename_template=self._get_filename_template(split),
                )
            )
        if not infos:
            raise InputError(f"none of the {self.report.noun}s could be used; report.json lists why")
        # Not self.info, which may have been read from the dataset that is overwritten.
        info = self._info()
        info.set_file_format("array_record")
        info.set_splits(tfds.core.splits.SplitDict(infos))
        with write_errors_named(folder):
            self.report.write(folder / "report.json", finished=True)
            for split, sizes in tables.items():
                write_text(folder / SIZES_FILE.format(split), json.dumps(sizes) + "\n")
            info.write_to_directory(folder)
        # Of shards ArrayRecord keeps a hash of each record, which it compares when the record is read.
        metadata = ("dataset_info.json", "features.json", "report.json", *map(SIZES_FILE.format, tables))
        write_digests(folder, metadata)

    def _check_output(self):
        out = self.output_dir
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return
        if not (out / "dataset_info.json").is_file():
            raise BuildError(f"{out} exists and is not a dataset; choose another --output, or remove it")
        if not self.overwrite:
            raise BuildError(f"{out} is already a dataset; choose another --output, or add --overwrite")

    def _publish(self):
        """Renames the finished dataset to OUTPUT and removes the working files."""
        old = self.work_dir / "old"
        if self.output_dir.exists() and any(self.output_dir.iterdir()):
            shutil.rmtree(old, ignore_errors=True)
            self.output_dir.rename(old)
        (self.work_dir / "dataset").rename(self.output_dir)
        self.info.read_from_directory(self.output_dir)
        # Only our own files: a folder that happens to have this name keeps the rest.
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(self.work_dir / "shards")
        shutil.rmtree(self.work_dir / "frames", ignore_errors=True)
        for name in ("report.json", "lock", "stop"):
            (self.work_dir / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.work_dir.rmdir()


def _located(items: ItemStream) -> ItemStream:
    """Yields the items; an unforeseen error of a reader names the location that it has reached.

    Raises:
      BuildError: the reader failed.
    """
    try:
        with noting(current_location):
            yield from items
    except InputError:
        raise
    except Exception as error:
        raise BuildError(describe_unforeseen(error)) from error


def _fractional_updates(bar: tqdm) -> Callable[[float], None]:
    """A function that advances a progress bar by fractions of an item, shown with two digits."""
    done = float(bar.n)

    def update(count: float):
        nonlocal done
        done += count
        shown = round(done, 2) if abs(done - round(done)) > 0.005 else round(done)
        bar.update(shown - bar.n)

    return update


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Creates `folder` and holds its lock, which the system releases however the process ends.

    Raises:
      BuildError: another run is writing there, or the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("wb")
    except OSError as error:
        raise BuildError(f"{folder}: cannot be written ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BuildError(f"{folder}: another run is writing this dataset; wait for it or stop it") from error
        yield
