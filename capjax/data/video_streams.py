"""Opens video files with FFmpeg's libraries, and chooses the stream and the decoder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from capjax.data.animation import video_source
from capjax.data.media_formats import DEMUXERS, MAX_FRAME_PIXELS
from capjax.data.photo import MediaError

# FFmpeg counts a stream with the default flag as this many pixels larger.
_DEFAULT = 5_000_000
# Pictures that belong to a film, but are none.
_COVER = Disposition.attached_pic | Disposition.timed_thumbnails
# Decoders that read the alpha channel of a WebM file, which FFmpeg's own decoders leave out.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Bytes at the start of files, by format, of which FFmpeg reads the first alone where they were appended.
_STARTS = {
    "apng": b"\x89PNG\r\n\x1a\n", "asf": bytes.fromhex("3026b2758e66cf11"), "flv": b"FLV\x01",
    "mov,mp4,m4a,3gp,3g2,mj2": b"ftyp",
}  # fmt: skip
_CHUNK = 2**20
DECODE_ERRORS = (av.error.FFmpegError, OSError)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, list[VideoStream]]]:
    """Opens a container; yields it and its video streams, the one that FFmpeg's command would choose first.

    Raises:
      MediaError: The file is no video, is damaged at its head, has no video stream, or needs an unavailable codec.
    """
    # Decoders also run while the container is probed, and a few bytes of a stream can ask for frames of any size.
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file", "max_pixels": str(MAX_FRAME_PIXELS)}
    try:
        source, demuxer = video_source(path)
        opened = av.open(source, "r", format=demuxer, options=options, metadata_errors="ignore")
    except MediaError as error:
        raise MediaError(error.kind, f"{path}: {error}") from error
    except (*DECODE_ERRORS, ValueError) as error:
        raise MediaError(
            "damaged", f"{path} cannot be opened as a video: {reason(error)}; copy the file again, or convert it"
        ) from error
    with opened as container:
        streams = [stream for stream in container.streams.video if not stream.disposition & _COVER]
        if not streams:
            raise MediaError("no_video", f"{path} has no video stream")
        streams.sort(key=_preference, reverse=True)
        if streams[0].codec_context is None:
            raise MediaError("unknown_codec", f"{path}: this build of FFmpeg has no decoder for its video")
        yield container, streams


def _preference(stream: VideoStream) -> int:
    """Returns FFmpeg's score of a stream; of equal streams, the first in the file counts."""
    context = stream.codec_context
    pixels = context.width * context.height if context is not None else 0
    return pixels + _DEFAULT * bool(stream.disposition & Disposition.default)


def open_decoder(stream: VideoStream, threads: int) -> VideoCodecContext:
    """Returns a decoder for a stream; 0 threads use all cores."""
    context = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and (name := _WITH_ALPHA.get(context.name)) in av.codecs_available:
        context = cast(VideoCodecContext, av.CodecContext.create(name, "r"))
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    if context.name == "mjpeg":  # which else fills what is missing with gray, without a mark
        context.options |= {"err_detect": "explode"}
    context.thread_count = threads
    if threads != 1:
        context.thread_type = "AUTO"
    return context


def read_packets(container: InputContainer, streams: Sequence[Stream]) -> Iterator[av.Packet]:
    """Yields the non-empty packets of the streams, up to the first that cannot be read.

    Packets of which a part is missing are marked as corrupt.
    """
    packets = container.demux(streams)
    may_restart, format_name = restarts_clock(container), container.format.name
    while True:
        try:
            packet = next(packets)
        # PyAV raises IndexError at the end of a file in which a stream appears late.
        except (StopIteration, IndexError, *DECODE_ERRORS):
            return
        if may_restart:  # MPEG-TS also marks the last packet before a part that was joined, which is complete
            packet.is_corrupt = False
        elif format_name == "gif":
            packet.is_corrupt = not _is_complete_gif(bytes(packet))
        if format_name == "ogg" and _is_ogg_header(bytes(packet)):
            continue
        if packet.size:  # an empty packet would flush the decoder
            yield packet


def _is_complete_gif(packet: bytes) -> bool:
    """Whether a packet ends as a GIF image does, or a file does after it; the decoder accepts half an image."""
    return packet.endswith(b"\0") or b"\0;" in packet[-64:] or b"\0;GIF8" in packet


def _is_ogg_header(packet: bytes) -> bool:
    """Whether a packet is the header of a stream. Between joined files, FFmpeg gives headers as if they were frames."""
    return packet[1:7] == b"theora" or packet[:5] == b"OVP80"


def restarts_clock(container: InputContainer) -> bool:
    """Whether files of this format may consist of parts, each with a clock of its own."""
    return bool(container.format.flags & cast(int, Flags.ts_discont.value))


def restarts_together(container: InputContainer) -> bool:
    """Whether files of this format may consist of parts, and a new part restarts the clock of all streams at once."""
    # FFmpeg gives the first packet of sound of a joined Ogg file a time of the part before it.
    return restarts_clock(container) and container.format.name != "ogg"


def has_timestamps(container: InputContainer) -> bool:
    """Whether files of this format have timestamps, rather than the frames of a codec alone."""
    return not container.format.flags & cast(int, Flags.no_timestamps.value)


def has_next_file(path: Path, container: InputContainer, end: int) -> bool:
    """Whether a file was appended that FFmpeg does not read.

    Args:
      end: End of the data that were read, in bytes from the start of the file.
    """
    start = _STARTS.get(container.format.name)
    if start is None:
        return False
    with path.open("rb") as file:
        file.seek(end)
        data = b""
        while chunk := file.read(_CHUNK):
            data = data[-len(start) :] + chunk
            if start in data:
                return True
    return False


def reason(error: Exception) -> str:
    """Returns the message of an error of FFmpeg or the system, without its number and function."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
