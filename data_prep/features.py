"""A dataset to the same with an encoder's features, so that a frozen encoder is paid for once.

python -m data_prep features --input data/flickr8k --output data/flickr8k_lite0 --encoder efficientnet_lite0
python -m data_prep features --input data/mine --output data/mine_vit --encoder vit_s16 --weights vit.pth --views 8

An encoder over time, such as i3d, sees --clip frames of a video together; several frames then give one feature grid,
and the record's times are those of the grids.

The features take the place of the pictures (or, with --keep-frames, lie beside them). DIR/encoder holds the encoder
itself, so that a model trained on the features captions raw photos too. An interrupted run goes on when it is repeated.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from capjax.data.record import Record, RecordSource
from capjax.data.transforms import training_view, view
from capjax.files import write_bytes, write_text
from data_prep.build import RecordBuilder
from data_prep.plan import clear_stale
from data_prep.readers.item import InputError
from data_prep.shards import OutputError, ShardReport, Tally, write_records, write_report

# Raise it when the same input should give other features than before.
_FORMAT = 1
_ASPECT = (0.75, 4 / 3)


@dataclass(frozen=True)
class FeatureSettings:
    """What decides the features.

    Attributes:
      encoder, options: a name in ENCODERS, and its keyword arguments.
      weights: a path or `pip:NAME`; see capjax.models.pretrained.
      image_size: pixels a side of what the encoder sees.
      views: of each picture. View 0 is the one that evaluation and prediction see; the others are random crops, which
        depend on the record's id and the number of the view alone, and are the same in all frames of a video.
      crop_scale: the share of the picture's area that a crop keeps, (least, most).
      flips: mirror half of the crops.
      keep_frames: keep the pictures too.
      batch: pictures at a time.
      clip: frames that an encoder over time sees together, a multiple of its `time_stride`; 1 for an encoder of images.
        A longer video is cut into such clips, of which none knows of the others.
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
    """An encoder with its weights, compiled for batches of one size over all devices.

    Args:
      settings: `batch` is rounded up to whole clips, and to a multiple of the number of devices.

    Attributes:
      batch: clips at a time; clip: frames of each; stride: of these, how many give one grid.
      shape: (rows, columns, channels) of one grid; sha256: of the weight file.
    """

    def __init__(self, settings: FeatureSettings):
        import jax
        from flax import nnx

        from capjax.models.build import make_encoder
        from capjax.models.encoders import ENCODERS, encode_clip
        from capjax.models.encoders.clip import time_stride
        from capjax.models.pretrained import load_pretrained, sha256_of
        from capjax.models.pure_model import batch_stats_of, params_of

        size, options = settings.image_size, settings.options
        encoder = nnx.eval_shape(lambda: ENCODERS.make(settings.encoder, image_size=size, rngs=nnx.Rngs(0), **options))
        self.settings, self.shape = settings, (*encoder.grid(size, size), encoder.width)
        self.clip, self.stride = settings.clip, time_stride(encoder)
        self.path = load_pretrained(encoder, settings.weights)
        self.sha256 = sha256_of(self.path)
        self._arrays = params_of(encoder) | batch_stats_of(encoder)
        pure_model = make_encoder(settings.encoder, image_size=size, options=options)

        devices = jax.local_devices()
        mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices)
        self.batch = -(-settings.batch // (self.clip * len(devices))) * len(devices)
        rows, everywhere = (
            jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (["data"], [])
        )

        def extract(arrays, frames, times, mask):
            params = {name: arrays[name] for name in pure_model.shapes}
            batch_stats = {name: arrays[name] for name in pure_model.batch_stat_shapes}
            features, *_ = encode_clip(pure_model.bind(params, batch_stats), frames, times, mask)
            return features.astype(np.float16)

        self._extract = jax.jit(extract, in_shardings=(everywhere, rows, rows, rows), out_shardings=rows)
        self._placed = jax.device_put(self._arrays, everywhere)

    def __call__(self, frames: np.ndarray, times: np.ndarray, mask: np.ndarray):
        """uint8 [batch, clip, s, s, 3], float32 and bool [batch, clip] -> float16 [batch, clip / stride, n, d] on the
        devices; returns before it is computed."""
        return self._extract(self._placed, frames, times, mask)

    def about(self) -> dict:
        """What encoder.json says."""
        known = asdict(self.settings) | {"feature_shape": self.shape}
        for name in ("keep_frames", "batch"):
            del known[name]
        return known | {"weights_file": self.path.name, "weights_sha256": self.sha256}

    def save(self, folder: Path):
        """Writes encoder.json and encoder.safetensors, parameters and running statistics under our names."""
        from safetensors.numpy import save

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(value) for name, value in self._arrays.items()}
        write_bytes(folder / "encoder.safetensors", save(arrays))
        write_text(folder / "encoder.json", json.dumps(self.about(), indent=1) + "\n")


def take_view(jpeg: bytes, id: str, number: int, settings: FeatureSettings) -> np.ndarray:
    """View `number` of a picture of record `id`: uint8 [s, s, 3]."""
    if number == 0:
        return view(jpeg, settings.image_size)
    seed = hashlib.blake2b(f"{number} {id}".encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(seed, "little")))
    return training_view(jpeg, settings.image_size, rng, scale=settings.crop_scale, aspect=_ASPECT, flip=settings.flips)


