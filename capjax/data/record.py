"""The record: what data_prep writes and the input pipeline reads.

One record is one image or one video clip with all that is known of it. An image is a video with one frame at time 0.
Times are seconds from the start of the record; languages are BCP-47 (`en`, `pt-BR`).

On disk a record is a TFDS example in ArrayRecord files. Frames are stored as encoded JPEG bytes and are never touched
on the way, so neither writing nor reading needs TensorFlow.
"""

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# Beside the shards of a split: frames, seconds, events and words of each record, by which batches are made.
SIZES_FILE = "sizes-{}.json"


@dataclass(frozen=True, slots=True)
class RecordCaption:
    """A sentence about a record. `start` and `end` (s) bound the event it tells of; None: the whole record.

    `kind` is the task it answers: `caption`, `event` or `summary`. `set` numbers the annotation sets of events: what
    one person saw in the video is one set (ActivityNet's val_1 and val_2 are two).
    """

    text: str
    lang: str = "en"
    start: float | None = None
    end: float | None = None
    kind: str = "caption"
    set: int = 0


@dataclass(frozen=True, slots=True)
class Label:
    """An object in the picture. `box` is (x0, y0, x1, y1) as fractions of width and height; None: somewhere in it."""

    name: str
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Speech:
    """A stretch of transcript, `start` to `end` in seconds."""

    text: str
    start: float
    end: float
    lang: str = "en"


@dataclass(slots=True)
class Record:
    """One image or clip, as read from disk.

    Attributes:
      id: unique within the dataset.
      media: the name of the file it came from, for people to find it.
      frames: t JPEG files; empty where only features are kept.
      frame_times: float32 [t], seconds.
      duration: seconds; 0 for an image.
      video: the id of the video it is a part of; empty: it is all of it. `start`: where in that video, in seconds. An
        event may begin before such a part, or end after it.
      audio: a FLAC file, or empty; `audio_rate` in Hz.
      features: float16 [views, t, n, d], or None. View 0 is what the encoder saw of the whole frame; further
        views are other crops of it, for training. n = rows * columns of `feature_grid`.
      feature_grid: (rows, columns) of a feature map, or None.
    """

    id: str
    media: str
    captions: tuple[RecordCaption, ...]
    frames: tuple[bytes, ...] = ()
    frame_times: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))
    duration: float = 0.0
    labels: tuple[Label, ...] = ()
    transcript: tuple[Speech, ...] = ()
    audio: bytes = b""
    audio_rate: int = 0
    features: np.ndarray | None = None
    feature_grid: tuple[int, int] | None = None
    video: str = ""
    start: float = 0.0


def tfds_features():
    """The schema, as tfds features."""
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
                {"text": text, "lang": text, "start": number, "end": number, "kind": text, "set": f.Scalar(np.int32)}
            ),
            "labels": f.Sequence({"name": text, "box": f.Tensor(shape=(4,), dtype=np.float32)}),
            "transcript": f.Sequence({"text": text, "start": number, "end": number, "lang": text}),
            "audio": text,
            "audio_rate": f.Scalar(np.int32),
            # float16 is not a tf.Example type: raw little-endian bytes, and their shape beside them.
            "features": text,
            "features_shape": f.Sequence(f.Scalar(np.int32)),
            "feature_grid": f.Sequence(f.Scalar(np.int32)),
            "video": text,
            "start": number,
        }
    )


@functools.cache
def _protos():
    """The modules of tf.Example; with them comes all of TFDS, so not before they are needed."""
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    return tf_example_pb2, tf_feature_pb2


def _texts(values: Iterable[str | bytes]):
    _, proto = _protos()
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return proto.Feature(bytes_list=proto.BytesList(value=encoded))


def _numbers(values: Iterable[float | None]):
    """None is stored as NaN."""
    _, proto = _protos()
    return proto.Feature(float_list=proto.FloatList(value=[math.nan if value is None else value for value in values]))


def _integers(values: Iterable[int]):
    _, proto = _protos()
    return proto.Feature(int64_list=proto.Int64List(value=values))


