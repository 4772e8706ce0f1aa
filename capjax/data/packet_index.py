"""Indexes the packets of a video file: what is displayed when, where decoding may start, and how long the file plays.

The index is made without decoding, which is far cheaper.
"""

import functools
import math
import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from jaxtyping import Bool, Float64, Int64

from capjax.data.clock import PacketTimes, offsets_as_ffmpeg, offsets_of_parts
from capjax.data.photo import MediaError
from capjax.data.video_streams import (
    has_next_file,
    has_timestamps,
    open_video,
    read_packets,
    restarts_clock,
    restarts_together,
)

UNKNOWN = np.iinfo(np.int64).min
# Longest plausible duration in seconds; a longer one comes from damaged timestamps.
_LONGEST = 48 * 3600.0
# Largest decoder delay in seconds: a first frame displayed sooner than this counts as displayed from time 0.
_DELAY = 0.1
# Longest time in seconds for which the last frame is displayed if only its packet says so.
_LAST_FRAME = 10.0
# A picture that stands still for this many seconds is reported: the clock may have jumped.
_STILL = 60.0
# Presentation times are relied on if this share of them is distinct, or known.
_DISTINCT, _ENOUGH = 0.9, 0.25
# Timestamps farther from 0 are damaged; their sums would overflow.
_FARTHEST = 2**61
# Frames per second of a raw stream that does not say (FFmpeg's choice), and the highest number that is believed.
_RATE, _HIGHEST_RATE = 25.0, 1000.0


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """The packets of a video stream, in file order, on one clock that neither restarts nor jumps.

    Attributes:
      stream: Index of the stream in the file.
      pts: Presentation times in stream units; None if some are unknown or cannot be relied on, so that display times
        are known only after decoding.
      keys: Key frames, at which decoding may start.
      shifts: Units to add to the timestamps of each packet, UNKNOWN if a packet's timestamps are damaged; None if no
        timestamp is corrected.
      order_times: Seconds at which the first, second, ... frame that the decoder puts out is displayed, if the file has
        no usable presentation times; else None.
      unit: Stream unit in seconds.
      first: Time in stream units from which seconds are counted.
      late: Seconds for which other streams play before the video starts.
      frame: Usual duration of a frame in seconds.
      delay: A first frame displayed sooner than this (s) is only delayed by the decoder: it counts as displayed from 0.
      duration: Seconds up to the end of the file as it is played.
      promised: Duration in seconds that the container declares; 0 if it declares none that can be relied on.
      note: A message about timestamps that were corrected; empty if none was.
      has_next_file: Whether another file follows in the file, which was not read.
    """

    stream: int
    pts: Int64[np.ndarray, " packets"] | None
    keys: Bool[np.ndarray, " packets"]
    shifts: Int64[np.ndarray, " packets"] | None
    order_times: Float64[np.ndarray, " packets"] | None
    unit: float
    first: int
    late: float
    frame: float
    delay: float
    duration: float
    promised: float
    note: str
    has_next_file: bool

    @property
    def beginning(self) -> float:
        """Display time of the first frame in seconds."""
        if self.order_times is not None:
            return float(self.order_times[0])
        return self.late if self.pts is None else (int(self.pts.min()) - self.first) * self.unit

    def correct(self, packet: av.Packet, number: int):
        """Puts the timestamps of the packet with a number on the clock of the index."""
        if self.shifts is None or number >= len(self.shifts):
            return
        shift = int(self.shifts[number])
        for name in ("pts", "dts"):
            time = getattr(packet, name)
            is_known = shift != UNKNOWN and time is not None and abs(time) < _FARTHEST
            setattr(packet, name, time + shift if is_known else None)


