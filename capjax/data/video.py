"""Decodes the frames of video files at given times, for data preparation and prediction.

Times are presentation times in seconds from the start of the file, as players count it. `video_streams` chooses the
stream, `packet_index` puts its packets on one clock, whatever the container stores, and `frame_jpeg` turns frames
upright and into 8-bit RGB.

Only packets that the requested frames depend on are decoded. They are found with an index of all packets, which is far
cheaper to make than decoding. If a stream violates the rules that the index relies on, the whole stream is decoded.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from jaxtyping import Bool, Int64

from capjax.data.frame_jpeg import frame_to_jpeg
from capjax.data.media_formats import MAX_FRAME_PIXELS
from capjax.data.packet_index import UNKNOWN, read_index
from capjax.data.photo import MediaError, MediaSettings, check_file
from capjax.data.video_streams import DECODE_ERRORS, open_decoder, open_video, read_packets, reason

# Times closer than this (s) are equal: less than a tick of a 90 kHz clock, more than the rounding error of a time.
EPSILON = 1e-5
# Largest plausible pixel aspect ratio.
_WIDEST = 16
# Packets up to this many bytes are kept in memory between indexing and decoding; larger files are read twice.
_KEPT = 32 * 2**20


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
      duration: Seconds up to the end of the last frame, or of the sound where that plays considerably longer; computed
        from the packets.
      promised: Duration in seconds that the container declares; 0 if it declares none.
      frames: Number of frames.
      delay: A first frame displayed sooner than this (s) counts as displayed from time 0.

    Raises:
      MediaError: The file is missing, empty or damaged, has no video stream or no frames, needs an unavailable codec,
        is longer than two days, or has more than MAX_FRAME_PIXELS pixels per frame.
    """

    def __init__(self, path: Path, *, threads: int = 1):
        check_file(path, "video", limit=None)
        self.path = Path(path)
        self._threads = threads
        self._damaged: set[float] = set()  # times of frames that lack data
        self._unconverted = ""  # error of the last frame that could not be converted
        with ExitStack() as stack:
            container, streams = stack.enter_context(open_video(self.path))
            self._index, packets = read_index(self.path, container, streams, keep=_KEPT)
            self.frames, self.duration = len(self._index.keys), self._index.duration
            self.promised, self.delay = self._index.promised, self._index.delay
            stream = self._chosen(streams)
            context = stream.codec_context
            height, width = context.height, context.width
            if height * width > MAX_FRAME_PIXELS:
                raise MediaError(
                    "too_large", f"{self.path}: frames of {width:,} x {height:,} pixels; too large to decode"
                )
            shape = float(stream.sample_aspect_ratio or 1)
            self._pixel_shape = shape if 1 / _WIDEST <= shape <= _WIDEST else 1.0
            # Small files, which are the most, are read once and stay open for the decoder.
            decoder = open_decoder(stream, threads)
            self._kept = None if packets is None else (stack.pop_all(), decoder, packets)

    def _chosen(self, streams: Sequence[VideoStream]) -> VideoStream:
        for stream in streams:
            if stream.index == self._index.stream:
                return stream
        raise MediaError("damaged", f"{self.path} changed while it was read")

    @contextmanager
    def _packets(self) -> Iterator[tuple[VideoCodecContext, Iterator[av.Packet]]]:
        """Yields a decoder and an iterator over all packets of the video stream."""
        kept, self._kept = self._kept, None
        if kept is None:
            with open_video(self.path) as (container, streams):
                stream = self._chosen(streams)
                yield open_decoder(stream, self._threads), self._corrected(read_packets(container, [stream]))
        else:
            stack, decoder, packets = kept
            with stack:
                yield decoder, iter(packets)

    def _corrected(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        number = 0
        for packet in packets:
            if not packet.is_discard:
                self._index.correct(packet, number)
                number += 1
            yield packet

    def notes(self) -> Iterator[tuple[str, str]]:
        """Yields (kind, message) of all that was noticed in the file and does not prevent its use.

        Damaged frames are noticed when they are decoded.
        """
        if self.promised - self.duration > max(1.0, 0.05 * self.promised):
            message = f"{self.path} ends after {self.duration:.1f} s; its header says {self.promised:.1f} s"
            yield "truncated", f"{message}; the file is cut short; copy it again to caption all of it"
        if self._index.note:
            yield "clock", self._index.note
        if self._index.has_next_file:
            message = f"{self.path}: another file follows the first, which alone was read"
            yield "joined", f"{message}; to caption both, join them with FFmpeg's concat demuxer"
        if self._damaged:
            count, start, end = len(self._damaged), min(self._damaged), max(self._damaged)
            message = f"{self.path}: {count} damaged frame(s) between {start:.1f} and {end:.1f} s left out"
            yield "damaged_frames", f"{message}; frames after them may show traces of the damage; copy the file again"
        if self._unconverted:
            yield "damaged_frames", self._unconverted

    def frames_at(self, times: Sequence[float] | np.ndarray, *, all_frames: bool = False) -> Iterator[TimedFrame]:
        """Yields the frames displayed at `times`, each once, in order.

        The frame displayed at a time is the last one whose display starts at or before it. Nothing is displayed before
        the first frame.

        Args:
          times: Seconds, ascending.
          all_frames: Yield every frame of the file, including those displayed at none of the times.
        """
        times = self._from_beginning(times)
        done, index = 0, self._index
        if index.pts is not None and not all_frames:
            owners = self._owners(times)
            if (plan := _plan(index.pts, index.keys, owners)) is not None:
                done = int((owners == UNKNOWN).sum())
                for shown in self._select(self._decode(plan), times, False):
                    if (owners[shown.indices] != shown.frame.pts).any():
                        break  # the stream violates the rules, or is damaged: decoding by the plan missed a frame
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
        if self._index.pts is None:
            return [shown.indices for shown in self.frames_at(times)]
        owners = self._owners(self._from_beginning(times))
        edges = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(owners)]
        return [range(*edge) for edge in pairwise(edges) if len(owners) and owners[edge[0]] != UNKNOWN]

    def _from_beginning(self, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """Returns the times, clipped to the first frame if that is displayed within a decoder's delay of the start."""
        times = np.asarray(times, np.float64)
        beginning = self._index.beginning
        return np.maximum(times, beginning) if beginning < self.delay else times

    def jpeg(self, frame: av.VideoFrame, settings: MediaSettings) -> bytes:
        """Encodes a frame as an upright RGB JPEG with square pixels and a short side of at most `settings.size` pixels.

        See `frame_to_jpeg`.

        Raises:
          MediaError: FFmpeg cannot convert the frame, or it is larger than a JPEG can be.
        """
        try:
            return frame_to_jpeg(frame, settings, self._pixel_shape)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            self._unconverted = f"{self.path}: a frame cannot be converted: {reason(error)}"
            raise MediaError("damaged", self._unconverted) from error

    def _owners(self, times: np.ndarray) -> np.ndarray:
        """Returns the presentation time of the frame displayed at each time; UNKNOWN before the first frame."""
        assert self._index.pts is not None
        ordered = np.sort(self._index.pts)
        seconds = (ordered - self._index.first) * self._index.unit
        positions = np.searchsorted(seconds, times + EPSILON, side="right") - 1
        return np.where(positions >= 0, ordered[positions], UNKNOWN)

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
        index, last, number, previous = self._index, -math.inf, 0, None
        # The decoding times of a plan, which skips packets, say nothing.
        guess = _PresentationTimes() if plan is None else lambda frame: frame.dts if frame.pts is None else frame.pts

        def seconds(pts: int | None) -> float:
            if index.order_times is not None and number < self.frames:
                return float(index.order_times[number])
            if pts is None:
                return last + index.frame if last > -math.inf else index.late
            return (pts - index.first) * index.unit

        def on_damage(pts: int | None):
            nonlocal number
            self._damaged.add(max(seconds(pts), 0.0))
            number += 1

        with self._packets() as (decoder, packets):
            for frame in _frames(packets, decoder, plan, on_damage):
                pts = guess(frame)
                if frame.is_corrupt:
                    on_damage(pts)
                    continue
                if index.pts is None and pts == previous:  # one of many frames with the same timestamp
                    pts = None
                else:
                    previous = pts
                time = seconds(pts)
                number += 1
                if time > last:
                    last = time
                    yield max(time, 0.0), frame
                elif plan is None and time < last - EPSILON:  # a timestamp that goes back: the earlier frame stays
                    self._damaged.add(max(time, 0.0))


class _PresentationTimes:
    """Chooses the presentation times of frames between those of the container and those that follow from decoding.

    The rule is that of FFmpeg's `guess_correct_pts` (libavcodec/decode.c): whichever has gone back less often counts.
    """

    def __init__(self):
        self._last = {"pts": -math.inf, "dts": -math.inf}
        self._faults = {"pts": 0, "dts": 0}

    def __call__(self, frame: av.VideoFrame) -> int | None:
        for name, time in (("dts", frame.dts), ("pts", frame.pts)):
            if time is not None:
                self._faults[name] += time <= self._last[name]
                self._last[name] = time
        if frame.dts is None or (frame.pts is not None and self._faults["pts"] <= self._faults["dts"]):
            return frame.pts
        return frame.dts


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


def _frames(
    packets: Iterator[av.Packet],
    decoder: VideoCodecContext,
    plan: _Plan | None,
    on_damage: Callable[[int | None], None],
) -> Iterator[av.VideoFrame]:
    """Decodes the packets of a plan, skipping those that are incomplete or cannot be decoded.

    Frames that lack data are marked as corrupt by the decoder.
    """
    number, sent, skipping = -1, True, False
    start: float = -math.inf  # presentation time of the packet at which decoding started or restarted

    def decode(packet) -> list[av.VideoFrame]:
        try:
            frames = decoder.decode(packet)
        except DECODE_ERRORS:
            if packet is not None:
                on_damage(packet.pts)
            return []
        # Frames displayed before the first packet may depend on others, which were not sent, and are not requested.
        return [frame for frame in frames if not (frame.is_corrupt and is_before(frame.pts))]

    def is_before(pts: int | None) -> bool:
        return pts is not None and pts < start

    for packet in packets:
        if packet.is_discard:
            if plan is None:
                yield from decode(packet)
            continue
        number += 1
        if packet.is_corrupt:
            on_damage(packet.pts)
            continue
        if plan is not None and number < len(plan.send):
            if not plan.send[number]:
                sent = False
                continue
            if not sent:  # restart at a key frame, as after a seek
                yield from decode(None)
                decoder.flush_buffers()
                sent, start = True, packet.pts or 0
            # Unrequested frames that no other frame depends on are not decoded either.
            skip = packet.pts not in plan.requested
            if skip != skipping:
                decoder.skip_frame = "NONREF" if skip else "DEFAULT"
                skipping = skip
        yield from decode(packet)
    yield from decode(None)
