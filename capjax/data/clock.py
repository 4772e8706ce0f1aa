"""Puts the packets of a file on one clock, whose time neither restarts nor jumps.

Recordings that were joined or interrupted restart their timestamps, and damaged ones jump. In containers whose clock is
known to do so (MPEG-TS, MPEG-PS, Ogg), the rule is that of FFmpeg's command, `ts_discontinuity_detect` in
fftools/ffmpeg_demux.c. FFmpeg keeps the timestamps of other containers, which loses the frames after a restart; here
the part after a restart follows the part before it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

# FFmpeg's -dts_delta_threshold, in seconds: a longer step is a jump of the clock.
_JUMP = 10.0
# Without a declared duration a picture may stand still for this long, in seconds.
_STILL = 60.0
# FFmpeg's tolerance, in seconds, for a clock that goes back.
_BACK = 0.1
# Longest run of packets whose timestamps count as damaged, rather than as a part with a clock of its own.
_DAMAGED = 3


@dataclass(frozen=True, slots=True)
class PacketTimes:
    """Timestamps of the packets of all video and audio streams, in file order.

    Attributes:
      stream: Index of each packet's stream.
      pts: Presentation times in seconds; NaN if unknown.
      dts: Decoding times in seconds; NaN if unknown.
      length: Durations in seconds; 0 if unknown.
      key: Whether decoding may start at the packet.
    """

    stream: Int64[np.ndarray, " packets"]
    pts: Float64[np.ndarray, " packets"]
    dts: Float64[np.ndarray, " packets"]
    length: Float64[np.ndarray, " packets"]
    key: Bool[np.ndarray, " packets"]

    def of_stream(self, stream: int) -> "PacketTimes":
        """Returns the packets of one stream."""
        chosen = self.stream == stream
        return PacketTimes(
            self.stream[chosen], self.pts[chosen], self.dts[chosen], self.length[chosen], self.key[chosen]
        )


def offsets_as_ffmpeg(packets: PacketTimes, stream: int, frame: float) -> Float64[np.ndarray, " packets"]:
    """Returns the seconds to add to the times of each packet of a container whose clock may restart.

    A packet whose decoding time differs by more than 10 s from the end of the packet before it in its stream, or lies
    before that packet, starts a new clock, for all streams.

    Args:
      stream: The video stream.
      frame: Usual distance of two of its frames in seconds, for packets without a duration.
    """
    offsets = np.zeros(len(packets.dts))
    if _is_steady(packets):
        return offsets
    offset = 0.0
    expected: dict[int, float] = {}  # by stream: the end of its last packet
    previous: dict[int, float] = {}  # by stream: the start of its last packet
    lengths = np.where((packets.stream == stream) & (packets.length <= 0), frame, packets.length)
    rows = zip(packets.stream.tolist(), packets.dts.tolist(), lengths.tolist(), strict=True)
    for number, (each, dts, length) in enumerate(rows):
        time = expected.get(each, math.nan) if math.isnan(dts) else dts + offset
        if each in expected:
            step = time - expected[each]
            if abs(step) > _JUMP or time + _BACK < previous[each]:
                offset -= step
                time -= step
        offsets[number] = offset
        if not math.isnan(time):
            previous[each], expected[each] = time, time + length
    return offsets


def _is_steady(packets: PacketTimes) -> bool:
    """Whether no step between packets is near a limit of `offsets_as_ffmpeg`; cheap, and true of nearly all files."""
    margin = 0.5
    is_known = ~np.isnan(packets.dts)
    for stream in np.unique(packets.stream):
        steps = np.diff(packets.dts[is_known & (packets.stream == stream)])
        if (steps < -margin * _BACK).any() or (steps > margin * _JUMP).any():
            return False
    return True


def offsets_of_parts(
    video: PacketTimes, frame: float, declared_end: float, sound: Callable[[], Float64[np.ndarray, " sounds"]]
) -> Float64[np.ndarray, " packets"]:
    """Returns the seconds to add to the times of the packets of one stream; NaN where a timestamp is damaged.

    In an intact stream all frames before a key frame in the file are also displayed before it. A key frame that goes
    back starts a new clock, unless only few timestamps contradict the others: then these are damaged. A gap before a
    key frame is a jump of the clock only if no other stream has packets in it and the container declares no such
    duration: a picture may stand still for minutes.

    Args:
      video: Packets of the video stream.
      frame: Usual distance of two frames in seconds.
      declared_end: End of the file by its header, on the clock of the packets; 0 if unknown.
      sound: Returns the times of the other streams' packets in seconds; called if the clock may jump.
    """
    times, offsets = video.pts, np.zeros(len(video.pts))
    if len(times) < 2 or np.isnan(times).any():
        return offsets
    latest = np.maximum.accumulate(times)[:-1]
    if not ((times[1:] > latest + _JUMP) | (video.key[1:] & (times[1:] + _BACK < latest))).any():
        return offsets
    sound_times = np.sort(sound())
    longest_gap = _JUMP if declared_end else _STILL

    def is_jump(last: int, number: int) -> bool:
        start, end = times[last], times[number]
        return (
            end > max(start + video.length[last] + longest_gap, declared_end + 1)
            and bool(video.key[number] or declared_end)
            and np.searchsorted(sound_times, start + 1) == np.searchsorted(sound_times, end - 1)
        )

    offset, last, key, number = 0.0, 0, 0, 1  # last: the packet displayed last on the present clock; key: the last key
    jump: _Jump | None = None
    while number < len(times):
        time, is_key = times[number], bool(video.key[number])
        goes_back, jumps = is_key and time + _BACK < times[last], is_jump(last, number)
        if jump and time < jump.time - _JUMP:  # back to the clock from before the jump
            end = times[last] + offset + frame
            offset = max(jump.offset, end - frame - time) if abs(time - jump.before) < _JUMP else end - time
            last, jump = number, None
        elif goes_back and len(later := _contradicting(times[key : number + 1])):
            offsets[key + later] = math.nan
            last = number
        elif (goes_back or jumps) and (count := _damaged_from(times, number, times[last])):
            offsets[number : number + count] = math.nan
            number += count
            continue
        elif goes_back or jumps:
            jump = _Jump(time, offset, times[last]) if jumps else None
            length = video.length[last] if frame < video.length[last] < _JUMP else frame
            offset += times[last] + length - time
            last = number
        elif time > times[last]:
            last = number
        offsets[number] = offset
        key = number if is_key else key
        number += 1
    return offsets


@dataclass(frozen=True, slots=True)
class _Jump:
    """A jump of the clock forward to a time, and the offset and the latest time of the clock before it."""

    time: float
    offset: float
    before: float


def _contradicting(times: np.ndarray) -> np.ndarray:
    """Returns the few packets that are displayed later than the last one, if it continues the others, else none."""
    later = np.flatnonzero(times[:-1] > times[-1])
    intact = times[:-1][times[:-1] <= times[-1]]
    continues = len(later) <= _DAMAGED and len(intact) and intact.max() > times[-1] - _JUMP
    return later if continues else later[:0]


def _damaged_from(times: np.ndarray, number: int, before: float) -> int:
    """Returns the number of packets after which the clock goes on as before; 0 if it does not do so soon."""
    following = times[number + 1 : number + 1 + _DAMAGED]
    returns = np.flatnonzero((following > before) & (following < before + _JUMP))
    return 1 + int(returns[0]) if len(returns) else 0
