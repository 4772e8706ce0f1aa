"""The record: what data_prep writes and the input pipeline reads.

One record is one image or one video clip with all that is known of it. An image is a video with one frame at time 0.
Times are seconds from the start of the record; languages are BCP-47 (`en`, `pt-BR`).

On disk a record is a TFDS example in ArrayRecord files. Frames are stored as encoded JPEG bytes and are never touched on
the way, so neither writing nor reading needs TensorFlow.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence about a record. `start` and `end` (s) bound the event it tells of; None: the whole record.

    `kind` is the task it answers: `caption`, `event` or `summary`.
    """

    text: str
    lang: str = "en"
    start: float | None = None
    end: float | None = None
    kind: str = "caption"


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
      audio: a FLAC file, or empty; `audio_rate` in Hz.
      features: float16 [views, t, n, d], or None. View 0 is what the encoder saw of the whole frame; further
        views are other crops of it, for training. n = rows * columns of `feature_grid`.
      feature_grid: (rows, columns) of a feature map, or None.
    """

    id: str
    media: str
    captions: tuple[Caption, ...]
    frames: tuple[bytes, ...] = ()
    frame_times: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))
    duration: float = 0.0
    labels: tuple[Label, ...] = ()
    transcript: tuple[Speech, ...] = ()
    audio: bytes = b""
    audio_rate: int = 0
    features: np.ndarray | None = None
    feature_grid: tuple[int, int] | None = None


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
            "captions": f.Sequence({"text": text, "lang": text, "start": number, "end": number, "kind": text}),
            "labels": f.Sequence({"name": text, "box": f.Tensor(shape=(4,), dtype=np.float32)}),
            "transcript": f.Sequence({"text": text, "start": number, "end": number, "lang": text}),
            "audio": text,
            "audio_rate": f.Scalar(np.int32),
            # float16 is not a tf.Example type: raw little-endian bytes, and their shape beside them.
            "features": text,
            "features_shape": f.Sequence(f.Scalar(np.int32)),
            "feature_grid": f.Sequence(f.Scalar(np.int32)),
        }
    )


_NAN = float("nan")


def _seconds(value: float | None) -> float:
    return _NAN if value is None else value


def _maybe(value) -> float | None:
    return None if np.isnan(value) else float(value)


def to_example(record: Record) -> dict:
    """A Record as the dict that `tfds_features()` encodes. None is stored as NaN."""
    features, shape = b"", ()
    if record.features is not None:
        features, shape = record.features.astype("<f2", copy=False).tobytes(), record.features.shape
    return {
        "id": record.id,
        "media": record.media,
        "frames": list(record.frames),
        "frame_times": np.asarray(record.frame_times, np.float32),
        "duration": record.duration,
        "captions": [
            {"text": c.text, "lang": c.lang, "start": _seconds(c.start), "end": _seconds(c.end), "kind": c.kind}
            for c in record.captions
        ],
        "labels": [{"name": x.name, "box": np.asarray(x.box or [_NAN] * 4, np.float32)} for x in record.labels],
        "transcript": [{"text": s.text, "start": s.start, "end": s.end, "lang": s.lang} for s in record.transcript],
        "audio": record.audio,
        "audio_rate": record.audio_rate,
        "features": features,
        "features_shape": list(shape),
        "feature_grid": list(record.feature_grid or ()),
    }


def from_example(example: dict) -> Record:
    """A decoded tfds example (`as_data_source`) as a Record; `features` is a view of the bytes read."""
    captions, labels, speech = example["captions"], example["labels"], example["transcript"]
    shape = tuple(int(n) for n in example["features_shape"])
    return Record(
        id=example["id"].decode(),
        media=example["media"].decode(),
        frames=tuple(example["frames"]),
        frame_times=np.asarray(example["frame_times"], np.float32),
        duration=float(example["duration"]),
        captions=tuple(
            Caption(text.decode(), lang.decode(), _maybe(start), _maybe(end), kind.decode())
            for text, lang, start, end, kind in zip(
                captions["text"], captions["lang"], captions["start"], captions["end"], captions["kind"], strict=True
            )
        ),
        labels=tuple(
            Label(name.decode(), None if np.isnan(box[0]) else tuple(float(x) for x in box))
            for name, box in zip(labels["name"], labels["box"], strict=True)
        ),
        transcript=tuple(
            Speech(text.decode(), float(start), float(end), lang.decode())
            for text, start, end, lang in zip(
                speech["text"], speech["start"], speech["end"], speech["lang"], strict=True
            )
        ),
        audio=example["audio"],
        audio_rate=int(example["audio_rate"]),
        features=np.frombuffer(example["features"], "<f2").reshape(shape) if shape else None,
        feature_grid=tuple(int(n) for n in example["feature_grid"]) or None,
    )


class RecordSource:
    """Random access to the records of one split: `len(source)`, `source[i]`.

    Args:
      dataset_dir: a folder written by data_prep.
      split: a split's name, such as `train`.

    Raises:
      FileNotFoundError: there is no finished dataset in the folder.
      ValueError: there is no such split; the message names those there are.
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
        self._source = builder.as_data_source(split)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        return from_example(self._source[index])

    def __repr__(self) -> str:  # Grain puts this in the iterator's state, so it must name no address
        return f"RecordSource({self.dataset_dir.name}/{self.split}, {len(self)} records)"
