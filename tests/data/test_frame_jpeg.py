"""Frames come out upright, opaque and in the standard range, as players show them."""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from io import BytesIO
from itertools import product

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from capjax.data.photo import MediaSettings
from capjax.data.video import VideoFile
from tests.helpers.videos import copy_streams, pixels, psnr, set_display_matrix, write_video

PICTURE = MediaSettings(256, 100)
# Rotations by quarter turns, with and without a reflection, as the first values of a display matrix.
MATRICES = [
    *((a, 0, 0, d) for a, d in product((1, -1), repeat=2)), *((0, b, c, 0) for b, c in product((1, -1), repeat=2)),
]  # fmt: skip


def corner_marks(width: int = 96, height: int = 64) -> np.ndarray:
    """uint8 [h, w, 3]: a picture that tells its orientation: each quarter has another brightness."""
    picture = np.zeros((height, width, 3), np.uint8)
    half = height // 2, width // 2
    picture[: half[0], : half[1]], picture[: half[0], half[1] :] = 30, 90
    picture[half[0] :, : half[1]], picture[half[0] :, half[1] :] = 150, 210
    return picture


def displayed(picture: np.ndarray, matrix) -> np.ndarray:
    """Moves each pixel where a display matrix puts it: column a * x + c * y, row b * x + d * y."""
    a, b, c, d = matrix
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    x, y = a * columns + c * rows, b * columns + d * rows
    x, y = x - x.min(), y - y.min()
    out = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
    out[y, x] = picture
    return out


def first_frame(path) -> np.ndarray:
    video = VideoFile(path)
    return pixels(video.jpeg(next(video.frames_at([0.0])).frame, PICTURE))


def still(path, picture, **more):
    """Ten frames; FFmpeg does not recognize a shorter transport stream."""
    size = picture.shape[1], picture.shape[0]
    return write_video(path, np.arange(10) / 25, pictures=[picture] * 10, size=size, unit=Fraction(1, 25), **more)


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_display_matrix_turns_and_mirrors(tmp_path, matrix, suffix):
    path = set_display_matrix(still(tmp_path / f"a.{suffix}", corner_marks()), matrix)
    out, expected = first_frame(path), displayed(corner_marks(), matrix)
    assert out.shape == expected.shape
    assert psnr(out, expected) > 30


def test_a_mirrored_video_with_an_offset_is_not_upside_down(tmp_path):
    """As a front camera writes it: -1 0 0 / 0 1 0 / width 0 1."""
    import struct

    path = set_display_matrix(still(tmp_path / "a.mp4", corner_marks()), (-1, 0, 0, 1))
    content = path.read_bytes()
    place = content.index(b"tkhd") + 44 + 24
    path.write_bytes(content[:place] + struct.pack(">i", 96 << 16) + content[place + 4 :])
    assert psnr(first_frame(path), corner_marks()[:, ::-1].copy()) > 30


