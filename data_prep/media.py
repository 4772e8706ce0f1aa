"""Reads media files into records: frames with their times."""

import io
import math
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import numpy as np

from capjax.data.media_formats import media_kind
from capjax.data.photo import MediaError, MediaSettings, check_file, photo_to_jpeg, read_file
from capjax.data.record import Record
from capjax.data.video import EPSILON, TimedFrame, VideoFile
from capjax.data.windows import frames_by_window, sample_times
from data_prep.clips import Clip, ClipSettings, bounds, fit_events, make_clips
from data_prep.readers.item import Item, Problem
from data_prep.shots import ShotDetector, is_looked_at

# From this number of frames on, the frames of a video are kept on disk until its records are written, which bounds
# memory and lets an interrupted run resume within the video.
_LONG = 512
_ENTRY = struct.Struct("<dIII")  # seconds, first and last sample time (exclusive), bytes


@dataclass(frozen=True, slots=True)
class Storage:
    """Settings for storing media: size and quality of pictures, frames per second, and how videos are divided."""

    picture: MediaSettings = MediaSettings()
    fps: float = 2.0
    clips: ClipSettings = field(default_factory=ClipSettings)

    def __post_init__(self):
        if not 0 < self.fps <= 60:
            raise ValueError(f"fps = {self.fps} should be above 0, and at most 60")


def read_media(
    items: Sequence[Item], storage: Storage, on_share: Callable[[float], None], spool: Path
) -> Iterator[Record | Problem]:
    """Yields the records of all items that are parts of one file. Its content decides whether it is a photo or a video,
    not the annotations.

    Args: as `read_video`.
    """
    item, media = items[0], items[0].media
    try:
        if not isinstance(media, Path):  # generated
            is_video = item.video
        else:
            check_file(media, "video" if item.video else "photo", limit=None)
            is_video = (media_kind(media) or _costs(item)) == "video"
    except MediaError as error:
        yield from (Problem(error.kind, str(error), each.where, each.id, _costs(each)) for each in items)
        return
    except OSError as error:
        message = f"{media} cannot be read: {error.strerror}"
        yield from (Problem(f"missing_{_costs(each)}", message, each.where, each.id, _costs(each)) for each in items)
        return
    if is_video:
        for result in read_video(items, storage, on_share, spool):
            if isinstance(result, Problem) and result.costs == "video":
                result = replace(result, costs=_costs(item))
            yield result
        return
    for item in items:
        if item.clip or any(caption.start is not None for caption in item.captions):
            message = f"{item.name or media} is a photo, and its annotations have times"
            yield Problem("not_a_video", message, item.where, item.id, _costs(item))
            continue
        try:
            yield read_photo(item, storage)
        except MediaError as error:
            yield Problem(error.kind, str(error), item.where, item.id, _costs(item))


def _costs(item: Item) -> str:
    return "video" if item.video else "photo"


def read_photo(item: Item, storage: Storage) -> Record:
    """Reads or generates a photo.

    Raises:
      MediaError: the file is missing, empty, too large, damaged, or not an image.
    """
    data = read_file(item.media) if isinstance(item.media, Path) else item.media()
    return Record(
        item.id, item.name, item.captions, (photo_to_jpeg(data, storage.picture),), np.zeros(1, np.float32),
        labels=item.labels, transcript=item.transcript,
    )  # fmt: skip


def read_video(
    items: Sequence[Item], storage: Storage, on_share: Callable[[float], None], spool: Path
) -> Iterator[Record | Problem]:
    """Yields the records of all items that are parts of one file, which is decoded once.

    Args:
      items: the items of one `media`.
      storage: how media are stored.
      on_share: called with the share of the file done since the last call; it may raise to stop the work.
      spool: a file that does not exist, or that an interrupted call with the same arguments left. The frames of a long
        video are collected there.

    Yields:
      Records by start, and Problems of items that cannot be read.
    """
    with ExitStack() as stack:
        media = items[0].media
        if not isinstance(media, Path):  # generated; FFmpeg reads files faster than Python objects
            file = stack.enter_context(NamedTemporaryFile(suffix=".mp4"))
            file.write(media())
            file.flush()
            media = Path(file.name)
        try:
            video = VideoFile(media)
            frames: _FrameStore | None = None
            shot_frames: list[_ShotFrame] = []
            cuts: list[float] = []
            if storage.clips.cut == "shots":
                spool.unlink(missing_ok=True)  # the required frames are unknown until the cuts are found
                frames = stack.enter_context(_store(video.duration * storage.fps, spool))
                shot_frames, cuts = _find_shots(video, items, storage, frames, on_share)
                on_share = _nothing
        except MediaError as error:
            yield from (Problem(error.kind, str(error), item.where, item.id, "video") for item in items)
            return
        yield from _read_clips(video, cuts, items, storage, on_share, spool, frames, shot_frames)


