"""JPEG to pixels: the right part of the picture, close to an exact resize, and always the same."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from capjax.data.transforms import jpeg_size, random_box, training_view, view

SCALE, ASPECT = (0.5, 1.0), (3 / 4, 4 / 3)


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth colors with some detail in the brightness, as in a photo."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    fine = Image.fromarray(rng.integers(0, 256, (36, 48), dtype=np.uint8)).convert("RGB")
    coarse, fine = (image.resize((width, height), Image.Resampling.BICUBIC) for image in (coarse, fine))
    return Image.blend(coarse, fine, 0.2)


def to_jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def exact(jpeg: bytes, size: int, box=None) -> np.ndarray:
    """Everything decoded, then an antialiased resize."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


@pytest.mark.parametrize(
    ("height", "width"),
    [(224, 224), (256, 341), (341, 256), (480, 640), (447, 600), (900, 1200), (2000, 1500), (256, 1024), (60, 40)],
)
def test_view_is_close_to_full_decoding_and_antialiased_resizing(height, width):
    jpeg = to_jpeg(picture(height, width))
    assert difference(view(jpeg, 224), exact(jpeg, 224)) < 2.5


@pytest.mark.parametrize("box", [(0.0, 0.0, 320.0, 240.0), (311.0, 17.0, 640.0, 401.0), (100.0, 0.0, 600.0, 480.0)])
def test_a_box_is_that_part_of_the_picture(box):
    jpeg = to_jpeg(picture(480, 640))
    assert difference(view(jpeg, 96, box), exact(jpeg, 96, box)) < 2.5


def test_the_evaluation_view_shows_every_corner():
    pixels = np.zeros((300, 500, 3), np.uint8)
    corners = {(0, 0): 60, (0, -1): 120, (-1, 0): 180, (-1, -1): 240}
    for (row, column), value in corners.items():
        pixels[slice(0, 40) if row == 0 else slice(-40, None), slice(0, 60) if column == 0 else slice(-60, None)] = (
            value
        )
    pixels_seen = view(to_jpeg(Image.fromarray(pixels)), 128)
    for (row, column), value in corners.items():
        assert abs(int(pixels_seen[row, column].mean()) - value) < 12


def test_reading_and_writing_twice_gives_the_same_bytes():
    jpeg = to_jpeg(picture(333, 517))
    np.testing.assert_array_equal(view(jpeg, 100), view(jpeg, 100))


def test_out_receives_the_very_pixels():
    jpeg, batch = to_jpeg(picture(333, 517)), np.zeros((2, 3, 64, 64, 3), np.uint8)
    view(jpeg, 64, out=batch[1, 2])
    np.testing.assert_array_equal(batch[1, 2], view(jpeg, 64))
    batch[1, 2] = 0
    assert not batch.any()


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"optimize": True}])
def test_every_kind_of_jpeg_is_read(options):
    jpeg = to_jpeg(picture(200, 300), **options)
    assert difference(view(jpeg, 96), exact(jpeg, 96)) < 2.5


def test_gray_becomes_three_equal_channels():
    rgb = view(to_jpeg(picture(200, 300).convert("L")), 96)
    assert rgb.shape == (96, 96, 3)
    assert (rgb == rgb[..., :1]).all()


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_what_is_no_jpeg_is_an_error_that_says_so(data):
    with pytest.raises(ValueError, match="not a JPEG"):
        view(data, 32)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_truncated_jpeg_is_an_error(share):
    jpeg = to_jpeg(picture(200, 300))
    with pytest.raises(ValueError):
        view(jpeg[: int(len(jpeg) * share)], 32)


def test_size_is_height_and_width():
    assert jpeg_size(to_jpeg(picture(31, 57))) == (31, 57)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 10**6))
def test_a_random_box_lies_in_the_picture(height, width, seed):
    x0, y0, x1, y1 = random_box(np.random.default_rng(seed), height, width, scale=SCALE, aspect=ASPECT)
    assert 0 <= x0 < x1 <= width + 1e-6 and 0 <= y0 < y1 <= height + 1e-6


def test_random_boxes_keep_to_the_asked_area_and_aspect():
    rng = np.random.default_rng(0)
    boxes = np.array([random_box(rng, 480, 640, scale=(0.3, 0.6), aspect=(0.8, 1.25)) for _ in range(500)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, aspect = width * height / (480 * 640), width / height
    assert 0.299 < area.min() < 0.32 and 0.58 < area.max() < 0.601
    assert 0.799 < aspect.min() < 0.82 and 1.22 < aspect.max() < 1.251
    # Anywhere: the four sides are all touched, nearly.
    assert boxes[:, 0].min() < 8 and boxes[:, 1].min() < 8 and boxes[:, 2].max() > 632 and boxes[:, 3].max() > 472


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 10**6))
def test_a_picture_of_any_size_can_be_trained_on(height, width, seed):
    jpeg = to_jpeg(Image.new("RGB", (width, height), (200, 30, 60)))
    crop = training_view(jpeg, 16, np.random.default_rng(seed), scale=SCALE, aspect=ASPECT)
    assert crop.shape == (16, 16, 3)
    assert difference(crop, np.broadcast_to([200, 30, 60], crop.shape)) < 6


def test_a_training_view_follows_from_its_generator():
    jpeg = to_jpeg(picture(240, 320))
    a, b, c = (
        training_view(jpeg, 64, np.random.default_rng(seed), scale=SCALE, aspect=ASPECT, flip=True)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(a, b)
    assert difference(a, c) > 1


def left_is_dark(pixels: np.ndarray) -> bool:
    return pixels[:, : pixels.shape[1] // 2].mean() < pixels[:, pixels.shape[1] // 2 :].mean()


def test_left_stays_left_unless_flips_are_asked_for():
    ramp = np.broadcast_to(np.linspace(0, 255, 160, dtype=np.uint8)[None, :, None], (120, 160, 3))
    jpeg = to_jpeg(Image.fromarray(ramp))
    rngs = [np.random.default_rng(seed) for seed in range(60)]
    assert all(left_is_dark(training_view(jpeg, 32, rng, scale=SCALE, aspect=ASPECT)) for rng in rngs)
    flipped = [not left_is_dark(training_view(jpeg, 32, rng, scale=SCALE, aspect=ASPECT, flip=True)) for rng in rngs]
    assert 15 < sum(flipped) < 45


def test_a_scale_of_one_is_the_evaluation_view():
    jpeg = to_jpeg(picture(240, 320))
    crop = training_view(jpeg, 64, np.random.default_rng(0), scale=(1.0, 1.0), aspect=ASPECT)
    np.testing.assert_array_equal(crop, view(jpeg, 64))


def test_a_crop_is_close_to_the_exact_one_on_photos(shared_data):
    """Neither blurred nor jagged: gradients are about as large as those of the exact resize."""
    photos = sorted((shared_data / "flickr8k" / "Flicker8k_Dataset").glob("*.jpg"))
    photos = [path.read_bytes() for path in photos if max(Image.open(path).size) >= 400][:12]
    rng, ratios = np.random.default_rng(0), []
    for jpeg in photos * 3:
        box = random_box(rng, *jpeg_size(jpeg), scale=SCALE, aspect=ASPECT)
        crop, want = view(jpeg, 160, box).astype(float), exact(jpeg, 160, box).astype(float)
        assert difference(crop, want) < 14
        ratios.append(np.abs(np.diff(crop, axis=1)).mean() / np.abs(np.diff(want, axis=1)).mean())
    assert 0.85 < np.mean(ratios) < 1.25
