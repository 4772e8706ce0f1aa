"""Decodes the frames of video files at given times, for data preparation and prediction.

Times are presentation times in seconds from the start of the file, as players count it. Variable frame rates, offset
start times, rotated or interlaced pictures, 10-bit samples and other color spaces are handled in this module: its
output is upright 8-bit frames with their display times.

Only packets that the requested frames depend on are decoded. They are found with an index of all packets, which is far
cheaper to make than decoding. If a stream violates the rules that the index relies on, the whole stream is decoded.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from jaxtyping import Bool, Int64

from capjax.data.animation import video_source
from capjax.data.frame_jpeg import frame_to_jpeg
from capjax.data.media_formats import DEMUXERS, MAX_FRAME_PIXELS
from capjax.data.photo import MediaError, MediaSettings, check_file

# Times closer than this (s) are equal: less than a tick of a 90 kHz clock, more than the rounding error of a time.
EPSILON = 1e-5
# Largest decoder delay in seconds: a first frame displayed sooner than this counts as displayed from time 0.
DELAY = 0.1
# Longest plausible duration in seconds; a longer one comes from damaged timestamps.
_LONGEST = 48 * 3600.0
# Largest plausible pixel aspect ratio.
_WIDEST = 16
_NONE = np.iinfo(np.int64).min
# Packets up to this many bytes are kept in memory between indexing and decoding; larger files are read twice.
_KEPT = 32 * 2**20
_DAMAGED = (av.error.FFmpegError, OSError)


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded frame and the requested times at which it is displayed.

    Attributes:
      time: The start of its display, in seconds.
      frame: The decoded frame.
      indices: Indices into the requested times; may be empty if all frames were requested.
    """

    time: float
    frame: av.VideoFrame
    indices: range