def serialize(record: Record) -> bytes:
    """A Record as the tf.Example that TFDS would write for `tfds_features()`, at a tenth of its time."""
    features, shape = b"", ()
    if record.features is not None:
        features, shape = record.features.astype("<f2", copy=False).tobytes(), record.features.shape
    captions, labels, speech = record.captions, record.labels, record.transcript
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
        "labels/name": _texts(x.name for x in labels),
        "labels/box": _numbers(v for x in labels for v in x.box or [None] * 4),
        "transcript/text": _texts(s.text for s in speech),
        "transcript/start": _numbers(s.start for s in speech),
        "transcript/end": _numbers(s.end for s in speech),
        "transcript/lang": _texts(s.lang for s in speech),
        "audio": _texts([record.audio]),
        "audio_rate": _integers([record.audio_rate]),
        "features": _texts([features]),
        "features_shape": _integers(shape),
        "feature_grid": _integers(record.feature_grid or ()),
        "video": _texts([record.video]),
        "start": _numbers([record.start]),
    }
    # A tf.Example is a map, and protobuf writes maps in another order in every process unless told not to.
    example, proto = _protos()
    return example.Example(features=proto.Features(feature=columns)).SerializeToString(deterministic=True)


def parse(example: bytes) -> Record:
    """The Record of a serialized tf.Example; `features` is a view of the bytes read.

    TFDS's own decoding takes half a millisecond a record, and holds the interpreter lock all the while.
    """
    columns = _protos()[0].Example.FromString(example).features.feature

    def texts(name: str) -> list[str]:
        return [value.decode() for value in columns[name].bytes_list.value]

    def numbers(name: str) -> list[float | None]:
        return [None if math.isnan(value) else value for value in columns[name].float_list.value]

    def integers(name: str) -> tuple[int, ...]:
        return tuple(columns[name].int64_list.value)

    sentences = texts("captions/text")
    captions = zip(
        sentences, texts("captions/lang"), numbers("captions/start"), numbers("captions/end"), texts("captions/kind"),
        integers("captions/set") or [0] * len(sentences), strict=True,
    )  # fmt: skip
    boxes = iter(numbers("labels/box"))
    speech = zip(
        texts("transcript/text"), numbers("transcript/start"), numbers("transcript/end"), texts("transcript/lang"),
        strict=True,
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
            Label(name, None if box[0] is None else tuple(box))
            for name, *box in zip(texts("labels/name"), boxes, boxes, boxes, boxes, strict=True)
        ),
        transcript=tuple(Speech(*row) for row in speech),
        audio=columns["audio"].bytes_list.value[0],
        audio_rate=integers("audio_rate")[0],
        features=np.frombuffer(columns["features"].bytes_list.value[0], "<f2").reshape(shape) if shape else None,
        feature_grid=integers("feature_grid") or None,
        # Datasets of photos that were written before there were videos have no such columns.
        video=(texts("video") or [""])[0],
        start=(numbers("start") or [0.0])[0],
    )


class RecordSource:
    """Random access to the records of one split: `len(source)`, `source[i]`.

    Args:
      dataset_dir: a folder written by data_prep.
      split: a split's name, such as `train`.

    Raises:
      FileNotFoundError: there is no finished dataset in the folder.
      ValueError: there is no such split; the message names those there are. Of a record: its file is damaged.
    """

    def __init__(self, dataset_dir: str | Path, split: str):
        import tensorflow_datasets as tfds

        self.dataset_dir, self.split = Path(dataset_dir), split
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
        """The languages of the split's captions, as the dataset's report has them; None where it has no report."""
        report = self._report
        return set(report["splits"][self.split]["captions"]) if report else None

    @property
    def media(self) -> dict:
        """How media were stored: `short_side` (pixels) and `quality` of pictures, `fps`, and `window` and `overlap`
        (seconds) by which what is too long for a record was cut. What is not known is not there."""
        return self._report.get("media", {})

    @property
    def videos(self) -> tuple[int, int] | None:
        """How many of the split's videos are there, and how many the annotations name; None: these are photos."""
        counts = self._report.get("there", {}).get(self.split)
        return (counts["there"], counts["named"]) if counts else None

    def sizes(self) -> dict[str, np.ndarray] | None:
        """Of each record in order, without reading it: `frames`, `seconds`, `words` (in a caption, on average), and how
        many it has of each kind of caption: `caption`, `summary`, and `event` (of the largest annotation set). None:
        the dataset was written before these were noted."""
        path = self.dataset_dir / SIZES_FILE.format(self.split)
        if not path.is_file():
            return None
        return {name: np.asarray(values) for name, values in json.loads(path.read_text()).items()}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        try:
            example = self._source[index]
        except RuntimeError as error:  # ArrayRecord's, which names no file
            file = self._files[np.searchsorted(self._ends, index, side="right")]
            raise ValueError(
                f"{file} is missing, cut short or damaged ({error}); copy it anew, or write the dataset again: the "
                "same `python -m data_prep` command, with --overwrite"
            ) from error
        return parse(example)

    def __repr__(self) -> str:  # Grain puts this in the iterator's state, so it must name no address
        return f"RecordSource({self.dataset_dir.name}/{self.split}, {len(self)} records)"