@dataclass
class _Job:
    """A record, its features as far as they are known, and how many clips are still to come."""

    record: Record
    features: np.ndarray
    left: int


def with_features(records: Iterable[Record], extractor: Extractor) -> Iterator[Record]:
    """The records in order, with features float16 [views, t, n, d] and the times of these.

    While the devices work on a batch the next is decoded; no more than these two are in memory, and the records they
    belong to.

    Raises:
      InputError: a record has no pictures, or a damaged one, or features that float16 cannot hold.
    """
    from capjax.models.encoders.clip import group_times

    settings, jobs, running = extractor.settings, deque(), deque()
    clip, stride, size = extractor.clip, extractor.stride, settings.image_size

    def clips():
        for record in records:
            t, (rows, columns, channels) = len(record.frames), extractor.shape
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

    def load(part):
        """Frames, times and mask of a batch of clips."""
        frames = np.zeros((extractor.batch, clip, size, size, 3), np.uint8)
        times, mask = np.zeros(frames.shape[:2], np.float32), np.zeros(frames.shape[:2], bool)
        pictures = []
        for row, (job, number, start) in enumerate(part):
            seen = job.record.frame_times[start : start + clip]
            times[row, : len(seen)], mask[row, : len(seen)] = seen, True
            pictures += [(job.record, number, frame) for frame in range(start, start + len(seen))]
        frames[mask] = list(pool.map(decode, pictures))
        return frames, times, mask

    def collect() -> Iterator[Record]:
        part, result = running.popleft()
        for (job, number, start), row in zip(part, np.asarray(result), strict=False):
            first, t = start // stride, job.features.shape[1]
            row = row[: t - first]
            if not np.isfinite(row).all():
                raise InputError(f"record {job.record.id!r}: its features are no numbers, or too large for float16")
            job.features[number, first : first + len(row)] = row
            job.left -= 1
        while jobs and not jobs[0].left:
            job = jobs.popleft()
            frames, times = job.record.frames if settings.keep_frames else (), job.record.frame_times
            if stride > 1:
                times = np.asarray(group_times(times[None], np.ones((1, len(times)), bool), stride)[0][0])
            yield replace(
                job.record, frames=frames, frame_times=times, features=job.features, feature_grid=extractor.shape[:2]
            )

    stream = clips()
    with ThreadPoolExecutor() as pool:
        while part := list(islice(stream, extractor.batch)):
            running.append((part, extractor(*load(part))))
            if len(running) == 2:
                yield from collect()
        while running:
            yield from collect()


@dataclass(frozen=True)
class _Shard:
    """One shard of the input and of the output: the records [start, stop) of a split."""

    path: Path
    report_path: Path
    fingerprint: str
    split: str
    start: int
    stop: int