class _Rows:
    """The packets of all streams in file order, compactly: a day of video has millions."""

    def __init__(self):
        self.stream, self.pts, self.dts, self.length = array("q"), array("q"), array("q"), array("q")
        self.key = array("b")

    def append(self, packet: av.Packet):
        pts, dts = packet.pts, packet.dts
        self.stream.append(packet.stream_index)
        self.pts.append(UNKNOWN if pts is None else pts)
        self.dts.append(UNKNOWN if dts is None else dts)
        self.length.append(packet.duration or 0)
        self.key.append(packet.is_keyframe)

    def times(self, container: InputContainer) -> PacketTimes:
        """Returns the packets with their times in seconds."""
        stream = np.frombuffer(self.stream, np.int64)
        unit = np.array([float(each.time_base or 0) for each in container.streams])[stream]
        pts, dts = (np.frombuffer(times, np.int64) for times in (self.pts, self.dts))
        return PacketTimes(
            stream, np.where(pts == UNKNOWN, np.nan, pts * unit), np.where(dts == UNKNOWN, np.nan, dts * unit),
            np.frombuffer(self.length, np.int64) * unit, np.frombuffer(self.key, np.int8).astype(bool),
        )  # fmt: skip


def read_index(
    path: Path, container: InputContainer, streams: list[VideoStream], *, keep: int
) -> tuple[PacketIndex, list[av.Packet] | None]:
    """Indexes the first of the streams that has packets.

    Args:
      path: The file, for messages.
      streams: Video streams, the best first.
      keep: Largest number of bytes of packets that are kept in memory.

    Returns:
      The index; and the packets of the best stream, with corrected timestamps, if they have at most `keep` bytes.

    Raises:
      MediaError: There are no packets, or the file lasts for days by its clock.
    """
    best, rows, kept, size = streams[0], _Rows(), [], 0
    counts_packets = container.format.name == "avi" and best.codec_context.reorder_depth > 0
    reorders, end = False, 0
    # The sound of other formats is read when it is needed, which is rare.
    audio = container.streams.audio if restarts_together(container) else ()
    for packet in read_packets(container, [*streams, *audio]):
        if packet.stream_index == best.index:
            if size <= keep:
                kept.append(packet)
                size += packet.size
            reorders = reorders or (counts_packets and _reorders(best.codec_context.name, packet))
        if not packet.is_discard:  # excluded by an edit list
            rows.append(packet)
        end = max(end, (packet.pos or 0) + packet.size)
    numbers = np.frombuffer(rows.stream, np.int64)
    stream = next((each for each in streams if (numbers == each.index).any()), None)
    if stream is None:
        raise MediaError("no_video", f"{path} has a video stream, but no frames in it")
    index = _index(path, container, stream, rows, reorders, has_next_file(path, container, end))
    if stream is not best or size > keep:
        return index, None
    if index.shifts is not None:
        for number, packet in enumerate(packet for packet in kept if not packet.is_discard):
            index.correct(packet, number)
    return index, kept


