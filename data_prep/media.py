"""Media files to what a record holds of them: frames with their times."""

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

from capjax.data.photo import MediaError, MediaSettings, check_file, photo_to_jpeg, read_file
from capjax.data.record import Record
from capjax.data.video import DELAY, EPSILON, TimedFrame, VideoFile
from capjax.data.windows import frames_by_window, sample_times
from data_prep.clips import Clip, ClipSettings, bounds, fit_events, make_clips
from data_prep.readers.item import Item, Problem
from data_prep.shots import ShotDetector, is_looked_at

__all__ = ["MediaError", "MediaSettings", "Storage", "check_file", "read_file", "read_photo", "read_video"]

# Frames of a video from which on they are kept on disk until its records are written: then neither memory nor an
# interruption matters.
_LONG = 512
_ENTRY = struct.Struct("<dIII")  # seconds, first and last moment (exclusive), bytes


@dataclass(frozen=True, slots=True)
class Storage:
    """How media are stored: photos, frames of videos, and how videos are cut."""

    picture: MediaSettings = MediaSettings()
    fps: float = 2.0
    clips: ClipSettings = field(default_factory=ClipSettings)

    def __post_init__(self):
        if not 0 < self.fps <= 60:
            raise ValueError(f"fps = {self.fps} should be above 0, and at most 60")


def read_photo(item: Item, storage: Storage) -> Record:
    """Reads a photo, or draws it.

    Raises:
      MediaError: missing, empty, too large, damaged, or not an image.
    """
    data = read_file(item.media) if isinstance(item.media, Path) else item.media()
    return Record(
        item.id, item.name, item.captions, (photo_to_jpeg(data, storage.picture),), np.zeros(1, np.float32),
        labels=item.labels, transcript=item.transcript,
    )  # fmt: skip


def read_video(
    items: Sequence[Item], storage: Storage, on_share: Callable[[float], None], spool: Path
) -> Iterator[Record | Problem]:
    """Records of all items that are parts of one file, which is decoded once.

    Args:
      items: those of one `media`.
      on_share: called with the share of the file done since the last call; what it raises ends the work.
      spool: a file that does not exist, or was left by an interrupted call with the same arguments. The frames of a
        long video are gathered there.

    Yields:
      Records by start, and Problems of items that cannot be had.
    """
    media = items[0].media
    if isinstance(media, Path):
        yield from _read_file(media, items, storage, on_share, spool)
        return
    with NamedTemporaryFile(suffix=".mp4") as file:  # drawn; FFmpeg reads files faster than Python objects
        file.write(media())
        file.flush()
        yield from _read_file(Path(file.name), items, storage, on_share, spool)


def _read_file(path: Path, items, storage: Storage, on_share, spool: Path) -> Iterator[Record | Problem]:
    with ExitStack() as stack:
        try:
            video = VideoFile(path)
            frames, seen, cuts = None, [], []
            if storage.clips.cut == "shots":
                spool.unlink(missing_ok=True)  # which frames are needed is known only as the cuts are found
                frames = stack.enter_context(_store(video.duration * storage.fps, spool))
                seen, cuts = _find_shots(video, items, storage, frames, on_share)
                on_share = _nothing
        except MediaError as error:
            yield from (Problem(error.kind, str(error), item.where, item.id, "video") for item in items)
            return
        yield from _read_clips(video, cuts, items, storage, on_share, spool, frames, seen)


def _nothing(share: float):
    pass


