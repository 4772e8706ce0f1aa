"""HDR to SDR: by the definitions of the two transfer functions, and by what viewers expect of the result."""

from fractions import Fraction

import numpy as np
import pytest

from capjax.data.photo import MediaSettings
from capjax.data.tone_map import HLG, PQ, to_sdr
from capjax.data.video import VideoFile
from tests.helpers.videos import pixels, write_video

BT709, BT2020 = 1, 9


def pq(luminance) -> np.ndarray:
    """The signal of a luminance in cd/m²: the inverse EOTF of SMPTE ST 2084, with its constants as printed there."""
    y = (np.asarray(luminance, float) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg(scene) -> np.ndarray:
    """The signal of scene light from 0 to 1: the OETF of ARIB STD-B67."""
    scene = np.asarray(scene, float)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def gray(signal) -> np.ndarray:
    return np.repeat(np.round(65_535 * np.atleast_1d(signal)).astype(np.uint16)[None, :, None], 3, axis=2)


def test_dark_and_middle_tones_keep_their_luminance():
    """Below the knee of the curve the standard display shows the luminance of the master."""
    luminance = np.array([0.5, 2.0, 10.0, 26.0, 50.0])
    shown = 203 * (to_sdr(gray(pq(luminance)), PQ, BT709)[0, :, 0] / 255.0) ** 2.4
    np.testing.assert_allclose(shown, luminance, rtol=0.03, atol=0.05)


@pytest.mark.parametrize("peak", [400.0, 1000.0, 4000.0])
def test_brighter_stays_brighter_and_the_peak_is_white(peak):
    luminance = np.geomspace(0.1, peak, 200)
    out = to_sdr(gray(pq(luminance)), PQ, BT709, peak)[0, :, 0].astype(int)
    assert (np.diff(out) >= 0).all()
    assert out[-1] == 255
    assert len(np.unique(out)) > 100


def test_white_paper_is_bright_and_highlights_above_it_can_be_told_apart():
    paper, lamp = to_sdr(gray(pq([203.0, 800.0])), PQ, BT709)[0, :, 0]
    assert 215 < paper < 245
    assert lamp > paper + 8


def test_hlg_is_shown_as_the_same_light_in_pq():
    """The display light of HLG on a display of 1000 cd/m²: 1000 Y^0.2 E, by ITU-R BT.2100."""
    rng = np.random.default_rng(0)
    scene = rng.uniform(0, 1, (8, 9, 3)) ** 2
    display = 1000 * (scene @ [0.2627, 0.6780, 0.0593])[..., None] ** 0.2 * scene
    by_hlg = to_sdr(np.round(65_535 * hlg(scene)).astype(np.uint16), HLG, BT2020)
    by_pq = to_sdr(np.round(65_535 * pq(display)).astype(np.uint16), PQ, BT2020)
    assert np.abs(by_hlg.astype(int) - by_pq).max() <= 1


def test_colors_of_bt709_within_bt2020_come_out_as_they_are():
    """Linear BT.709 colors expressed in BT.2020 with the matrix of ITU-R BT.2087."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    colors = np.array([[0.5, 0.1, 0.1], [0.1, 0.5, 0.1], [0.1, 0.1, 0.5], [0.3, 0.3, 0.05]])
    light = 40 * colors @ to_2020.T
    out = to_sdr(np.round(65_535 * pq(light)).astype(np.uint16)[None], PQ, BT2020)[0]
    expected = 255 * (40 * colors / 203) ** (1 / 2.4)
    assert np.abs(out - expected).max() <= 2


@pytest.mark.parametrize(("transfer", "signal"), [(PQ, pq(203.0)), (HLG, 0.75)])
def test_a_video_in_hdr_is_not_washed_out(tmp_path, transfer, signal):
    """White paper and black next to each other, in ten bits: untouched they would come out as two grays."""
    import av

    value = round(64 + 876 * float(signal))
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = transfer, BT2020, 9, 1
        frame = av.VideoFrame(96, 64, "yuv420p10le")
        luma = np.full((64, frame.planes[0].line_size // 2), 64, np.uint16)
        luma[:, 48:] = value
        frame.planes[0].update(luma.tobytes())
        for plane in frame.planes[1:]:
            plane.update(np.full((32, plane.line_size // 2), 512, np.uint16).tobytes())
        frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = transfer, BT2020, 9, 1
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    video = VideoFile(path)
    picture = pixels(video.jpeg(next(video.frames_at([0.0])).frame, MediaSettings(256, 100))).astype(int)
    assert picture[:, :40].max() <= 4
    assert 215 < picture[:, 56:].mean() < 245
    assert np.ptp(picture[:, 56:], axis=-1).max() <= 3  # gray


def test_the_peak_of_the_master_comes_from_the_file(tmp_path):
    from capjax.data.frame_jpeg import _peak

    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(40000000,50)"  # up to 4000 cd/m²
    options = {"x265-params": f"log-level=none:bframes=0:repeat-headers=1:master-display={display}"}
    path = write_video(
        tmp_path / "a.mkv", np.arange(10) / 25, codec="libx265", pix_fmt="yuv420p10le", options=options,
        unit=Fraction(1, 25), colors={"color_trc": PQ},
    )  # fmt: skip
    assert _peak(next(VideoFile(path).frames_at([0.0])).frame) == 4000.0


def test_the_standard_range_is_left_alone(tmp_path):
    from tests.helpers.videos import numbered, psnr

    video = VideoFile(write_video(tmp_path / "a.mp4", [0.0, 0.04], colors={"color_trc": 1, "color_primaries": 1}))
    assert psnr(pixels(video.jpeg(next(video.frames_at([0.0])).frame, MediaSettings(256, 95))), numbered(0)) > 25
