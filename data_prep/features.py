"""Adds the features of a frozen encoder to a dataset, so that training need not compute them.

capjax prepare features --input data/flickr8k --output data/flickr8k_lite0 --encoder efficientnet_lite0
capjax prepare features --input data/mine --output data/mine_vit --encoder vit_s16 --weights vit.pth --views 8

An encoder over time, such as i3d, sees --clip frames of a video together. Several frames then give one feature grid,
and the times of the record are those of the grids.

The features replace the pictures, or with --keep-frames are added to them. DIR/encoder holds the encoder, so that a
model trained on the features can caption raw photos. Repeating the command continues an interrupted run.
"""

import argparse
import hashlib
import os
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from capjax.data.batch import empty_media, set_times
from capjax.data.dataset_folder import REMEDY, fingerprint, open_dataset, read_report
from capjax.data.record import Record, RecordSource
from capjax.data.transforms import training_view, view
from capjax.files import local_path
from data_prep.arguments import json_object
from data_prep.build import RecordBuilder
from data_prep.readers.item import InputError
from data_prep.shards import ShardFile, ShardReport, Tally, shard_paths, write_records, write_report

# Increase this when the same input should give different features than before.
_FORMAT = 1
_ASPECT = (0.75, 4 / 3)


@dataclass(frozen=True)
class FeatureSettings:
    """Settings that determine the features of a dataset.

    Attributes:
      encoder: A name in ENCODERS.
      options: Keyword arguments of the encoder.
      weights: A path or `pip:NAME`; see capjax.models.pretrained.
      image_size: Height and width of the frames that the encoder sees.
      views: Number of views of each picture. View 0 is the one that evaluation and prediction see. The others are
        random crops that depend only on the record's id and the view's number, and are the same in all frames of a
        video.
      crop_scale: Smallest and largest fraction of the picture's area in a crop.
      flips: Mirror half of the crops.
      keep_frames: Keep the pictures.
      batch: Pictures per call of the encoder.
      clip: Frames that an encoder over time sees together, a multiple of its `time_stride`; 1 for an encoder of images.
        Longer videos are cut into clips that are encoded independently.
    """

    encoder: str
    options: dict
    weights: str
    image_size: int
    views: int = 1
    crop_scale: tuple[float, float] = (0.5, 1.0)
    flips: bool = False
    keep_frames: bool = False
    batch: int = 32
    clip: int = 1


class Extractor:
    """The frozen encoder of a feature dataset, compiled for batches of one size over all devices.

    Args:
      settings: `batch` is rounded up to whole clips, and to a multiple of the number of devices.

    Attributes:
      encoder: The FrozenEncoder.
      batch: Clips per call.
      path, sha256: The weight file and its hash.
    """

    def __init__(self, settings: FeatureSettings):
        import jax
        from jax.sharding import AxisType, NamedSharding, PartitionSpec

        from capjax.models.frozen_encoder import FrozenEncoder
        from capjax.models.pretrained import sha256_of

        self.settings = settings
        self.encoder, self.path = FrozenEncoder.from_pretrained(
            settings.encoder, settings.weights, image_size=settings.image_size, options=settings.options,
            clip_frames=settings.clip,
        )  # fmt: skip
        self.sha256 = sha256_of(self.path)

        devices = jax.local_devices()
        mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        by_row, replicated = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
        self.batch = -(-settings.batch // (self.encoder.clip_frames * len(devices))) * len(devices)
        self._extract = jax.jit(
            self.encoder.extract,
            in_shardings=(replicated, replicated, by_row, by_row, by_row),
            out_shardings=by_row,
        )
        self._weights = jax.device_put((self.encoder.params, self.encoder.batch_stats), replicated)

    def __call__(self, frames: np.ndarray, times: np.ndarray, mask: np.ndarray):
        """Starts the computation of features and returns them without waiting.

        Args:
          frames: uint8 [batch, clip, s, s, 3].
          times: float32 [batch, clip], in seconds.
          mask: bool [batch, clip].

        Returns:
          float16 [batch, clip / stride, n, d] on the devices.
        """
        return self._extract(*self._weights, frames, times, mask)

    def describe(self) -> dict:
        """Returns the contents of encoder.json."""
        description = asdict(self.settings) | {"feature_shape": self.encoder.feature_shape}
        for name in ("keep_frames", "batch"):
            del description[name]
        return description | {"weights_file": self.path.name, "weights_sha256": self.sha256}

    def save(self, folder: Path):
        """Writes encoder.json and encoder.safetensors."""
        self.encoder.save(folder, self.describe())


def take_view(jpeg: bytes, id: str, number: int, settings: FeatureSettings) -> np.ndarray:
    """Returns view `number` of a picture of record `id`, uint8 [s, s, 3]."""
    if number == 0:
        return view(jpeg, settings.image_size)
    seed = hashlib.blake2b(f"{number} {id}".encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(seed, "little")))
    return training_view(jpeg, settings.image_size, rng, scale=settings.crop_scale, aspect=_ASPECT, flip=settings.flips)