class FeatureBuilder(RecordBuilder, skip_registration=True):
    """Writes the records of a dataset with features, shard by shard as they lie in the input.

    Args:
      input_dir: a dataset that data_prep wrote.
      output_dir: where the new one goes.

    Raises:
      InputError: the input is no dataset, or is the output.
    """

    def __init__(self, input_dir: Path, output_dir: Path, settings: FeatureSettings, **options):
        import tensorflow_datasets as tfds

        self.input_dir = Path(input_dir)
        if self.input_dir.resolve() == Path(output_dir).resolve():
            raise InputError(f"--output {output_dir} is the input; choose another folder")
        if not (self.input_dir / "dataset_info.json").is_file():
            raise InputError(f"{input_dir}: no dataset here (dataset_info.json is missing)")
        self.source_info = tfds.builder_from_directory(self.input_dir).info
        self.extractor = Extractor(settings)
        self.images = 0
        super().__init__(name=self.source_info.name, reader=iter(()), output_dir=output_dir, **options)

    def _info(self):
        info = super()._info()
        description = f"{self.source_info.description} With features of {self.extractor.settings.encoder}."
        return type(info)(builder=self, features=info.features, description=description)

    def _shards(self) -> dict[str, list[_Shard]]:
        import jax

        known = repr((_FORMAT, self.extractor.about(), self.extractor.settings, jax.__version__, jax.default_backend()))
        shards: dict[str, list[_Shard]] = {}
        for split, info in self.source_info.splits.items():
            start, count = 0, info.num_shards
            shards[split] = []
            for index, (length, file) in enumerate(zip(info.shard_lengths, info.filepaths, strict=True)):
                status = Path(file).stat()
                asked = repr((known, Path(file).name, status.st_size, status.st_mtime_ns, start, length))
                name = f"{self.name}-{split}.array_record-{index:05d}-of-{count:05d}"
                shards[split].append(
                    _Shard(
                        path=self.work_dir / "dataset" / name,
                        report_path=self.work_dir / "shards" / f"{name}.json",
                        fingerprint=hashlib.blake2b(asked.encode(), digest_size=16).hexdigest(),
                        split=split,
                        start=start,
                        stop=start + length,
                    )
                )
                start += length
        return shards

    def _download_and_prepare(self, dl_manager=None, download_config=None):
        shards = self._shards()
        everything = [shard for part in shards.values() for shard in part]
        folder = self.work_dir / "dataset"
        shutil.rmtree(folder / "encoder", ignore_errors=True)
        clear_stale(self.work_dir, everything)
        reports = {shard.path: report for shard in everything if (report := ShardReport.read(shard))}
        pending = [shard for shard in everything if shard.path not in reports]
        total, left = (sum(shard.stop - shard.start for shard in part) for part in (everything, pending))
        with tqdm(total=total, initial=total - left, desc=self.name, unit=" records", **self._bar) as bar:
            for shard in pending:
                reports[shard.path] = self._write(shard, bar.update)
        before = json.loads((self.input_dir / "report.json").read_text())
        self.report.videos, self.report.media = before.get("there", {}), before.get("media", {})
        self.report.noun = "video" if self.report.videos else "photo"
        self.report.items = total
        self.report.captions = sum(sum(report.captions.values()) for report in reports.values())
        self._describe({split: [reports[shard.path] for shard in part] for split, part in shards.items()}, shards)
        try:
            self.extractor.save(folder / "encoder")
        except OSError as error:
            raise OutputError(error.errno, error.strerror, str(folder)) from error

    def _write(self, shard: _Shard, on_records: Callable[[int], None]) -> ShardReport:
        source, tally = RecordSource(self.input_dir, shard.split), Tally()

        def records():
            for record in with_features((source[i] for i in range(shard.start, shard.stop)), self.extractor):
                tally.add(record)
                self.images += record.features.shape[0] * record.features.shape[1]
                yield record
                on_records(1)

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
    add("--encoder-options", type=_options, default={}, metavar="JSON", help="its keyword arguments, as a JSON object")
    add("--weights", metavar="SOURCE", help="a .pth or .safetensors file, or pip:NAME for a package that carries one "
        "(default: that of efficientnet_lite0, 1 and 2)")  # fmt: skip
    add("--image-size", type=int, metavar="PIXELS", help="a side of what the encoder sees (default: the encoder's own)")
    add(
        "--views",
        type=int,
        default=1,
        metavar="K",
        help="of each picture: all of it, and K - 1 random crops (default: 1)",
    )
    add("--crop-scale", type=float, nargs=2, default=(0.5, 1.0), metavar=("LEAST", "MOST"),
        help="the share of the picture's area that a crop keeps (default: 0.5 1)")  # fmt: skip
    add("--flips", action="store_true", help="mirror half of the crops; captions say left and right")
    add("--keep-frames", action="store_true", help="keep the pictures beside the features")
    add("--batch", type=int, default=32, metavar="N", help="pictures at a time (default: 32)")
    add("--clip", type=int, default=64, metavar="N",
        help="frames that an encoder over time sees together; longer videos are cut (default: 64)")  # fmt: skip


def _options(text: str) -> dict:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError
    return value


def make_settings(args: argparse.Namespace) -> FeatureSettings:
    """The settings of a command line, checked.

    Raises:
      InputError: unknown encoder, no weights, or a number out of range; the message says what is possible.
    """
    from flax import nnx

    from capjax.models.encoders import ENCODERS
    from capjax.models.encoders.clip import over_time, time_stride
    from capjax.models.pretrained import DEFAULT_WEIGHTS

    least, most = args.crop_scale
    if args.image_size is not None and args.image_size < 1:
        raise InputError(f"--image-size {args.image_size}: expected 1 or more")
    if args.views < 1 or args.batch < 1 or not 0 < least <= most <= 1:
        raise InputError("expected --views and --batch 1 or more, and 0 < LEAST <= MOST <= 1 of --crop-scale")
    weights = args.weights or DEFAULT_WEIGHTS.get(args.encoder)
    maker = ENCODERS.get(args.encoder)
    if weights is None:
        raise InputError(f"--weights is missing: a .pth or .safetensors file for {args.encoder}")
    try:
        size = {} if args.image_size is None else {"image_size": args.image_size}
        encoder = nnx.eval_shape(lambda: maker(rngs=nnx.Rngs(0), **size, **args.encoder_options))
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
    """Extracts the features and says how fast that was.

    Raises:
      InputError, BuildError, WeightsError, OSError: nothing was written; the message says why.
    """
    from capjax import runtime

    runtime.start()
    builder = FeatureBuilder(args.input, args.output, make_settings(args), overwrite=args.overwrite)
    start = time.monotonic()
    try:
        builder.download_and_prepare()
    except KeyboardInterrupt:
        kept = f"What is finished is kept in {builder.work_dir}; the same command goes on from there."
        print(f"\n{kept}", file=sys.stderr)
        raise
    seconds = time.monotonic() - start
    rows, columns, channels = builder.extractor.shape
    print(f"{args.output}: features of {rows} x {columns} x {channels} from {builder.extractor.path.name}")
    print(f"{builder.images:,} views in {seconds:.1f} s ({builder.images / seconds:,.1f} images/s)")
    return 0
