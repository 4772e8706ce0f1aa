"""The formats of photos and videos that capjax reads: one table, by which every entry point recognizes media.

The content of a file decides, not its name. A file with more than one frame is a video: an animated GIF, PNG, WebP or
AVIF, and JPEG files joined to a Motion JPEG stream. The pages of a TIFF, and the previews that cameras append to a
JPEG, are not frames. Suffixes serve to name files whose content is damaged.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import SEEK_CUR, BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

import av
from av.container import InputContainer
from av.stream import Disposition
from PIL import Image, UnidentifiedImageError

MediaKind = Literal["photo", "video"]

# Twice Pillow's warning threshold; half a gigabyte as RGB.
MAX_PIXELS = 178_956_970
# Of a frame of a video, of which there are many: twice 8K.
MAX_FRAME_PIXELS = 2 * 7680 * 4320
_HEAD_BYTES = 4096
_CHUNK_BYTES = 2**20
_PROBED_BYTES = 4 * 2**20
# Blocks, chunks or segments that are passed over in search of a second frame.
_MAX_BLOCKS = 300_000


@dataclass(frozen=True)
class MediaFormat:
    """A format of photos or videos.

    Attributes:
      name: As errors call it; of a photo, Pillow's name of its plug-in.
      kind: `photo` if files usually have one frame.
      suffixes: Usual suffixes of files, lower case, without the dot.
      signature: A regular expression that the start of a file matches; empty for formats without one, which FFmpeg's
        probing recognizes.
      demuxers: FFmpeg's demuxers of the videos, separated by commas.
      max_pixels: Largest number of pixels that is decoded, so that the decoder's own buffers stay within a gigabyte.
    """

    name: str
    kind: MediaKind
    suffixes: str
    signature: bytes = b""
    demuxers: str = ""
    max_pixels: int = MAX_PIXELS


FORMATS = (
    MediaFormat("JPEG", "photo", "jpg jpeg jpe jfif jif mjpeg mjpg", rb"\xff\xd8\xff", "mjpeg"),
    MediaFormat("PNG", "photo", "png apng", rb"\x89PNG\r\n\x1a\n", "apng"),
    MediaFormat("GIF", "photo", "gif", rb"GIF8[79]a", "gif"),
    # libwebp's decoder of animations, which Pillow uses for every file, has four buffers of the canvas's size.
    MediaFormat("WEBP", "photo", "webp", rb"(?s:RIFF....WEBP)", max_pixels=50_000_000),
    MediaFormat("TIFF", "photo", "tif tiff", rb"II[*+]\0|MM\0[*+]|MM[*]\0|II\0[*]"),
    MediaFormat("BMP", "photo", "bmp dib", rb"(?s:BM.{12})[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    MediaFormat("PPM", "photo", "ppm pgm pbm pnm pfm", rb"P[1-6f]\s+[\d#]|P0CMYK\s|Py(?:P|RGBA|CMYK)\s"),
    MediaFormat(
        "AVIF", "photo", "avif avifs", rb"(?s:....ftyp(?:avi[fs]|m[is]f1.{4,48}?avi[fs]))", max_pixels=50_000_000
    ),
    MediaFormat(
        "HEIF", "photo", "heic heif hif", rb"(?s:....ftyp(?:hei[cxms]|hev[cx]|mif1|msf1))", max_pixels=50_000_000
    ),
    MediaFormat(
        "MP4", "video", "mp4 m4v mov 3gp 3g2 f4v", rb"(?s:\0...(?:ftyp|wide|free|skip|pnot)|....(?:moov|mdat))",
        "mov,mp4,m4a,3gp,3g2,mj2",
    ),
    MediaFormat("Matroska", "video", "mkv webm", rb"\x1aE\xdf\xa3", "matroska,webm"),
    MediaFormat("AVI", "video", "avi divx", rb"(?s:RIFF....AVI )", "avi"),
    MediaFormat("FLV", "video", "flv", rb"FLV\x01", "flv,live_flv"),
    MediaFormat("ASF", "video", "wmv asf", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf,asf_o"),
    MediaFormat("MPEG", "video", "mpg mpeg mpe m2v m1v vob", rb"\0\0\x01[\xba\xb3]", "mpeg,mpegvideo"),
    MediaFormat(
        "MPEG-TS", "video", "ts mts m2ts", rb"(?s:G.{187}G.{187}G|....G.{191}G.{191}G)", "mpegts,mpegtsraw"
    ),
    MediaFormat("Ogg", "video", "ogv", rb"OggS", "ogg"),
    MediaFormat("MXF", "video", "mxf", rb"\x06\x0e\x2b\x34", "mxf"),
    MediaFormat("RealMedia", "video", "rm rmvb", rb"\.RMF", "rm"),
    MediaFormat("IVF", "video", "ivf", rb"DKIF", "ivf"),
    MediaFormat("NUT", "video", "nut", rb"nut/multimedia container", "nut"),
    MediaFormat("Y4M", "video", "y4m", rb"YUV4MPEG2", "y4m,yuv4mpegpipe"),
    MediaFormat("WTV", "video", "wtv", rb"\xb7\xd8\x00\x20\x37\x49\xda\x11", "wtv"),
    # Raw streams and rare containers.
    MediaFormat(
        "raw video", "video", "h264 264 avc h265 265 hevc h266 266 vvc h263 vc1 obu dv", b"",
        "h264,hevc,vvc,m4v,obu,av1,dv,nsv,vc1,h263,gxf,amv,bink,smk",
    ),
)  # fmt: skip

# Demuxers of audio alone are allowed, so that the error can say that there is no video stream.
DEMUXERS = ",".join([*(each.demuxers for each in FORMATS if each.demuxers), "mp3,flac,wav,aac"])
KINDS_BY_SUFFIX: dict[str, MediaKind] = {
    f".{suffix}": "video" if suffix in ("mjpeg", "mjpg") else each.kind
    for each in FORMATS
    for suffix in each.suffixes.split()
}
# Containers that often hold audio alone.
_AUDIO_TOO = ("MP4", "Matroska", "ASF", "Ogg", "RealMedia", "NUT")
_SIGNATURES = [(each, re.compile(each.signature)) for each in FORMATS if each.signature]
# The end of an image and the start of the next.
_NEXT_JPEG = re.compile(rb"\xff\xd9[\xff\0]{0,8}(?=\xff\xd8\xff)")


def media_kind(source: Path | bytes) -> MediaKind | None:
    """Returns whether a file is a photo or a video, by its content; None if it is neither.

    A file of no known content, and what is no file, is what its suffix says: its reader reports what is wrong.

    Args:
      source: The path of a file, or its bytes.

    Raises:
      OSError: The file cannot be read.
    """
    by_suffix = None if isinstance(source, bytes) else KINDS_BY_SUFFIX.get(source.suffix.lower())
    if isinstance(source, Path) and not source.is_file():
        return by_suffix
    with _opened(source) as file:
        head = file.read(_HEAD_BYTES)
        media_format = format_of(head)
        if media_format is None:
            return "video" if _probe(head, file)[0] else by_suffix
        if media_format.name in _AUDIO_TOO and by_suffix != "video" and _is_audio(source):
            return None
        is_animated = _ANIMATED.get(media_format.name)
        if is_animated is None:
            return media_format.kind
        file.seek(0)
        # A file that is cut short ends the search for further frames.
        with suppress(struct.error, IndexError, ValueError, UnidentifiedImageError):
            return "video" if is_animated(file) else "photo"
        return "photo"


def format_of(head: bytes) -> MediaFormat | None:
    """Returns the format whose signature the first bytes of a file have; None if no format has it."""
    return next((each for each, signature in _SIGNATURES if signature.match(head)), None)


def demuxer_of(source: Path | bytes) -> str | None:
    """Returns FFmpeg's demuxer of a file for which FFmpeg would take another by its name, or read a single picture.

    These are animations and raw streams; None for other files, which FFmpeg recognizes.
    """
    with _opened(source) as file:
        head = file.read(_HEAD_BYTES)
        media_format = format_of(head)
        if media_format is None:
            return _probe(head, file)[1]
    return media_format.demuxers or None if media_format.kind == "photo" else None


def photo_format_names() -> str:
    """Returns the names of the formats of photos, for messages."""
    return ", ".join(each.name for each in FORMATS if each.kind == "photo")


def _opened(source: Path | bytes) -> BinaryIO:
    return BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _probe(head: bytes, file: BinaryIO) -> tuple[bool, str | None]:
    """Returns whether FFmpeg finds a video stream in a file without a known signature, and its demuxer.

    Args:
      head: The first bytes of the file, which have been read.
    """
    # No video is text, and probing every text of a folder would take long.
    if not re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", head):
        return False, None
    try:
        # FFmpeg sees no name, which would count as much as the content.
        with _open_container(BytesIO(head + file.read(_PROBED_BYTES))) as container:
            return _has_video(container), container.format.name
    except (av.error.FFmpegError, OSError, ValueError):
        return False, None


def _is_audio(source: Path | bytes) -> bool:
    """Whether a file holds audio alone, with or without a cover picture. It may also be damaged if not."""
    try:
        with _open_container(BytesIO(source) if isinstance(source, bytes) else f"file:{source}") as container:
            return bool(container.streams.audio) and not _has_video(container)
    except (av.error.FFmpegError, OSError, ValueError):
        return False


def _open_container(file: BinaryIO | str) -> InputContainer:
    # Decoders run while a file is probed, and a few bytes of a stream can ask for frames of any size.
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file", "max_pixels": str(MAX_FRAME_PIXELS)}
    return av.open(file, "r", options=options, metadata_errors="ignore")


def _has_video(container: InputContainer) -> bool:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    return any(s.codec_context is not None and s.codec_context.width for s in streams)


# ---- Animations


def _is_motion_jpeg(file: BinaryIO) -> bool:
    """Whether a JPEG file is followed by another of the same size. Cameras append previews, of other sizes, and name
    them in an MPF segment."""
    file.seek(2)
    size = None
    for _ in range(_MAX_BLOCKS):
        marker, length = _next_segment(file)
        payload = file.read(length - 2)
        if marker == 0xFFE2 and payload.startswith(b"MPF\0"):
            return False
        if _is_frame_header(marker):
            size = payload[1:5]
        if marker == 0xFFDA:
            break
    before = b""
    while chunk := file.read(_CHUNK_BYTES):
        data = before + chunk
        if match := _NEXT_JPEG.search(data):
            file.seek(match.end() - len(data), SEEK_CUR)
            return _jpeg_size(file) == size
        before = data[-12:]
    return False


def _next_segment(file: BinaryIO) -> tuple[int, int]:
    """The marker of the segment at the file's position, after fill bytes, and the segment's length."""
    start = file.read(2)
    while start == b"\xff\xff":
        start = b"\xff" + file.read(1)
    marker, length = struct.unpack(">HH", start + file.read(2))
    if marker >> 8 != 0xFF or length < 2:
        raise ValueError("not a segment")
    return marker, length


def _is_frame_header(marker: int) -> bool:
    return 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC)


def _jpeg_size(file: BinaryIO) -> bytes | None:
    """The bytes of height and width of the JPEG that starts at the file's position."""
    file.seek(2, SEEK_CUR)
    for _ in range(_MAX_BLOCKS):
        marker, length = _next_segment(file)
        if marker == 0xFFDA:
            return None
        payload = file.read(length - 2)
        if _is_frame_header(marker):
            return payload[1:5]
    return None


