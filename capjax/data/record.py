"""The record, which data_prep writes and the input pipeline reads.

A record is one image or video clip with its annotations. An image is a video with one frame at time 0. Times are
seconds from the start of the record; languages are BCP-47 (`en`, `pt-BR`).

On disk, a record is a TFDS example in ArrayRecord files. Frames are stored as JPEG files and never re-encoded, so
neither writing nor reading needs TensorFlow.
"""

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from capjax.files import storage_path

# Beside the shards of a split: frames, seconds, words and captions of each record, used to make batches.
SIZES_FILE = "sizes-{}.json"


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
      origin: `human`, `machine-translated` or `generated`.
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
      frame_times: float32 [t], seconds.
      duration: Seconds; 0 for an image.
      labels: Objects in the picture.
      transcript: Spoken or written words with their times, in order.
      audio: A FLAC file, or empty.
      audio_rate: Sample rate of `audio`, in Hz.
      features: float16 [views, t, n, d], or None. View 0 shows the whole frame to the encoder; further views are crops,
        for training. n = rows * columns of `feature_grid`.
      feature_grid: (rows, columns) of a feature map, or None.
      video: Id of the video that the record is a window of; empty if it is the whole video.
      start: Start of the window in that video, in seconds. An event may start before the window or end after it.
    """

    id: str
    media: str
    captions: tuple[RecordCaption, ...]
    frames: tuple[bytes, ...] = ()
    frame_times: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))
    duration: float = 0.0
    labels: tuple[Label, ...] = ()
    transcript: tuple[TranscriptSegment, ...] = ()
    audio: bytes = b""
    audio_rate: int = 0
    features: np.ndarray | None = None
    feature_grid: tuple[int, int] | None = None
    video: str = ""
    start: float = 0.0


def tfds_features():
    """Returns the schema of a record as TFDS features."""
    from tensorflow_datasets.core import features as f

    text, number = f.Text(), f.Scalar(np.float32)
    return f.FeaturesDict(
        {
            "id": text,
            "media": text,
            "frames": f.Sequence(text),
            "frame_times": f.Sequence(number),
            "duration": number,
            "captions": f.Sequence(
                {
                    "text": text,
                    "lang": text,
                    "start": number,
                    "end": number,
                    "kind": text,
                    "set": f.Scalar(np.int32),
                    "origin": text,
                    "source_lang": text,
                }
            ),
            "labels": f.Sequence({"name": text, "box": f.Tensor(shape=(4,), dtype=np.float32)}),
            "transcript": f.Sequence(
                {
                    "text": text,
                    "start": number,
                    "end": number,
                    "lang": text,
                    "kind": text,
                    "confidence": number,
                    "tool": text,
                }
            ),
            "audio": text,
            "audio_rate": f.Scalar(np.int32),
            # tf.Example has no float16: raw little-endian bytes, with the shape in a column of its own.
            "features": text,
            "features_shape": f.Sequence(f.Scalar(np.int32)),
            "feature_grid": f.Sequence(f.Scalar(np.int32)),
            "video": text,
            "start": number,
        }
    )


@functools.cache
def _protos():
    """Returns the modules of tf.Example. The import loads all of TFDS, so it is delayed until needed."""
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    return tf_example_pb2, tf_feature_pb2


def _texts(values: Iterable[str | bytes]):
    _, proto = _protos()
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return proto.Feature(bytes_list=proto.BytesList(value=encoded))


def _numbers(values: Iterable[float | None]):
    """Returns a feature of floats, with NaN for None."""
    _, proto = _protos()
    return proto.Feature(float_list=proto.FloatList(value=[math.nan if value is None else value for value in values]))


def _integers(values: Iterable[int]):
    _, proto = _protos()
    return proto.Feature(int64_list=proto.Int64List(value=values))


def serialize(record: Record) -> bytes:
    """Serializes a record as the tf.Example that TFDS writes for `tfds_features()`, but faster."""
    features, shape = b"", ()
    if record.features is not None:
        features, shape = record.features.astype("<f2", copy=False).tobytes(), record.features.shape
    captions, labels, segments = record.captions, record.labels, record.transcript
    columns = {
        "id": _texts([record.id]),
        "media": _texts([record.media]),
        "frames": _texts(record.frames),
        "frame_times": _numbers(record.frame_times),
        "duration": _numbers([record.duration]),
        "captions/text": _texts(c.text for c in captions),
        "captions/lang": _texts(c.lang for c in captions),
        "captions/start": _numbers(c.start for c in captions),
        "captions/end": _numbers(c.end for c in captions),
        "captions/kind": _texts(c.kind for c in captions),
        "captions/set": _integers(c.set for c in captions),
        "captions/origin": _texts(c.origin for c in captions),
        "captions/source_lang": _texts(c.source_lang for c in captions),
        "labels/name": _texts(x.name for x in labels),
        "labels/box": _numbers(v for x in labels for v in x.box or [None] * 4),
        "transcript/text": _texts(s.text for s in segments),
        "transcript/start": _numbers(s.start for s in segments),
        "transcript/end": _numbers(s.end for s in segments),
        "transcript/lang": _texts(s.lang for s in segments),
        "transcript/kind": _texts(s.kind for s in segments),
        "transcript/confidence": _numbers(s.confidence for s in segments),
        "transcript/tool": _texts(s.tool for s in segments),
        "audio": _texts([record.audio]),
        "audio_rate": _integers([record.audio_rate]),
        "features": _texts([features]),
        "features_shape": _integers(shape),
        "feature_grid": _integers(record.feature_grid or ()),
        "video": _texts([record.video]),
        "start": _numbers([record.start]),
    }
    # A tf.Example is a map, which protobuf serializes in an order that differs between processes by default.
    example, proto = _protos()
    return example.Example(features=proto.Features(feature=columns)).SerializeToString(deterministic=True)


def parse(example: bytes) -> Record:
    """Parses a serialized tf.Example; `features` of the record is a view of its bytes.

    TFDS's own decoding is slower and holds the interpreter lock.
    """
    columns = _protos()[0].Example.FromString(example).features.feature

    def texts(name: str) -> list[str]:
        return [value.decode() for value in columns[name].bytes_list.value]

    def numbers(name: str) -> list[float | None]:
        return [None if math.isnan(value) else value for value in columns[name].float_list.value]

    def integers(name: str) -> tuple[int, ...]:
        return tuple(columns[name].int64_list.value)

    # Older datasets lack some columns: their entries have the default.
    count = len(columns["captions/text"].bytes_list.value)
    captions = zip(
        texts("captions/text"), texts("captions/lang"), numbers("captions/start"), numbers("captions/end"),
        texts("captions/kind"), integers("captions/set") or [0] * count, texts("captions/origin") or ["human"] * count,
        texts("captions/source_lang") or [""] * count, strict=True,
    )  # fmt: skip
    boxes = iter(numbers("labels/box"))
    count = len(columns["transcript/text"].bytes_list.value)
    segments = zip(
        texts("transcript/text"), numbers("transcript/start"), numbers("transcript/end"), texts("transcript/lang"),
        texts("transcript/kind") or ["given"] * count, numbers("transcript/confidence") or [None] * count,
        texts("transcript/tool") or [""] * count, strict=True,
    )  # fmt: skip
    shape = integers("features_shape")
    return Record(
        id=texts("id")[0],
        media=texts("media")[0],
        captions=tuple(RecordCaption(*row) for row in captions),
        frames=tuple(columns["frames"].bytes_list.value),
        frame_times=np.asarray(columns["frame_times"].float_list.value, np.float32),
        duration=columns["duration"].float_list.value[0],
        labels=tuple(
            Label(name, None if box[0] is None else cast(tuple[float, float, float, float], tuple(box)))
            for name, *box in zip(texts("labels/name"), boxes, boxes, boxes, boxes, strict=True)
        ),
        transcript=tuple(TranscriptSegment(*row) for row in segments),
        audio=columns["audio"].bytes_list.value[0],
        audio_rate=integers("audio_rate")[0],
        features=np.frombuffer(columns["features"].bytes_list.value[0], "<f2").reshape(shape) if shape else None,
        feature_grid=cast(tuple[int, int], integers("feature_grid")) or None,
        # Datasets of photos written before videos were supported lack these columns.
        video=(texts("video") or [""])[0],
        start=next(iter(columns["start"].float_list.value), 0.0),
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
        if not (self.dataset_dir / "dataset_info.json").is_file():
            raise FileNotFoundError(
                f"{self.dataset_dir}: no dataset here (dataset_info.json is missing). "
                "Write one with `python -m data_prep NAME --input ... --output ...`."
            )
        builder = tfds.builder_from_directory(self.dataset_dir)
        if split not in builder.info.splits:
            raise ValueError(f"{self.dataset_dir}: no split {split!r}; it has {', '.join(sorted(builder.info.splits))}")
        info = builder.info.splits[split]
        self._files, self._ends = [str(path) for path in info.filepaths], np.cumsum(info.shard_lengths)
        self._source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    @property
    def _report(self) -> dict:
        path = self.dataset_dir / "report.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    @property
    def languages(self) -> set[str] | None:
        """Languages of the split's captions, from the dataset's report; None without a report."""
        report = self._report
        return set(report["splits"][self.split]["captions"]) if report else None

    @property
    def media(self) -> dict:
        """How media were stored, as far as known.

        Keys: `short_side` (pixels) and `quality` of pictures; `fps`, `window` and `overlap` (seconds) of videos that
        were split because they were too long for a record.
        """
        return self._report.get("media", {})

    @property
    def videos(self) -> tuple[int, int] | None:
        """Number of the split's videos in the dataset, and in the annotations; None for photos."""
        counts = self._report.get("there", {}).get(self.split)
        return (counts["there"], counts["named"]) if counts else None

    def sizes(self) -> dict[str, np.ndarray] | None:
        """Returns sizes of all records, in order, without reading them.

        Keys: `frames`, `seconds`, `words` (mean per caption), and the number of captions by kind: `caption`, `summary`
        and `event` (in the largest annotation set). None for datasets written before sizes were stored.
        """
        path = self.dataset_dir / SIZES_FILE.format(self.split)
        if not path.is_file():
            return None
        return {name: np.asarray(values) for name, values in json.loads(path.read_text()).items()}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        try:
            example = self._source[index]
        except RuntimeError as error:  # ArrayRecord's error names no file
            file = self._files[np.searchsorted(self._ends, index, side="right")]
            raise ValueError(
                f"{file} is missing, cut short or damaged ({error}); copy it again, or write the dataset again with "
                "the same `python -m data_prep` command and --overwrite"
            ) from error
        return parse(example)

    def __repr__(self) -> str:  # part of the iterator's state in Grain, so without an absolute path
        return f"RecordSource({self.dataset_dir.name}/{self.split}, {len(self)} records)"