@dataclass
class _Job:
    """A record, its features computed so far, and the number of clips still to compute."""

    record: Record
    features: np.ndarray
    remaining: int


def with_features(records: Iterable[Record], extractor: Extractor) -> Iterator[Record]:
    """Yields the records in order with features float16 [views, t, n, d] and their times.

    The next batch is decoded while the devices compute the current one. Memory holds these two batches and the records
    they belong to.

    Raises:
      InputError: A record has no pictures or a damaged one, or its features exceed float16.
    """
    settings, encoder = extractor.settings, extractor.encoder
    jobs: deque[_Job] = deque()
    # Clips, and their features on the devices.
    running: deque[tuple[list[tuple[_Job, int, int]], Any]] = deque()
    clip, stride = encoder.clip_frames, encoder.stride

    def clips():
        """Yields (job, view number, first frame) of all clips."""
        for record in records:
            t, (rows, columns, channels) = len(record.frames), encoder.feature_shape
            if not t:
                raise InputError(f"record {record.id!r} ({record.media}) has no pictures to extract features from")
            features = np.empty((settings.views, -(-t // stride), rows * columns, channels), np.float16)
            jobs.append(_Job(record, features, settings.views * -(-t // clip)))
            yield from ((jobs[-1], number, start) for number in range(settings.views) for start in range(0, t, clip))

    def decode(picture) -> np.ndarray:
        record, number, frame = picture
        try:
            return take_view(record.frames[frame], record.id, number, settings)
        except ValueError as error:
            raise InputError(f"record {record.id!r} ({record.media}): {error}") from error

    def load(chunk):
        batch = empty_media(extractor.batch, clip, image_size=settings.image_size)
        pictures = []
        for row, (job, number, start) in enumerate(chunk):
            times = job.record.frame_times[start : start + clip]
            set_times(batch, row, times)
            pictures += [(job.record, number, frame) for frame in range(start, start + len(times))]
        batch["frames"][batch["frame_mask"]] = list(pool.map(decode, pictures))
        return batch["frames"], batch["frame_times"], batch["frame_mask"]

    def collect() -> Iterator[Record]:
        chunk, result = running.popleft()
        for (job, number, start), row in zip(chunk, np.asarray(result), strict=False):
            first, t = start // stride, job.features.shape[1]
            row = row[: t - first]
            if not np.isfinite(row).all():
                raise InputError(f"record {job.record.id!r}: its features are no numbers, or too large for float16")
            job.features[number, first : first + len(row)] = row
            job.remaining -= 1
        while jobs and not jobs[0].remaining:
            job = jobs.popleft()
            yield replace(
                job.record,
                frames=job.record.frames if settings.keep_frames else (),
                frame_times=encoder.group_times(job.record.frame_times),
                features=job.features,
                feature_grid=encoder.feature_shape[:2],
            )

    stream = clips()
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(stream, extractor.batch)):
            running.append((chunk, extractor(*load(chunk))))
            if len(running) == 2:
                yield from collect()
        while running:
            yield from collect()


@dataclass(frozen=True)
class _Shard(ShardFile):
    """A shard of the input and the output: the records with these indices in a split."""

    split: str
    records: range

    @property
    def size(self) -> int:
        return len(self.records)


class FeatureBuilder(RecordBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes the records of a dataset with features, with the same shards as the input.

    Args:
      input_dir: A dataset that data_prep wrote.
      output_dir: Folder of the new dataset.

    Raises:
      InputError: `input_dir` has no dataset, or is `output_dir`.
    """

    def __init__(self, input_dir: Path, output_dir: Path, settings: FeatureSettings, **options):
        self.input_dir = Path(input_dir)
        if self.input_dir.resolve() == Path(output_dir).resolve():
            raise InputError(f"--output {output_dir} is the input; choose another folder")
        try:
            self.source_info = open_dataset(self.input_dir).info
            self.source_report = read_report(self.input_dir)
        except (OSError, ValueError) as error:
            raise InputError(str(error)) from error
        self.extractor = Extractor(settings)
        self.images = 0
        super().__init__(name=self.source_info.name, reader=iter(()), output_dir=output_dir, **options)

    def _info(self):
        info = super()._info()
        description = f"{self.source_info.description} With features of {self.extractor.settings.encoder}."
        return type(info)(builder=self, features=info.features, description=description)

    def _shards(self) -> dict[str, list[_Shard]]:
        import jax

        common = repr(
            (_FORMAT, self.extractor.describe(), self.extractor.settings, jax.__version__, jax.default_backend())
        )
        shards: dict[str, list[_Shard]] = {}
        for split, info in self.source_info.splits.items():
            start, count = 0, info.num_shards
            shards[split] = []
            for index, (length, file) in enumerate(zip(info.shard_lengths, info.filepaths, strict=True)):
                if not Path(file).is_file():
                    raise InputError(f"{file} is missing; {REMEDY}")
                status = Path(file).stat()
                key = repr((common, Path(file).name, status.st_size, status.st_mtime_ns, start, length))
                fingerprint = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
                paths = shard_paths(self.work_dir, self.name, split, index, count)
                shards[split].append(_Shard(*paths, fingerprint, split, range(start, start + length)))
                start += length
        return shards

    def _download_and_prepare(self, dl_manager=None, download_config=None):
        self.report.videos = self.source_report.get("there", {})
        self.report.media = self.source_report.get("media", {})
        # The path is relative, so that both datasets can be moved together.
        path = os.path.relpath(self.input_dir.resolve(), self.output_dir)
        self.report.extracted_from = {"path": path, "fingerprint": fingerprint(self.input_dir)}
        self.report.noun = "video" if self.report.videos else "photo"
        folder = self.work_dir / "dataset"
        shutil.rmtree(folder / "encoder", ignore_errors=True)
        shards = self._shards()
        reports = self._write_shards(shards)
        self.report.items = sum(shard.size for part in shards.values() for shard in part)
        self.report.captions = sum(sum(report.captions.values()) for part in reports.values() for report in part)
        self._describe(reports, shards)
        self.extractor.save(folder / "encoder")

    def _run_shards(self, shards: list, bar: tqdm) -> Iterator[tuple[ShardFile, ShardReport]]:
        for shard in shards:
            yield shard, self._write(shard, bar)

    def _write(self, shard: _Shard, bar: tqdm) -> ShardReport:
        source, tally = RecordSource(self.input_dir, shard.split), Tally()

        def records():
            for record in with_features((source[i] for i in shard.records), self.extractor):
                tally.add(record)
                self.images += record.features.shape[0] * record.features.shape[1]
                yield record
                bar.update(1)

        count, size = write_records(shard.path, records())
        report = tally.report(shard.fingerprint, count, size, shard.path)
        write_report(report, shard.report_path)
        return report


def add_arguments(parser: argparse.ArgumentParser):
    add = parser.add_argument
    add("--input", type=Path, required=True, metavar="DIR", help="a dataset that data_prep wrote")
    add("--output", type=Path, required=True, metavar="DIR", help="the new dataset; work goes on in DIR.partial")
    add("--overwrite", action="store_true", help="replace a dataset that is there")
    add("--encoder", required=True, metavar="NAME", help="such as efficientnet_lite0, resnet50 or vit_s16")
    add("--encoder-options", type=json_object, default={}, metavar="JSON", help="its keyword arguments, in JSON")
    add("--weights", metavar="SOURCE", help="a .pth or .safetensors file, or pip:NAME for a package that carries one "
        "(default: that of efficientnet_lite0, 1 and 2)")  # fmt: skip
    add("--image-size", type=int, metavar="PIXELS", help="a side of what the encoder sees (default: the encoder's own)")
    add(
        "--views", type=int, default=1, metavar="K",
        help="of each picture: all of it, and K - 1 random crops (default: 1)",
    )  # fmt: skip
    add("--crop-scale", type=float, nargs=2, default=(0.5, 1.0), metavar=("LEAST", "MOST"),
        help="the share of the picture's area that a crop keeps (default: 0.5 1)")  # fmt: skip
    add("--flips", action="store_true", help="mirror half of the crops; captions say left and right")
    add("--keep-frames", action="store_true", help="keep the pictures beside the features")
    add("--batch", type=int, default=32, metavar="N", help="pictures at a time (default: 32)")
    add("--clip", type=int, default=64, metavar="N",
        help="frames that an encoder over time sees together; longer videos are cut (default: 64)")  # fmt: skip


def make_settings(args: argparse.Namespace) -> FeatureSettings:
    """Returns the checked settings of a command line.

    Raises:
      InputError: The encoder is unknown, weights are missing, or a number is out of range.
    """
    from capjax.models.encoders import ENCODERS
    from capjax.models.encoders.clip import over_time, time_stride
    from capjax.models.encoders.registry import Encoder
    from capjax.models.frozen_encoder import make_encoder_module
    from capjax.models.pretrained import DEFAULT_WEIGHTS

    least, most = args.crop_scale
    if args.image_size is not None and args.image_size < 1:
        raise InputError(f"--image-size {args.image_size}: expected 1 or more")
    if args.views < 1 or args.batch < 1 or not 0 < least <= most <= 1:
        raise InputError("expected --views and --batch 1 or more, and 0 < LEAST <= MOST <= 1 of --crop-scale")
    weights = args.weights or DEFAULT_WEIGHTS.get(args.encoder)
    ENCODERS.get(args.encoder)
    if weights is None:
        raise InputError(f"--weights is missing: a .pth or .safetensors file for {args.encoder}")
    try:
        module = make_encoder_module(args.encoder, image_size=args.image_size, options=args.encoder_options)
        encoder = cast(Encoder, module)
        encoder.grid(encoder.image_size, encoder.image_size)
    except TypeError as error:
        raise InputError(f"--encoder-options: {error}") from error
    stride = time_stride(encoder)
    if args.clip < 1 or args.clip % stride:
        raise InputError(
            f"--clip {args.clip}: {args.encoder} makes one grid of {stride} frames; use a multiple of that"
        )
    if args.keep_frames and stride > 1:
        raise InputError(
            f"--keep-frames does not go with {args.encoder}: it makes one grid of {stride} frames, and a record has "
            "the times of its pictures or of its features, not both"
        )
    return FeatureSettings(
        encoder=args.encoder, options=args.encoder_options, weights=str(weights), image_size=encoder.image_size,
        views=args.views, crop_scale=(least, most), flips=args.flips, keep_frames=args.keep_frames, batch=args.batch,
        clip=args.clip if over_time(encoder) else 1,
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Extracts the features and prints the throughput.

    Raises:
      InputError, BuildError, WeightsError, OSError: Nothing was written.
    """
    from capjax import runtime

    runtime.start()
    builder = FeatureBuilder(
        local_path(args.input), local_path(args.output), make_settings(args), overwrite=args.overwrite
    )
    start = time.monotonic()
    builder.download_and_prepare()
    seconds = time.monotonic() - start
    rows, columns, channels = builder.extractor.encoder.feature_shape
    print(f"{args.output}: features of {rows} x {columns} x {channels} from {builder.extractor.path.name}")
    print(f"{builder.images:,} views in {seconds:.1f} s ({builder.images / seconds:,.1f} images/s)")
    return 0
