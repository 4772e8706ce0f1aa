"""Video files to frames: what a record holds, and what prediction does with a raw video.

Times are presentation times in seconds from the start of the file as players count it. Of a variable frame rate, an odd
start, a turned or interlaced picture, 10 bits or other colours nothing is left behind this file: out go upright 8-bit
frames and the moments at which each was shown.

Only what the wanted frames depend on is decoded. An index of all packets, which costs a thousandth of decoding, says
which those are; where a stream does not keep to the rules, all of it is decoded.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import simplejpeg
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from capjax.data.photo import MAX_PIXELS, MediaError, MediaSettings, check_file

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "mp4", "m4v", "mov", "mkv", "webm", "avi", "flv", "f4v", "wmv", "asf", "mpg", "mpeg", "mpe", "m2v", "vob",
        "ts", "mts", "m2ts", "3gp", "3g2", "ogv", "mxf", "divx", "rm", "rmvb",
    )
)  # fmt: skip
# What may be opened: containers of video in one file. FFmpeg also reads play lists, which name other files and hosts.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,asf,asf_o,mpeg,mpegvideo,mpegts,mpegtsraw,ogg,mxf,rm,"
    "h264,hevc,m4v,ivf,obu,nut,wtv,dv,nsv,vc1,h263,mjpeg,gxf,y4m,yuv4mpegpipe,gif,amv,bink,smk,"
    "mp3,flac,wav,aac"  # sound alone, so that what is wrong with it can be told
)
# Two moments are the same if no more than this apart: less than the ticks of a clock of 90 kHz, and more than the error
# of decimals.
EPSILON = 1e-5
# Seconds of a decoder's delay, at most: a first frame that comes up sooner was there from the beginning.
DELAY = 0.1
# Clocks that run longer are damaged, and what is cut from them would never end.
_LONGEST = 48 * 3600.0
# Pixels that are wider or narrower than this are damage too.
_WIDEST = 16
_NONE = np.iinfo(np.int64).min
# Bytes of packets that are kept from the index for the decoder; of a larger file they are read again.
_KEPT = 32 * 2**20
_REFORMATTER = VideoReformatter()
_DAMAGED = (av.error.FFmpegError, OSError)


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame, and which of the wanted moments it was on the screen at.

    Attributes:
      time: when it came up, in seconds.
      moments: indices into the wanted times, in order; empty where every frame was wanted.
    """

    time: float
    frame: av.VideoFrame
    moments: range