def _index(
    path: Path, container: InputContainer, stream: VideoStream, rows: _Rows, reorders: bool, next_file: bool
) -> PacketIndex:
    if not stream.time_base:
        raise MediaError("damaged", f"{path} does not say in which unit it counts time")
    packets, unit, frame = rows.times(container), float(stream.time_base), 1 / _rate(container, stream)
    late, promised = _late(container, stream), _promised(container)
    if late > _LONGEST:
        raise MediaError("damaged", f"{path} starts after {late:.3g} s by its clock; at most 48 hours are read")
    chosen = packets.stream == stream.index
    sound = functools.cache(lambda: packets if restarts_together(container) else _read_sound(path))
    offsets = _offsets(packets, container, stream.index, frame, promised, sound)
    pts, dts = (np.frombuffer(times, np.int64)[chosen] for times in (rows.pts, rows.dts))
    shifts = _in_units(offsets[chosen], unit) if offsets[chosen].any() else None
    if shifts is not None:
        pts, dts = (np.where((each == UNKNOWN) | (shifts == UNKNOWN), UNKNOWN, each + shifts) for each in (pts, dts))
        if restarts_clock(container):  # FFmpeg's duration comes from the last timestamps in the file
            promised = 0.0

    is_avi, held = container.format.name == "avi", int(stream.codec_context.has_b_frames)
    shown = np.where(pts == UNKNOWN, dts, pts)
    given, order_times = shown[shown != UNKNOWN], cast(np.ndarray | None, None)
    distinct = len(np.unique(given))
    relies_on_pts = not reorders and not (pts == UNKNOWN).any() and distinct > _DISTINCT * len(pts)
    if is_avi and not relies_on_pts and not (dts == UNKNOWN).any():
        shown, first = dts, int(dts.min()) - round(late / unit)
        end = (int(dts.max()) - first) * unit
        order_times = (np.sort(dts) - first) * unit + held * frame
    elif distinct > _ENOUGH * len(pts):
        first = int(given.min()) - round(late / unit)
        end = (int(given.max()) - first) * unit
        if is_avi:  # FFmpeg reports the times of decoding, which lag by the frames that the decoder holds
            first -= round(held * frame / unit)
    else:
        first, end = 0, late + (len(pts) - 1) * frame
        order_times = late + np.arange(len(pts)) * frame
    length = float(packets.length[chosen][int(np.argmax(shown))])
    end += length if 0 < length < _LAST_FRAME or 0 < length <= promised - end + frame else frame
    # The last frame stays where the sound plays considerably longer. An end that a header declares is an upper limit.
    duration, longest = end, math.inf if restarts_clock(container) or not promised else promised
    considerable = end + max(1.0, 0.05 * end)
    if container.streams.audio and longest > considerable:
        end_of_sound = min(_end_of_sound(sound(), offsets, container, first * unit), longest)
        duration = end_of_sound if end_of_sound > considerable else end
    if not 0 < duration <= _LONGEST:
        raise MediaError("damaged", f"{path} lasts {duration:.3g} s by its clock; at most 48 hours are read")
    return PacketIndex(
        stream=stream.index, pts=shown if relies_on_pts else None, keys=packets.key[chosen], shifts=shifts,
        order_times=order_times, unit=unit, first=first, late=late, frame=frame,
        delay=max(_DELAY, held * frame + 0.5 * unit if is_avi else 0.0), duration=duration, promised=promised,
        note=_clock_note(path, np.where(shown == UNKNOWN, np.nan, (shown - first) * unit), offsets[chosen]),
        has_next_file=next_file,
    )  # fmt: skip


def _late(container: InputContainer, stream: VideoStream) -> float:
    """Returns the seconds for which other streams play first: players start at the earliest stream of the file."""
    if container.start_time is None or stream.start_time is None:
        return 0.0
    return max(0.0, float(stream.start_time * (stream.time_base or 0)) - container.start_time / av.time_base)


def _promised(container: InputContainer) -> float:
    """Returns the duration in seconds that the container declares; 0 if it declares none."""
    duration = container.duration or 0
    if container.format.name in ("matroska,webm", "nut"):  # counted from time 0, rather than from the start
        duration -= max(0, container.start_time or 0)
    return max(0.0, duration / av.time_base)


def _offsets(
    packets: PacketTimes, container: InputContainer, stream: int, frame: float, promised: float,
    sound: Callable[[], PacketTimes],
) -> Float64[np.ndarray, " packets"]:  # fmt: skip
    """Returns the seconds that put each packet on one clock; NaN where a timestamp is damaged."""
    if restarts_clock(container):
        return offsets_as_ffmpeg(packets, stream, frame)
    declared_end = promised + max(0.0, (container.start_time or 0) / av.time_base) if promised else 0.0
    offsets = np.zeros(len(packets.stream))
    video = packets.of_stream(stream)
    offsets[packets.stream == stream] = offsets_of_parts(video, frame, declared_end, lambda: sound().pts)
    return offsets


def _in_units(offsets: Float64[np.ndarray, " packets"], unit: float) -> Int64[np.ndarray, " packets"]:
    """Returns seconds in stream units; UNKNOWN for NaN."""
    units = np.round(np.nan_to_num(offsets) / unit)
    is_known = ~np.isnan(offsets) & (np.abs(units) < _FARTHEST)
    return np.where(is_known, np.where(is_known, units, 0).astype(np.int64), UNKNOWN)