def _read_clips(
    video: VideoFile, cuts, items, storage: Storage, on_share, spool: Path, frames=None, seen=()
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
            message = f"{item.name or item.id}: no part of it has a caption"
            yield Problem("no_caption", message, item.where, item.id, "video")
        clips += [(part, item) for part in parts]
    if video.promised - video.duration > max(1.0, 0.05 * video.promised):
        message = f"{path} ends after {video.duration:.1f} s of the {video.promised:.1f} s that it promises"
        yield Problem("truncated", message, items[0].where, items[0].id, "nothing")
    clips.sort(key=lambda pair: (pair[0].start, pair[0].end, pair[0].id))
    done = 0
    try:
        for clip, item, shown in _gather(video, clips, storage, on_share, spool, frames, seen):
            done += 1
            if shown:
                yield _record(clip, item, shown)
            else:
                message = f"{path}: no frame could be decoded from {clip.start:.2f} to {clip.end:.2f} s"
                yield Problem("no_frames", message, item.where, clip.id, "video")
    except MediaError as error:  # it was there when we looked
        yield from (Problem(error.kind, str(error), item.where, clip.id, "video") for clip, item in clips[done:])


def _find_shots(video: VideoFile, items, storage: Storage, frames, on_share) -> tuple[list["_Seen"], list[float]]:
    """(the frames that shots of the items may show, cuts): all in one decode.

    A shot that is longer than a record may be is cut into windows, which its end decides on: their frames may not be
    among these.
    """
    detector, seen, spans = ShotDetector(storage.clips.min_shot), [], []
    for item in items:
        with suppress(MediaError):  # told when the clips are made
            spans.append(bounds(item, video.duration))
    before = 0.0
    for shown, until in detector.process(video.frames_at((), all_frames=True)):
        if not seen:
            first = 0.0 if shown.time < DELAY else shown.time
            seen.append(_Seen(-math.inf, first, None))  # nothing is shown before it
        else:
            first = shown.time
        if is_looked_at(first, until, detector.begin, spans, storage.fps):
            seen.append(_Seen(shown.time, until, _keep(video, shown, 0, 0, frames, storage.picture), first))
        on_share(max(0.0, min(until, video.duration) - before) / video.duration)
        before = max(before, min(until, video.duration))
    return seen, detector.cuts


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


def _gather(video: VideoFile, clips, storage: Storage, on_share, spool: Path, frames, seen):
    """(clip, item, [(seconds in the file, JPEG)]) of all clips in order; each frame is decoded and encoded once.

    Args:
      seen: frames that are in `frames` already; empty, and None: none are.
    """
    clip_times = [sample_times(clip.start, clip.end, storage.fps) for clip, _ in clips]
    times = np.unique(np.concatenate([*clip_times, []]))
    indices = [np.searchsorted(times, each) for each in clip_times]
    with nullcontext(frames) if frames is not None else _store(len(times), spool) as frames:
        entries = _entries(video, times, frames, seen, storage.picture, on_share)
        for (clip, item), shown in zip(clips, frames_by_window(entries, indices), strict=True):
            yield clip, item, [(entry.time, frames.read(entry.place)) for entry in shown]


class _Seen(NamedTuple):
    """A frame that shots may show: when it came up and went, in seconds, and where its JPEG is kept (None: it has
    none). `first`: from when on it is taken to be shown."""

    time: float
    until: float
    place: object
    first: float = -math.inf


class _Entry(NamedTuple):
    """A frame: its time in the file (s), the indices [first, stop) of the sample times at which it is displayed, and
    where its JPEG is kept."""

    time: float
    first: int
    stop: int
    place: object

    @property
    def indices(self) -> range:
        return range(self.first, self.stop)


def _entries(video: VideoFile, moments, frames: "_Memory | _Spool", seen, picture, on_share) -> Iterator[_Entry]:
    """The frames shown at `moments`, those first that are there already."""
    done, share = 0, 1 / max(len(moments), 1)
    for entry in _among(moments, seen) if seen else frames.kept():
        done = entry.stop
        if entry.place is not None:
            yield entry
    on_share(done * share)
    if done == len(moments):
        return
    for shown in video.frames_at(moments[done:]):
        first, stop = shown.indices.start + done, shown.indices.stop + done
        place = _keep(video, shown, first, stop, frames, picture)
        on_share((stop - first) * share)
        if place is not None:
            yield _Entry(shown.time, first, stop, place)


def _among(moments: np.ndarray, seen: Sequence[_Seen]) -> Iterator[_Entry]:
    """Those of `seen` that are shown at `moments`, up to the first moment at which none of them is."""
    done = 0
    for one in seen:
        first, stop = np.searchsorted(moments, np.array([one.first, one.until]) - EPSILON)
        if first > done:
            return
        if stop > done:
            yield _Entry(one.time, int(first), int(stop), one.place)
            done = stop


def _keep(video: VideoFile, shown: TimedFrame, first: int, stop: int, frames: "_Memory | _Spool", picture):
    """Where the frame's JPEG is kept; None: it is damaged, and left out."""
    try:
        return frames.add(shown.time, first, stop, video.jpeg(shown.frame, picture))
    except MediaError:
        return None


@contextmanager
def _store(count: float, spool: Path) -> Iterator["_Memory | _Spool"]:
    """Where about `count` frames of a video are kept."""
    frames = _Spool(spool) if count > _LONG else _Memory()
    try:
        yield frames
    finally:
        frames.close()


class _Memory:
    """Frames that are kept in memory."""

    def kept(self) -> Iterator[_Entry]:
        return iter(())

    def add(self, time: float, first: int, stop: int, jpeg: bytes) -> bytes:
        return jpeg

    def read(self, place: bytes) -> bytes:
        return place

    def close(self):
        pass


class _Spool:
    """Frames that are kept in a file, which may have some of an interrupted run."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")

    def kept(self) -> Iterator[_Entry]:
        self._file.seek(0)
        end = 0
        while len(head := self._file.read(_ENTRY.size)) == _ENTRY.size:
            time, first, stop, size = _ENTRY.unpack(head)
            place = end + _ENTRY.size
            if len(self._file.read(size)) < size:
                break
            end = place + size
            yield _Entry(time, first, stop, (place, size))
            self._file.seek(end)
        self._file.truncate(end)  # half an entry, at which the run was killed

    def add(self, time: float, first: int, stop: int, jpeg: bytes) -> tuple[int, int]:
        place = self._file.seek(0, os.SEEK_END) + _ENTRY.size
        self._file.write(_ENTRY.pack(time, first, stop, len(jpeg)) + jpeg)
        self._file.flush()
        return place, len(jpeg)

    def read(self, place: tuple[int, int]) -> bytes:
        offset, size = place
        self._file.seek(offset)
        return self._file.read(size)

    def close(self):
        self._file.close()