def _nothing(share: float):
    pass


def _read_clips(
    video: VideoFile, cuts, items, storage: Storage, on_share, spool: Path, frames=None, shot_frames=()
) -> Iterator[Record | Problem]:
    path = video.path
    clips: list[tuple[Clip, Item]] = []
    for item in items:
        try:
            item, lost = fit_events(item, video.duration)
            parts = make_clips(item, storage.clips, storage.fps, video.duration, cuts)
        except MediaError as error:
            yield Problem(error.kind, f"{item.name or path}: {error}", item.where, item.id, "video")
            continue
        yield from lost
        if not parts:
            message = f"{item.name or item.id}: no part has a caption"
            yield Problem("no_caption", message, item.where, item.id, "video")
        clips += [(part, item) for part in parts]
    clips.sort(key=lambda pair: (pair[0].start, pair[0].end, pair[0].id))
    done = 0
    try:
        for clip, item, clip_frames in _gather(video, clips, storage, on_share, spool, frames, shot_frames):
            done += 1
            if clip_frames:
                yield _record(clip, item, clip_frames)
            else:
                message = f"{path}: no frame could be decoded from {clip.start:.2f} to {clip.end:.2f} s"
                yield Problem("no_frames", message, item.where, clip.id, "video")
    except MediaError as error:  # the file disappeared or changed
        yield from (Problem(error.kind, str(error), item.where, clip.id, "video") for clip, item in clips[done:])
    for kind, message in video.notes():
        yield Problem(kind, message, items[0].where, items[0].id, "nothing")


def _find_shots(video: VideoFile, items, storage: Storage, frames, on_share) -> tuple[list["_ShotFrame"], list[float]]:
    """(frames that shots of the items may need, times of the cuts), in one decode.

    A shot that is too long for a record is divided into windows, which depend on its end; their frames may not be among
    these.
    """
    detector, spans = ShotDetector(storage.clips.min_shot), []
    shot_frames: list[_ShotFrame] = []
    for item in items:
        with suppress(MediaError):  # reported when the clips are made
            spans.append(bounds(item, video.duration))
    done = 0.0
    for frame, until in detector.process(video.frames_at((), all_frames=True)):
        if not shot_frames:
            first = 0.0 if frame.time < video.delay else frame.time
            shot_frames.append(_ShotFrame(-math.inf, first, None))  # no frame is displayed before the first
        else:
            first = frame.time
        if is_looked_at(first, until, detector.begin, spans, storage.fps):
            reference = _keep(video, frame, 0, 0, frames, storage.picture)
            shot_frames.append(_ShotFrame(frame.time, until, reference, first))
        on_share(max(0.0, min(until, video.duration) - done) / video.duration)
        done = max(done, min(until, video.duration))
    return shot_frames, detector.cuts


def _record(clip: Clip, item: Item, frames: Sequence[tuple[float, bytes]]) -> Record:
    length = clip.end - clip.start
    speech = (replace(s, start=s.start - clip.offset, end=s.end - clip.offset) for s in item.transcript)
    return Record(
        id=clip.id,
        media=item.name,
        captions=clip.captions,
        frames=tuple(jpeg for _, jpeg in frames),
        frame_times=np.asarray([max(0.0, time - clip.start) for time, _ in frames], np.float32),
        duration=length,
        labels=item.labels,
        transcript=tuple(s for s in speech if s.start < length and s.end > 0),
        video=clip.video,
        start=clip.offset,
    )