@pytest.mark.parametrize("suffix", ["mkv", "ts", "avi", "h264", "mp4"])
@pytest.mark.parametrize("flip", ["", "horizontal", "vertical"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_display_orientation_within_the_stream_counts_in_every_container(tmp_path, suffix, degrees, flip):
    """An SEI message of H.264: flips first, then a rotation counter-clockwise."""
    plain = still(tmp_path / "plain.h264", corner_marks(), options={"bf": "0", "g": "1"})
    flips = f":flip={flip}" if flip else ""
    command = f"h264_metadata=display_orientation=insert:rotate={degrees}{flips}"
    path = copy_streams([plain], tmp_path / f"a.{suffix}", filters=command)
    expected = corner_marks()
    if flip:
        expected = expected[:, ::-1] if flip == "horizontal" else expected[::-1]
    expected = np.ascontiguousarray(np.rot90(expected, degrees // 90))
    out = first_frame(path)
    assert out.shape == expected.shape
    assert psnr(out, expected) > 30


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_of_motion_jpeg_counts_as_for_photos(tmp_path, orientation):
    picture, file, exif = Image.fromarray(corner_marks()), BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    picture.save(file, "JPEG", quality=95, exif=exif)
    path = tmp_path / "a.mjpeg"
    path.write_bytes(3 * file.getvalue())
    expected = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    assert psnr(first_frame(path), np.ascontiguousarray(expected)) > 30


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_pose_of_a_matroska_file_turns(tmp_path, degrees):
    path = still(tmp_path / "a.mkv", corner_marks(), rotate=degrees)
    expected = np.ascontiguousarray(np.rot90(corner_marks(), degrees // 90))
    assert psnr(first_frame(path), expected) > 30


def test_a_matrix_without_meaning_leaves_the_picture_upright(tmp_path):
    path = set_display_matrix(still(tmp_path / "a.mp4", corner_marks()), (0, 0, 0, 0))
    assert psnr(first_frame(path), corner_marks()) > 30


# ---- Transparency


def see_through(height: int = 64, width: int = 96) -> np.ndarray:
    """uint8 [h, w, 4]: what is transparent hides other colors below; smooth, so that no codec changes it much."""
    rows, columns = np.mgrid[:height, :width]
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., 0], rgba[..., 1], rgba[..., 2] = 40 + columns, 200 - rows, 60
    rgba[..., 3] = np.clip((columns - 24) * 6, 0, 255)
    return rgba


ALPHA = {
    "a.mov": ("qtrle", "argb", {}),
    "b.mov": ("png", "rgba", {}),
    "c.mov": ("prores_ks", "yuva444p10le", {"profile": "4444"}),
    "d.webm": ("libvpx-vp9", "yuva420p", {"deadline": "good", "cpu-used": "8", "b": "2M"}),
    "e.webm": ("libvpx", "yuva420p", {"deadline": "good", "cpu-used": "8", "b": "2M", "auto-alt-ref": "0"}),
    "f.mkv": ("ffv1", "bgra", {}),
    "g.apng": ("apng", "rgba", {}),
}


@pytest.mark.parametrize("name", ALPHA)
def test_transparent_frames_are_composed_on_white_as_photos_are(tmp_path, name):
    codec, pix_fmt, options = ALPHA[name]
    rgba = see_through()
    path = tmp_path / name
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        for k in range(3):
            frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format=pix_fmt)
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    white = Image.new("RGBA", (96, 64), "white")
    expected = np.asarray(Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB"))
    out = first_frame(path).astype(int)
    assert np.abs(out - expected).mean() < 3
    assert out[:, :16].min() > 250  # nothing of what lies underneath


def test_an_opaque_frame_with_an_alpha_channel_is_the_one_without(tmp_path):
    rgba = see_through()
    rgba[..., 3] = 255
    opaque = still(tmp_path / "a.mkv", np.ascontiguousarray(rgba[..., :3]), codec="ffv1", pix_fmt="bgra", options={})
    plain = still(tmp_path / "b.mkv", np.ascontiguousarray(rgba[..., :3]), codec="ffv1", pix_fmt="bgr0", options={})
    np.testing.assert_array_equal(first_frame(opaque), first_frame(plain))


# ---- Range and matrix

MATRIX = {"bt709": (1, 0.2126, 0.0722), "smpte170m": (6, 0.299, 0.114), "bt2020": (9, 0.2627, 0.0593)}


def encoded(rgb: np.ndarray, red: float, blue: float, *, full: bool, bits: int) -> list[np.ndarray]:
    """Y, Cb and Cr by their definition in ITU-R BT.709 and its relatives."""
    r, g, b = np.moveaxis(rgb / 255.0, -1, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    top = 2 ** (bits - 8)
    if full:
        return [np.round((2**bits - 1) * y), *(np.round((2**bits - 1) * c + 2 ** (bits - 1)) for c in (cb, cr))]
    return [np.round(top * (219 * y + 16)), *(np.round(top * (224 * c + 128)) for c in (cb, cr))]


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRIX)
def test_range_matrix_and_depth_come_from_the_file(tmp_path, matrix, full, bits):
    number, red, blue = MATRIX[matrix]
    rgb = np.zeros((64, 96, 3), np.uint8)
    for k, color in enumerate([(200, 40, 40), (40, 200, 40), (40, 40, 200), (250, 250, 250), (5, 5, 5), (128, 90, 60)]):
        rgb[:, 16 * k : 16 * k + 16] = color
    pix_fmt = "yuv444p" if bits == 8 else "yuv444p10le"
    planes = encoded(rgb, red, blue, full=full, bits=bits)
    frame = av.VideoFrame(96, 64, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        dtype = np.uint8 if bits == 8 else np.uint16
        rows = np.zeros((64, plane.line_size // dtype().itemsize), dtype)
        rows[:, :96] = values
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = number, 2 if full else 1
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        stream.codec_context.colorspace, stream.codec_context.color_range = number, 2 if full else 1
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    out = first_frame(path).astype(int)
    inner = np.zeros(96, bool)
    inner[[k for k in range(96) if 4 <= k % 16 < 12]] = True  # JPEG blurs colors at the edges
    assert np.abs(out - rgb)[:, inner].max() <= 4


def test_threads_convert_the_frames_of_several_videos_at_once(tmp_path):
    sizes = [(96, 64), (160, 120), (64, 96)]
    paths = [still(tmp_path / f"{number}.mp4", corner_marks(*size)) for number, size in enumerate(sizes)]

    def convert(path) -> list[bytes]:
        video = VideoFile(path)
        frame = next(video.frames_at([0.0])).frame
        return [video.jpeg(frame, PICTURE) for _ in range(300)]

    expected = [convert(path) for path in paths]
    with ThreadPoolExecutor(len(paths)) as pool:
        assert list(pool.map(convert, paths)) == expected