class Video:
    """One video file, open for reading.

    Args:
      path: the file. Its name is never taken for anything else, such as an address.
      threads: of the decoder; 0: as many as there are cores.

    Attributes:
      duration: seconds, up to the end of the last frame, as the file really has it.
      promised: the duration that the container speaks of; 0 where it does not.
      frames: how many there are.

    Raises:
      MediaError: missing, empty, no video, no frames, damaged, of a codec that is not there, longer than two days, or
        of more than MAX_PIXELS pixels.
    """

    def __init__(self, path: Path, *, threads: int = 1):
        check_file(path, "video", limit=None)
        self.path = Path(path)
        self._threads = threads
        with ExitStack() as stack:
            container, stream = stack.enter_context(self._open())
            packets = self._read_index(container, stream)
            # Most files are small: these are opened and read once, and stay open for the decoder.
            self._kept = None if packets is None else (stack.pop_all(), stream, packets)

    def _open(self) -> "_Opened":
        return _Opened(self.path, self._threads)

    @contextmanager
    def _packets(self) -> Iterator[tuple[VideoStream, Iterator[av.Packet]]]:
        """The video stream and all its packets."""
        kept, self._kept = self._kept, None
        if kept is None:
            with self._open() as (container, stream):
                yield stream, _packets(container, stream)
        else:
            stack, stream, packets = kept
            with stack:
                yield stream, iter(packets)

    def _read_index(self, container, stream) -> list[av.Packet] | None:
        """One pass over the packets, without decoding; gives them where they are few."""
        pts, keys, lengths = [], [], []
        missing, kept, size = False, [], 0
        for packet in _packets(container, stream):
            if size <= _KEPT:
                kept.append(packet)
                size += packet.size
            if packet.is_discard:  # what an edit list leaves out
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
        # Without presentation times (some AVI) nothing is known before it is decoded.
        self._pts = None if missing else np.array(pts, np.int64)
        self._keys = np.array(keys, bool)
        self.frames = len(pts)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        # Zero is where players begin: at the earliest stream of the file, be it sound.
        late = 0.0
        if container.start_time is not None and stream.start_time is not None:
            late = max(0.0, float(stream.start_time * unit) - container.start_time / av.time_base)
        # AVI has no presentation times. FFmpeg takes those of decoding, behind by what the decoder holds.
        held = stream.codec_context.has_b_frames if container.format.name == "avi" else 0
        if self._pts is None:
            self._first, self.duration = None, late + self.frames / rate
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
        if height * width > MAX_PIXELS:
            raise MediaError("too_large", f"{self.path}: frames of {width:,} x {height:,} pixels; too large to decode")
        shape = float(stream.sample_aspect_ratio or 1)
        self._pixel_shape = shape if 1 / _WIDEST <= shape <= _WIDEST else 1.0
        return kept if size <= _KEPT else None

    def shown_at(self, moments: Sequence[float], *, all_frames: bool = False) -> Iterator[Shown]:
        """The frames that are on the screen at `moments`, each once, in order.

        At a moment the frame is shown that came up last: that with the largest time not after it. At moments before
        the first frame nothing is shown.

        Args:
          moments: seconds, in rising order.
          all_frames: yield every frame of the file, also those that are shown at none of them.
        """
        moments = self._from_beginning(moments)
        done = 0
        if self._pts is not None and not all_frames:
            owners = self._owners(moments)
            if (plan := _plan(self._pts, self._keys, owners)) is not None:
                done = int((owners == _NONE).sum())
                for shown in self._select(self._decode(plan), moments, False):
                    if (owners[shown.moments] != shown.frame.pts).any():
                        break  # streams that break the rules: some frame did not come by way of the shortcut
                    done = shown.moments.stop
                    yield shown
                if done == len(moments):
                    return
        for shown in self._select(self._decode(None), moments, all_frames):
            if all_frames or shown.moments.stop > done:
                yield Shown(shown.time, shown.frame, range(max(shown.moments.start, done), shown.moments.stop))

    def moments_by_frame(self, moments: Sequence[float]) -> list[range]:
        """Which of `moments` show the same frame: for each frame that is shown at any, indices into them, in order.

        The index tells it, and nothing is decoded. (A packet that turns out to be damaged may have been counted.) Where
        the file gives no times the whole of it is decoded once.
        """
        if self._pts is None:
            return [shown.moments for shown in self.shown_at(moments)]
        owners = self._owners(self._from_beginning(moments))
        edges = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(owners)]
        return [range(*edge) for edge in pairwise(edges) if len(owners) and owners[edge[0]] != _NONE]

    def _from_beginning(self, moments: Sequence[float]) -> np.ndarray:
        """The moments as they are, but that a decoder's delay of a frame or two is no black screen."""
        moments = np.asarray(moments, np.float64)
        beginning = self._late if self._pts is None else (int(self._pts.min()) - self._first) * self._unit
        return np.maximum(moments, beginning) if beginning < DELAY else moments

    def jpeg(self, frame: av.VideoFrame, settings: MediaSettings) -> bytes:
        """A frame as an upright RGB JPEG with square pixels, its short side at most `settings.size` pixels.

        Colours go from the stream's matrix and range to those of JPEG. Of interlaced frames one field is kept.

        Raises:
          MediaError: it has no pixels that FFmpeg could convert, or is longer than a JPEG can be.
        """
        try:
            return self._jpeg(frame, settings)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            raise MediaError("damaged", f"{self.path}: a frame cannot be converted: {_words(error)}") from error

    def _jpeg(self, frame: av.VideoFrame, settings: MediaSettings) -> bytes:
        shape = (frame.height, frame.width * self._pixel_shape)
        scale = min(1.0, settings.size / min(shape))
        height, width = (max(1, round(side * scale)) for side in shape)
        turns = round(frame.rotation / 90) % 4
        if frame.interlaced_frame and frame.height > 2:
            frame = _one_field(frame)
        frame = _REFORMATTER.reformat(
            frame, width, height, "yuvj420p", interpolation="BICUBIC", dst_colorspace="ITU601", dst_color_range="JPEG",
            threads=1,
        )  # fmt: skip
        planes = [_pixels(plane) for plane in frame.planes]
        if turns:
            planes = [np.ascontiguousarray(np.rot90(plane, turns)) for plane in planes]
        return encode_yuv(*planes, settings.quality)

    def _owners(self, moments: np.ndarray) -> np.ndarray:
        """The presentation time (in the stream's unit) of the frame shown at each moment; _NONE: nothing yet."""
        ordered = np.sort(self._pts)
        place = np.searchsorted((ordered - self._first) * self._unit, moments + EPSILON, side="right") - 1
        return np.where(place >= 0, ordered[place], _NONE)

    def _select(self, frames: Iterator[tuple[float, av.VideoFrame]], moments, all_frames) -> Iterator[Shown]:
        """A frame stays until the next comes up."""
        before, start = None, 0
        for time, frame in frames:
            if before is not None:
                stop = start
                while stop < len(moments) and moments[stop] + EPSILON < time:
                    stop += 1
                if stop > start or all_frames:
                    yield Shown(*before, range(start, stop))
                start = stop
            else:  # nothing is shown before the first frame
                while start < len(moments) and moments[start] + EPSILON < time:
                    start += 1
            if start == len(moments) and not all_frames:
                return
            before = (time, frame)
        if before is not None and (start < len(moments) or all_frames):
            yield Shown(*before, range(start, len(moments)))

    def _decode(self, plan: "_Plan | None") -> Iterator[tuple[float, av.VideoFrame]]:
        """(seconds, frame) in the order of presentation."""
        last, count = -math.inf, 0
        with self._packets() as (stream, packets):
            for frame in _frames(packets, stream, plan):
                pts = frame.pts if frame.pts is not None else frame.dts
                if self._first is None:  # no clock: the rate is all there is
                    time = self._late + count / float(stream.average_rate or stream.guessed_rate or 25)
                else:
                    time = last if pts is None else (pts - self._first) * self._unit
                count += 1
                if time <= last:  # damaged clocks jump back; what was shown stays
                    continue
                last = time
                yield max(time, 0.0), frame