def _gather(video: VideoFile, clips, storage: Storage, on_share, spool: Path, frames, shot_frames):
    """Yields (clip, item, [(seconds in the file, JPEG)]) of all clips in order; each frame is decoded and encoded once.

    Args:
      frames: store that already holds `shot_frames`; None: a new one.
      shot_frames: frames that are in `frames`.
    """
    clip_times = [sample_times(clip.start, clip.end, storage.fps) for clip, _ in clips]
    times = np.unique(np.concatenate([*clip_times, []]))
    indices = [np.searchsorted(times, each) for each in clip_times]
    with nullcontext(frames) if frames is not None else _store(len(times), spool) as frames:
        entries = _entries(video, times, frames, shot_frames, storage.picture, on_share)
        for (clip, item), entries_of_clip in zip(clips, frames_by_window(entries, indices), strict=True):
            yield clip, item, [(entry.time, frames.read(entry.reference)) for entry in entries_of_clip]


class _ShotFrame(NamedTuple):
    """A frame that shots may need: displayed from `time` until `until`, in seconds; the reference of its JPEG in the
    store
    (None if it has none); and the time `first` from which it counts as displayed."""

    time: float
    until: float
    reference: object
    first: float = -math.inf


class _Entry(NamedTuple):
    """A frame: its time in the file in seconds, the indices [first, stop) of the sample times at which it is displayed,
    and
    the reference of its JPEG in the store."""

    time: float
    first: int
    stop: int
    reference: object

    @property
    def indices(self) -> range:
        return range(self.first, self.stop)


def _entries(video: VideoFile, times, frames: "_FrameStore", shot_frames, picture, on_share) -> Iterator[_Entry]:
    """Yields the frames displayed at `times`: first those in the store, then newly decoded ones."""
    done, share = 0, 1 / max(len(times), 1)
    for entry in _among(times, shot_frames) if shot_frames else frames.kept():
        done = entry.stop
        if entry.reference is not None:
            yield entry
    on_share(done * share)
    if done == len(times):
        return
    for frame in video.frames_at(times[done:]):
        first, stop = frame.indices.start + done, frame.indices.stop + done
        reference = _keep(video, frame, first, stop, frames, picture)
        on_share((stop - first) * share)
        if reference is not None:
            yield _Entry(frame.time, first, stop, reference)


def _among(times: np.ndarray, shot_frames: Sequence[_ShotFrame]) -> Iterator[_Entry]:
    """Yields those of `shot_frames` that are displayed at `times`, up to the first time at which none of them is."""
    done = 0
    for frame in shot_frames:
        first, stop = np.searchsorted(times, np.array([frame.first, frame.until]) - EPSILON)
        if first > done:
            return
        if stop > done:
            yield _Entry(frame.time, int(first), int(stop), frame.reference)
            done = stop


def _keep(video: VideoFile, frame: TimedFrame, first: int, stop: int, frames: "_FrameStore", picture):
    """Stores the frame as JPEG and returns its reference; None if the frame is damaged."""
    try:
        return frames.add(frame.time, first, stop, video.jpeg(frame.frame, picture))
    except MediaError:
        return None


@contextmanager
def _store(count: float, spool: Path) -> Iterator["_FrameStore"]:
    """A store for about `count` frames of a video: in the file `spool` if there are many, else in memory."""
    if count > _LONG:
        spool.parent.mkdir(parents=True, exist_ok=True)
    with spool.open("a+b") if count > _LONG else io.BytesIO() as file:
        yield _FrameStore(file)


class _FrameStore:
    """Frames in a file, which may contain those of an interrupted run."""

    def __init__(self, file: io.BufferedIOBase):
        self._file = file

    def kept(self) -> Iterator[_Entry]:
        self._file.seek(0)
        end = 0
        while len(head := self._file.read(_ENTRY.size)) == _ENTRY.size:
            time, first, stop, size = _ENTRY.unpack(head)
            offset = end + _ENTRY.size
            if len(self._file.read(size)) < size:
                break
            end = offset + size
            yield _Entry(time, first, stop, (offset, size))
            self._file.seek(end)
        self._file.truncate(end)  # removes an incomplete entry of a killed run

    def add(self, time: float, first: int, stop: int, jpeg: bytes) -> tuple[int, int]:
        offset = self._file.seek(0, os.SEEK_END) + _ENTRY.size
        self._file.write(_ENTRY.pack(time, first, stop, len(jpeg)) + jpeg)
        self._file.flush()
        return offset, len(jpeg)

    def read(self, reference: tuple[int, int]) -> bytes:
        offset, size = reference
        self._file.seek(offset)
        return self._file.read(size)