def _rate(container: InputContainer, stream: VideoStream) -> float:
    """Returns the usual frames per second."""
    rate = stream.average_rate or stream.guessed_rate
    if not has_timestamps(container):  # the average rate is the demuxer's assumption
        rate = stream.codec_context.framerate
    return float(rate) if rate and 0 < rate <= _HIGHEST_RATE else _RATE


# The start of an H.264 NAL unit, with its type and the first byte of a slice; the start of an MPEG-4 frame.
_NAL_UNIT, _MPEG4_FRAME = re.compile(rb"\x00\x00\x01(.)(.)", re.DOTALL), b"\x00\x00\x01\xb6"


def _reorders(codec: str, packet: av.Packet) -> bool:
    """Whether FFmpeg's presentation times of an AVI file are wrong, as a packet shows.

    AVI numbers its packets. FFmpeg derives the order of display from the types of frames, except where there are
    B-frames of H.264 or two frames of MPEG-4 in one packet.
    """
    if codec in ("mpeg1video", "mpeg2video"):
        return False
    if codec == "mpeg4":
        return bytes(packet).count(_MPEG4_FRAME) > 1
    if codec != "h264":
        return True
    for unit in _NAL_UNIT.finditer(bytes(packet)):
        kind, slice_header = unit[1][0] & 31, unit[2][0]
        if kind in (1, 5) and slice_header & 0x80:  # the first slice of a frame; its type comes next: B is 1 or 6
            return slice_header >> 4 == 0b1010 or slice_header >> 2 == 0b100111
    return False


def _read_sound(path: Path) -> PacketTimes:
    """Returns the packets of all audio streams of a file."""
    rows = _Rows()
    with open_video(path) as (container, _):
        for packet in read_packets(container, container.streams.audio) if container.streams.audio else ():
            rows.append(packet)
        return rows.times(container)


def _end_of_sound(
    sound: PacketTimes, offsets: Float64[np.ndarray, " packets"], container: InputContainer, zero: float
) -> float:
    """Returns the seconds up to the end of the sound; 0 if there is none.

    They are counted with the durations of the packets, in which no jump of the clock counts.

    Args:
      offsets: Seconds that correct the times of all packets, for formats whose clock may restart.
      zero: Time from which seconds are counted.
    """
    end = 0.0
    for stream in container.streams.audio:
        of_stream = (sound.stream == stream.index) & ~np.isnan(sound.pts)
        if of_stream.any():
            first = sound.pts[of_stream][0] + (offsets[of_stream][0] if restarts_together(container) else 0.0)
            end = max(end, float(first - zero + sound.length[of_stream].sum()))
    return end


def _clock_note(path: Path, times: Float64[np.ndarray, " packets"], offsets: Float64[np.ndarray, " packets"]) -> str:
    """Returns a message about corrected timestamps and gaps.

    Args:
      times: Corrected times in seconds; NaN if unknown.
      offsets: Seconds that were added; NaN if a timestamp is damaged.
    """
    notes = []
    if damaged := int(np.isnan(offsets).sum()):
        notes.append(f"the timestamps of {damaged} frames are damaged and were replaced")
    is_known = ~np.isnan(times + offsets)
    intact, offsets = times[is_known], offsets[is_known]
    changes = 1 + np.flatnonzero(np.diff(offsets))
    if len(changes):
        places = ", ".join(f"{intact[change]:.1f}" for change in changes[:5]) + (", ..." if len(changes) > 5 else "")
        notes.append(f"the clock of the file restarts or jumps at {places} s; the parts are joined")
    if not notes:
        ordered = np.sort(intact)
        gaps = np.flatnonzero(np.diff(ordered) > _STILL)
        if len(gaps):
            notes.append(f"no frame comes between {ordered[gaps[0]]:.1f} and {ordered[gaps[0] + 1]:.1f} s")
    return f"{path}: {'; '.join(notes)}" if notes else ""