class _Opened:
    """The container and its video stream, for a `with`."""

    def __init__(self, path: Path, threads: int):
        self._path, self._threads = path, threads

    def __enter__(self):
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        try:
            self._container = av.open(f"file:{self._path}", options=options, metadata_errors="ignore")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MediaError("damaged", f"{self._path} cannot be opened as a video: {_words(error)}") from error
        streams = [s for s in self._container.streams.video if not s.disposition & s.disposition.attached_pic]
        if not streams:
            self._container.close()
            raise MediaError("no_video", f"{self._path} has no video stream")
        stream = streams[0]
        if stream.codec_context is None:
            self._container.close()
            raise MediaError("unknown_codec", f"{self._path}: this build of FFmpeg has no decoder for its video")
        stream.codec_context.thread_count = self._threads
        if self._threads != 1:
            stream.thread_type = "AUTO"
        return self._container, stream

    def __exit__(self, *error):
        self._container.close()


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to decode.

    Attributes:
      send: bool, by packet in the file's order: whether the decoder must see it.
      wanted: the presentation times of the frames that are wanted.
    """

    send: np.ndarray
    wanted: frozenset[int]


def _plan(pts: np.ndarray, keys: np.ndarray, wanted: np.ndarray) -> _Plan | None:
    """Of each group of pictures all up to the last that is wanted; None: no packet can be spared.

    Args:
      pts: int64 [p], presentation times in the file's order; keys: bool [p], where decoding may begin.
    """
    starts = np.flatnonzero(keys)
    if not len(starts) or starts[0] != 0:
        return None
    is_wanted = np.isin(pts, wanted)
    ends = np.append(starts[1:], len(pts))
    send = np.zeros(len(pts), bool)
    whole = False  # the group after this one has wanted pictures that also depend on this one
    for start, end in zip(starts[::-1], ends[::-1], strict=True):
        places = np.flatnonzero(is_wanted[start:end])
        stop = end if whole else (start + places[-1] + 1 if len(places) else start)
        send[start:stop] = True
        # Pictures shown before their group's first one may build on the group before ("open" groups).
        whole = bool((pts[start:stop][is_wanted[start:stop]] < pts[start]).any())
    return _Plan(send, frozenset(wanted.tolist()))


def _frames(packets: Iterator[av.Packet], stream, plan: _Plan | None) -> Iterator[av.VideoFrame]:
    """Decodes the packets of a plan; damaged ones are left out."""
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
            if not sent:  # begin anew at a key frame, as after a jump
                yield from decode(None)
                context.flush_buffers()
                sent = True
            # Pictures that no other depends on need not be decoded either.
            skip = packet.pts not in plan.wanted
            if skip != skipping:
                context.skip_frame = "NONREF" if skip else "DEFAULT"
                skipping = skip
        yield from decode(packet)
    yield from decode(None)


def _packets(container, stream) -> Iterator[av.Packet]:
    """The packets that have something in them, up to the first that cannot be read: what came before it is good."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        # IndexError is PyAV's, at the end, where a stream came to light late.
        except (StopIteration, IndexError, *_DAMAGED):
            return
        if packet.size:  # an empty one would end the decoder's work
            yield packet


def _pixels(plane) -> np.ndarray:
    """uint8 [height, width] of a plane, a view of its rows, which are padded."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def encode_yuv(y: np.ndarray, u: np.ndarray, v: np.ndarray, quality: int) -> bytes:
    """Planes of 4:2:0, uint8 [h, w] and twice [ceil(h / 2), ceil(w / 2)], as a JPEG file.

    TurboJPEG reads an even number of rows and columns of brightness, also where there are none: of an odd plane it
    would see what lies behind it in memory, which differs from run to run.
    """
    height, width = y.shape
    if height % 2 or width % 2:
        y = cv2.copyMakeBorder(y, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)[:height, :width]
    return simplejpeg.encode_jpeg_yuv_planes(y, u, v, quality)


def _one_field(frame: av.VideoFrame) -> av.VideoFrame:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    field, sink = graph.add("field", "type=top"), graph.add("buffersink")
    source.link_to(field)
    field.link_to(sink)
    graph.configure()
    source.push(frame)
    return sink.pull()