def _is_animated_png(file: BinaryIO) -> bool:
    file.seek(8)
    for _ in range(_MAX_BLOCKS):
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"acTL":
            return struct.unpack(">I", file.read(4))[0] > 1
        if name in (b"IDAT", b"IEND"):
            return False
        file.seek(length + 4, SEEK_CUR)
    return False


def _is_animated_gif(file: BinaryIO) -> bool:
    file.seek(10)
    flags = file.read(3)[0]
    _skip_gif_palette(file, flags)
    frames = blocks = 0
    while (block := file.read(1)) and block != b";" and blocks < _MAX_BLOCKS:
        blocks += 1
        if block == b"!":
            file.seek(1, SEEK_CUR)
        elif block == b",":
            frames += 1
            if frames > 1:
                return True
            _skip_gif_palette(file, file.read(9)[8])
            file.seek(1, SEEK_CUR)
        else:
            return False
        while (length := file.read(1)[0]) and blocks < _MAX_BLOCKS:
            blocks += 1
            file.seek(length, SEEK_CUR)
    return False


def _skip_gif_palette(file: BinaryIO, flags: int):
    if flags & 0x80:
        file.seek(3 * (2 << (flags & 7)), SEEK_CUR)


def _is_animated_webp(file: BinaryIO) -> bool:
    return sum(name == b"ANMF" for name, _ in webp_chunks(file)) > 1


def webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yields the name and the first 16 bytes of each chunk of a WebP file.

    Raises:
      ValueError: There are more than are read.
    """
    file.seek(12)
    blocks = 0
    while len(header := file.read(8)) == 8:
        blocks += 1
        if blocks > _MAX_BLOCKS:
            raise ValueError("too many chunks")
        name, length = struct.unpack("<4sI", header)
        start = file.read(min(length, 16))
        yield name, start
        file.seek(length + length % 2 - len(start), SEEK_CUR)


def _is_animated_avif(file: BinaryIO) -> bool:
    if b"avis" not in file.read(64):
        return False
    with Image.open(file, formats=("AVIF",)) as image:
        return getattr(image, "n_frames", 1) > 1


_ANIMATED = {
    "JPEG": _is_motion_jpeg, "PNG": _is_animated_png, "GIF": _is_animated_gif, "WEBP": _is_animated_webp,
    "AVIF": _is_animated_avif,
}  # fmt: skip