class VideoFile:
    """A video file open for reading.

    Args:
      path: The file. The name is always a local path, never a URL.
      threads: Decoder threads; 0 uses all cores.

    Attributes:
      duration: Seconds up to the end of the last frame, computed from the packets.
      promised: Duration in seconds that the container declares; 0 if it declares none.
      frames: Number of frames.

    Raises:
      MediaError: The file is missing, empty or damaged, has no video stream or no frames, needs an unavailable codec,
        is longer than two days, or has more than MAX_FRAME_PIXELS pixels per frame.
    """

    def __init__(self, path: Path, *, threads: int = 1):
        check_file(path, "video", limit=None)
        self.path = Path(path)
        self._threads = threads
        with ExitStack() as stack:
            container, stream = stack.enter_context(_opened(self.path, threads))
            packets = self._read_index(container, stream)
            # Small files, which are the most, are read once and stay open for the decoder.
            self._kept = None if packets is None else (stack.pop_all(), stream, packets)

    @contextmanager
    def _packets(self) -> Iterator[tuple[VideoStream, Iterator[av.Packet]]]:
        """Yields the video stream and an iterator over all its packets."""
        kept, self._kept = self._kept, None
        if kept is None:
            with _opened(self.path, self._threads) as (container, stream):
                yield stream, _packets(container, stream)
        else:
            stack, stream, packets = kept
            with stack:
                yield stream, iter(packets)

    def _read_index(self, container, stream) -> list[av.Packet] | None:
        """Indexes all packets without decoding; returns them if they are small enough to keep."""
        pts, keys, lengths = [], [], []
        missing, kept, size = False, [], 0
        for packet in _packets(container, stream):
            if size <= _KEPT:
                kept.append(packet)
                size += packet.size
            if packet.is_discard:  # excluded by an edit list
                continue
            missing |= packet.pts is None
            pts.append(packet.pts if packet.pts is not None else packet.dts)
            keys.append(packet.is_keyframe)
            lengths.append(packet.duration or 0)
        if not pts:
            raise MediaError("no_video", f"{self.path} has a video stream, but no frames in it")
        unit = stream.time_base
        self._unit = float(unit)
        missing |= any(value is None for value in pts)
        # Some AVI files have no presentation times: display times are then known only after decoding.
        self._pts = None if missing else np.array(pts, np.int64)
        self._keys = np.array(keys, bool)
        self.frames = len(pts)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        # Players start at the earliest stream of the file, which may be audio.
        late = 0.0
        if container.start_time is not None and stream.start_time is not None:
            late = max(0.0, float(stream.start_time * unit) - container.start_time / av.time_base)
        # AVI has no presentation times. FFmpeg reports decoding times, which lag by the frames that the decoder holds.
        held = stream.codec_context.has_b_frames if container.format.name == "avi" else 0
        if self._pts is None:
            self._first, self.duration = 0, late + self.frames / rate
        else:
            self._first = int(self._pts.min()) - round(late / self._unit)
            last = int(self._pts.argmax())
            length = lengths[last] * self._unit if 0 < lengths[last] * self._unit < 10 else 1 / rate
            self.duration = (int(self._pts[last]) - self._first) * self._unit + length
            self._first -= round(held / rate / self._unit)
        if not 0 < self.duration <= _LONGEST:
            raise MediaError(
                "damaged", f"{self.path} lasts {self.duration:.3g} s by its clock; at most 48 hours are read"
            )
        self._late = late
        self.promised = max(0.0, container.duration / av.time_base) if container.duration else 0.0
        context = stream.codec_context
        height, width = context.height, context.width
        if height * width > MAX_FRAME_PIXELS:
            raise MediaError("too_large", f"{self.path}: frames of {width:,} x {height:,} pixels; too large to decode")
        shape = float(stream.sample_aspect_ratio or 1)
        self._pixel_shape = shape if 1 / _WIDEST <= shape <= _WIDEST else 1.0
        return kept if size <= _KEPT else None

    def truncation(self) -> str:
        """Returns a message if the file ends well before the end that the container declares, else an empty text."""
        if self.promised - self.duration <= max(1.0, 0.05 * self.promised):
            return ""
        return f"{self.path} ends after {self.duration:.1f} s; its header says {self.promised:.1f} s"

    def frames_at(self, times: Sequence[float] | np.ndarray, *, all_frames: bool = False) -> Iterator[TimedFrame]:
        """Yields the frames displayed at `times`, each once, in order.

        The frame displayed at a time is the last one whose display starts at or before it. Nothing is displayed before
        the first frame.

        Args:
          times: Seconds, ascending.
          all_frames: Yield every frame of the file, including those displayed at none of the times.
        """
        times = self._from_beginning(times)
        done = 0
        if self._pts is not None and not all_frames:
            owners = self._owners(times)
            if (plan := _plan(self._pts, self._keys, owners)) is not None:
                done = int((owners == _NONE).sum())
                for shown in self._select(self._decode(plan), times, False):
                    if (owners[shown.indices] != shown.frame.pts).any():
                        break  # the stream violates the rules: decoding by the plan missed a frame
                    done = shown.indices.stop
                    yield shown
                if done == len(times):
                    return
        for shown in self._select(self._decode(None), times, all_frames):
            if all_frames or shown.indices.stop > done:
                yield TimedFrame(shown.time, shown.frame, range(max(shown.indices.start, done), shown.indices.stop))

    def group_by_frame(self, times: Sequence[float] | np.ndarray) -> list[range]:
        """Groups `times` by the frame displayed: for each frame, in order, the indices of its times.

        This uses the index and decodes nothing (so a packet that turns out to be damaged may be counted), unless the
        file has no presentation times: then it is decoded once.
        """
        if self._pts is None:
            return [shown.indices for shown in self.frames_at(times)]
        owners = self._owners(self._from_beginning(times))
        edges = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(owners)]
        return [range(*edge) for edge in pairwise(edges) if len(owners) and owners[edge[0]] != _NONE]

    def _from_beginning(self, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """Returns the times, clipped to the first frame if that is displayed within a decoder's delay of the start."""
        times = np.asarray(times, np.float64)
        beginning = self._late if self._pts is None else (int(self._pts.min()) - self._first) * self._unit
        return np.maximum(times, beginning) if beginning < DELAY else times

    def jpeg(self, frame: av.VideoFrame, settings: MediaSettings) -> bytes:
        """Encodes a frame as an upright RGB JPEG with square pixels and a short side of at most `settings.size` pixels.

        Colors are converted from the stream's matrix and range to JPEG's. Interlaced frames are reduced to one field.

        Raises:
          MediaError: FFmpeg cannot convert the frame, or it is larger than a JPEG can be.
        """
        try:
            return frame_to_jpeg(frame, settings, self._pixel_shape)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            raise MediaError("damaged", f"{self.path}: a frame cannot be converted: {_words(error)}") from error

    def _owners(self, times: np.ndarray) -> np.ndarray:
        """Returns the presentation time (stream units) of the frame displayed at each time; _NONE before the first."""
        assert self._pts is not None
        ordered = np.sort(self._pts)
        positions = np.searchsorted((ordered - self._first) * self._unit, times + EPSILON, side="right") - 1
        return np.where(positions >= 0, ordered[positions], _NONE)

    def _select(self, frames: Iterator[tuple[float, av.VideoFrame]], times, all_frames) -> Iterator[TimedFrame]:
        """Assigns times to frames: each frame is displayed until the next one starts."""
        before, start = None, 0
        for time, frame in frames:
            if before is not None:
                stop = start
                while stop < len(times) and times[stop] + EPSILON < time:
                    stop += 1
                if stop > start or all_frames:
                    yield TimedFrame(*before, range(start, stop))
                start = stop
            else:  # nothing is shown before the first frame
                while start < len(times) and times[start] + EPSILON < time:
                    start += 1
            if start == len(times) and not all_frames:
                return
            before = (time, frame)
        if before is not None and (start < len(times) or all_frames):
            yield TimedFrame(*before, range(start, len(times)))

    def _decode(self, plan: "_Plan | None") -> Iterator[tuple[float, av.VideoFrame]]:
        """Yields (seconds, frame) in presentation order; with a plan, only what it needs is decoded."""
        last, count = -math.inf, 0
        with self._packets() as (stream, packets):
            for frame in _frames(packets, stream, plan):
                pts = frame.pts if frame.pts is not None else frame.dts
                if self._pts is None:  # without timestamps, times follow from the frame rate
                    time = self._late + count / float(stream.average_rate or stream.guessed_rate or 25)
                else:
                    time = last if pts is None else (pts - self._first) * self._unit
                count += 1
                if time <= last:  # damaged timestamps jump back: the earlier frame stays
                    continue
                last = time
                yield max(time, 0.0), frame


@contextmanager
def _opened(path: Path, threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a container; yields it and its video stream."""
    # Decoders run while a file is probed, and a few bytes of a stream can ask for frames of any size.
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file", "max_pixels": str(MAX_FRAME_PIXELS)}
    try:
        source, demuxer = video_source(path)
        opened = av.open(source, "r", format=demuxer, options=options, metadata_errors="ignore")
    except MediaError as error:
        raise MediaError(error.kind, f"{path}: {error}") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            "damaged", f"{path} cannot be opened as a video: {_words(error)}; copy the file again, or convert it"
        ) from error
    with opened as container:
        streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
        if not streams:
            raise MediaError("no_video", f"{path} has no video stream")
        stream = streams[0]
        if stream.codec_context is None:
            raise MediaError("unknown_codec", f"{path}: this build of FFmpeg has no decoder for its video")
        stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        stream.codec_context.thread_count = threads
        if threads != 1:
            stream.thread_type = "AUTO"
        yield container, stream


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@dataclass(frozen=True, slots=True)
class _Plan:
    """The packets to decode for a set of frames.

    Attributes:
      send: In file order, whether the decoder needs the packet.
      requested: Presentation times of the requested frames, in stream units.
    """

    send: Bool[np.ndarray, " packets"]
    requested: frozenset[int]


def _plan(
    pts: Int64[np.ndarray, " packets"], keys: Bool[np.ndarray, " packets"], requested: Int64[np.ndarray, " frames"]
) -> _Plan | None:
    """Plans to decode each group of pictures up to its last requested frame; None if all packets are needed.

    Args:
      pts: Presentation times in file order.
      keys: Key frames, at which decoding may start.
      requested: Presentation times of the requested frames.
    """
    starts = np.flatnonzero(keys)
    if not len(starts) or starts[0] != 0:
        return None
    is_requested = np.isin(pts, requested)
    ends = np.append(starts[1:], len(pts))
    send = np.zeros(len(pts), bool)
    whole = False  # requested frames of the next group also depend on this group
    for start, end in zip(starts[::-1], ends[::-1], strict=True):
        positions = np.flatnonzero(is_requested[start:end])
        stop = end if whole else (start + positions[-1] + 1 if len(positions) else start)
        send[start:stop] = True
        # Frames displayed before the key frame of their group may depend on the group before ("open" groups).
        whole = bool((pts[start:stop][is_requested[start:stop]] < pts[start]).any())
    return _Plan(send, frozenset(requested.tolist()))


def _frames(packets: Iterator[av.Packet], stream, plan: _Plan | None) -> Iterator[av.VideoFrame]:
    """Decodes the packets of a plan, skipping damaged ones."""
    context = stream.codec_context
    number, sent, skipping = -1, True, False

    def decode(packet) -> list[av.VideoFrame]:
        try:
            return context.decode(packet)
        except _DAMAGED:
            return []

    for packet in packets:
        if packet.is_discard:
            if plan is None:
                yield from decode(packet)
            continue
        number += 1
        if plan is not None and number < len(plan.send):
            if not plan.send[number]:
                sent = False
                continue
            if not sent:  # restart at a key frame, as after a seek
                yield from decode(None)
                context.flush_buffers()
                sent = True
            # Unrequested frames that no other frame depends on are not decoded either.
            skip = packet.pts not in plan.requested
            if skip != skipping:
                context.skip_frame = "NONREF" if skip else "DEFAULT"
                skipping = skip
        yield from decode(packet)
    yield from decode(None)


def _packets(container, stream) -> Iterator[av.Packet]:
    """Yields the non-empty packets, up to the first that cannot be read."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        # PyAV raises IndexError at the end of a file in which a stream appears late.
        except (StopIteration, IndexError, *_DAMAGED):
            return
        if packet.size:  # an empty packet would flush the decoder
            yield packet
