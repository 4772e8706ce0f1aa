"""The record, which data_prep writes and the input pipeline reads.

A record is one image or video clip with its annotations. An image is a video with one frame at time 0. Times are
seconds from the start of the record; languages are BCP-47 (`en`, `pt-BR`).

On disk, a record is a TFDS example in ArrayRecord files. Frames are stored as JPEG files and never re-encoded, so
neither writing nor reading needs TensorFlow.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float16, Float32

from capjax.data.dataset_folder import REMEDY, find_original, metadata_errors_named, open_dataset, read_report
from capjax.files import read_json, storage_path

# Beside the shards of a split: frames, seconds, words and captions of each record, used to make batches.
SIZES_FILE = "sizes-{}.json"
# Origins of a caption, see `RecordCaption`.
ORIGINS = ("human", "machine-translated", "generated")
SIZES = ("frames", "seconds", "words", "caption", "summary", "event")


@dataclass(frozen=True, slots=True)
class RecordCaption:
    """A human or machine text that describes a record or an event in it.

    Attributes:
      text: One or more sentences.
      lang: Language of the text.
      start, end: Interval of the event in seconds; None for the whole record.
      kind: The task that it answers: `caption`, `event` or `summary`.
      set: Number of the annotation set of an event. The events that one annotator marked form a set (ActivityNet's
        val_1 and val_2 are two sets).
      origin: One of `ORIGINS`.
      source_lang: The language that it was translated from; empty if it is no translation, or unknown.
    """

    text: str
    lang: str = "en"
    start: float | None = None
    end: float | None = None
    kind: str = "caption"
    set: int = 0
    origin: str = "human"
    source_lang: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """An object in the picture.

    Attributes:
      name: Its class.
      box: (x0, y0, x1, y1) as fractions of width and height; None if unknown.
    """

    name: str
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """A segment of a transcript.

    Attributes:
      text: The words.
      start, end: Interval in seconds.
      lang: Language of the text.
      kind: `spoken` (recognized in the audio), `on-screen` (read in the picture) or `given` (part of the source data).
      confidence: Confidence of the tool, from 0 to 1; None if unknown.
      tool: Name of the tool that made it; empty for given text.
    """

    text: str
    start: float
    end: float
    lang: str = "en"
    kind: str = "given"
    confidence: float | None = None
    tool: str = ""


@dataclass(slots=True)
class Record:
    """An image or a clip.

    Attributes:
      id: Unique within the dataset.
      media: Name of the source file.
      captions: Texts that describe it.
      frames: t JPEG files; empty if only features are stored.
      frame_times: Seconds.
      duration: Seconds; 0 for an image.
      labels: Objects in the picture.
      transcript: Spoken or written words with their times, in order.
      audio: A FLAC file, or empty.
      audio_rate: Sample rate of `audio`, in Hz.
      features: Features of t frames, or None. View 0 shows the whole frame to the encoder; further views are crops, for
        training. n = rows * columns of `feature_grid`.
      feature_grid: (rows, columns) of a feature map, or None.
      video: Id of the video that the record is a window of; empty if it is the whole video.
      start: Start of the window in that video, in seconds. An event may start before the window or end after it.
    """

    id: str
    media: str
    captions: tuple[RecordCaption, ...]
    frames: tuple[bytes, ...] = ()
    frame_times: Float32[np.ndarray, " t"] = field(default_factory=lambda: np.zeros(1, np.float32))
    duration: float = 0.0
    labels: tuple[Label, ...] = ()
    transcript: tuple[TranscriptSegment, ...] = ()
    audio: bytes = b""
    audio_rate: int = 0
    features: Float16[np.ndarray, "views t n d"] | None = None
    feature_grid: tuple[int, int] | None = None
    video: str = ""
    start: float = 0.0


class _Encoding(NamedTuple):
    """How values of one type are stored: a list of tf.train.Feature, and conversions to and from its entries."""

    list_name: str
    encode: Callable
    decode: Callable


_ENCODINGS: dict[Any, _Encoding] = {
    str: _Encoding("bytes_list", str.encode, bytes.decode),
    bytes: _Encoding("bytes_list", bytes, bytes),
    int: _Encoding("int64_list", int, int),
    float: _Encoding("float_list", float, float),
    float | None: _Encoding(
        "float_list",
        lambda value: math.nan if value is None else value,
        lambda value: None if math.isnan(value) else value,
    ),
}
# (name, type, default) of each field that is a column of its own.
_COLUMNS: dict[type, list[tuple[str, Any, Any]]] = {
    cls: [(field.name, field.type, field.default) for field in fields(cls) if field.type in _ENCODINGS]
    for cls in (Record, RecordCaption, Label, TranscriptSegment)
}


def tfds_features():
    """Returns the schema of a record as TFDS features."""
    from tensorflow_datasets.core import features as f

    text, number, integer = f.Text(), f.Scalar(np.float32), f.Scalar(np.int32)
    by_list = {"bytes_list": text, "float_list": number, "int64_list": integer}

    def columns_of(cls: type) -> dict:
        return {name: by_list[_ENCODINGS[kind].list_name] for name, kind, _ in _COLUMNS[cls]}

    return f.FeaturesDict(
        {
            **columns_of(Record),
            "frames": f.Sequence(text),
            "frame_times": f.Sequence(number),
            "captions": f.Sequence(columns_of(RecordCaption)),
            "labels": f.Sequence({**columns_of(Label), "box": f.Tensor(shape=(4,), dtype=np.float32)}),
            "transcript": f.Sequence(columns_of(TranscriptSegment)),
            # tf.Example has no float16: raw little-endian bytes, with the shape in a column of its own.
            "features": text,
            "features_shape": f.Sequence(integer),
            "feature_grid": f.Sequence(integer),
        }
    )


@functools.cache
def _protos():
    """Returns the modules of tf.Example. The import loads all of TFDS, so it is delayed until needed."""
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    return tf_example_pb2, tf_feature_pb2


def _feature(kind, values: Iterable):
    """Returns values of a type of `_ENCODINGS` as a tf.train.Feature."""
    list_name, encode, _ = _ENCODINGS[kind]
    _, proto = _protos()
    lists = {"bytes_list": proto.BytesList, "float_list": proto.FloatList, "int64_list": proto.Int64List}
    return proto.Feature(**{list_name: lists[list_name](value=map(encode, values))})


def serialize(record: Record) -> bytes:
    """Serializes a record as the tf.Example that TFDS writes for `tfds_features()`, but faster."""
    features, shape = b"", ()
    if record.features is not None:
        features, shape = record.features.astype("<f2", copy=False).tobytes(), record.features.shape

    def columns_of(cls: type, items: Sequence, prefix: str = "") -> dict:
        return {
            f"{prefix}{name}": _feature(kind, (getattr(item, name) for item in items))
            for name, kind, _ in _COLUMNS[cls]
        }

    columns = {
        **columns_of(Record, [record]),
        "frames": _feature(bytes, record.frames),
        "frame_times": _feature(float, record.frame_times),
        **columns_of(RecordCaption, record.captions, "captions/"),
        **columns_of(Label, record.labels, "labels/"),
        "labels/box": _feature(float | None, (number for label in record.labels for number in label.box or [None] * 4)),
        **columns_of(TranscriptSegment, record.transcript, "transcript/"),
        "features": _feature(bytes, [features]),
        "features_shape": _feature(int, shape),
        "feature_grid": _feature(int, record.feature_grid or ()),
    }
    # A tf.Example is a map, which protobuf serializes in an order that differs between processes by default.
    example, proto = _protos()
    return example.Example(features=proto.Features(feature=columns)).SerializeToString(deterministic=True)


def parse(example: bytes) -> Record:
    """Parses a serialized tf.Example; `features` of the record is a view of its bytes.

    TFDS's own decoding is slower and holds the interpreter lock.
    """
    columns = _protos()[0].Example.FromString(example).features.feature

    def read(kind, name: str) -> list:
        list_name, _, decode = _ENCODINGS[kind]
        return [decode(value) for value in getattr(columns[name], list_name).value]

    def rows_of(cls: type, count: int, prefix: str = "") -> Iterator[tuple]:
        # Older datasets lack some columns: their entries have the default.
        values = [
            read(kind, f"{prefix}{name}") or ([] if default is MISSING else [default] * count)
            for name, kind, default in _COLUMNS[cls]
        ]
        return zip(*values, strict=True)

    captions, segments = (len(columns[f"{name}/text"].bytes_list.value) for name in ("captions", "transcript"))
    boxes = iter(read(float | None, "labels/box"))
    shape = read(int, "features_shape")
    names = [name for name, _, _ in _COLUMNS[Record]]
    return Record(
        **dict(zip(names, next(rows_of(Record, 1)), strict=True)),
        captions=tuple(RecordCaption(*row) for row in rows_of(RecordCaption, captions, "captions/")),
        frames=tuple(columns["frames"].bytes_list.value),
        frame_times=np.asarray(columns["frame_times"].float_list.value, np.float32),
        labels=tuple(
            Label(name, None if box[0] is None else cast(tuple[float, float, float, float], tuple(box)))
            for name, *box in zip(read(str, "labels/name"), boxes, boxes, boxes, boxes, strict=True)
        ),
        transcript=tuple(TranscriptSegment(*row) for row in rows_of(TranscriptSegment, segments, "transcript/")),
        features=np.frombuffer(columns["features"].bytes_list.value[0], "<f2").reshape(shape) if shape else None,
        feature_grid=cast(tuple[int, int], tuple(read(int, "feature_grid"))) or None,
    )


class RecordSource:
    """Random access to the records of one split: `len(source)`, `source[i]`.

    Args:
      dataset_dir: A folder written by data_prep, on this machine or at gs://BUCKET/FOLDER.
      split: Name of a split, such as `train`.

    Raises:
      FileNotFoundError: The folder has no finished dataset.
      ValueError: There is no such split, or, when a record is read, its file is damaged.
    """

    def __init__(self, dataset_dir: str | Path, split: str):
        import tensorflow_datasets as tfds

        self.dataset_dir, self.split = storage_path(dataset_dir), split
        builder = open_dataset(self.dataset_dir)
        with metadata_errors_named(self.dataset_dir):
            splits = builder.info.splits
            if split in splits:
                self._files = [str(path) for path in splits[split].filepaths]
                self._ends = np.cumsum(splits[split].shard_lengths)
                self._source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        if split not in splits:
            raise ValueError(f"{self.dataset_dir}: no split {split!r}; it has {', '.join(sorted(splits))}")

    @property
    def languages(self) -> set[str] | None:
        """Languages of the split's captions, from the dataset's report; None without a report."""
        splits = read_report(self.dataset_dir).get("splits")
        if splits is None:
            return None
        if self.split not in splits:
            raise ValueError(f"{self.dataset_dir / 'report.json'} lacks the split {self.split!r}; {REMEDY}")
        return set(splits[self.split]["captions"])

    @property
    def media(self) -> dict:
        """How media were stored, as far as known.

        Keys: `short_side` (pixels) and `quality` of pictures; `fps`, `window` and `overlap` (seconds) of videos that
        were split because they were too long for a record.
        """
        return cast(dict, read_report(self.dataset_dir).get("media", {}))

    @property
    def videos(self) -> tuple[int, int] | None:
        """Number of the split's videos in the dataset, and in the annotations; None for photos."""
        counts = read_report(self.dataset_dir).get("there", {}).get(self.split)
        return (counts["there"], counts["named"]) if counts else None

    def original(self) -> "RecordSource":
        """Opens the same split of the dataset from which the features of this one were extracted.

        Raises:
          FileNotFoundError: That dataset is not recorded, or not where it was.
          ValueError: Another dataset is there now.
        """
        return RecordSource(find_original(self.dataset_dir), self.split)

    def sizes(self) -> dict[str, np.ndarray] | None:
        """Returns sizes of all records, in order, without reading them.

        Keys: `frames`, `seconds`, `words` (mean per caption), and the number of captions by kind: `caption`, `summary`
        and `event` (in the largest annotation set). None for datasets written before sizes were stored.
        """
        path = self.dataset_dir / SIZES_FILE.format(self.split)
        if not path.is_file():
            return None
        sizes = {name: np.asarray(values) for name, values in read_json(path, REMEDY, dict[str, list[float]]).items()}
        for name in SIZES:
            values = sizes.get(name, np.empty(0))
            if values.shape != (len(self),) or values.dtype.kind not in "if" or not (values >= 0).all():
                raise ValueError(f"{path} is damaged: expected {len(self)} numbers of {name}, 0 or more; {REMEDY}")
        return sizes

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        try:
            example = self._source[index]
        except RuntimeError as error:
            raise self._damage(index, str(error)) from error
        if not example:  # as ArrayRecord reads a file that is cut short at the end of a block
            raise self._damage(index, "an empty record")
        try:
            return parse(example)
        except Exception as error:  # protobuf's own, or of any kind where columns are missing
            raise self._damage(index, f"record {index} is none of capjax's: {error!s:.80}") from error

    def _damage(self, index: int, reason: str) -> ValueError:
        """An error that names the file of a record, which ArrayRecord's errors do not."""
        file = self._files[np.searchsorted(self._ends, index, side="right")]
        return ValueError(f"{file} is missing, cut short or damaged ({reason}); {REMEDY}")

    def __repr__(self) -> str:  # part of the iterator's state in Grain, so without an absolute path
        return f"RecordSource({self.dataset_dir.name}/{self.split}, {len(self)} records)"
