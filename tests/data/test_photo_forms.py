"""A path, the bytes, a PIL image and an array of a photo give one picture."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from capjax.data.photo import MediaError, MediaSettings, to_jpeg
from tests.helpers.pictures import encode, picture

SETTINGS = MediaSettings(64)


def forms(data: bytes, folder: Path) -> dict:
    path = folder / "photo"
    path.write_bytes(data)
    loaded = Image.open(io.BytesIO(data))
    loaded.load()
    upright = ImageOps.exif_transpose(Image.open(path))
    return {
        "path": path, "text": str(path), "bytes": data, "bytearray": bytearray(data), "memoryview": memoryview(data),
        "opened": Image.open(path), "opened in memory": Image.open(io.BytesIO(data)), "loaded": loaded,
        "copied": Image.open(path).copy(), "upright": upright, "array": np.asarray(upright),
    }  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_the_orientation_of_every_form_is_applied(kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(picture(60, 40), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    jpegs = {name: to_jpeg(form, SETTINGS) for name, form in forms(data, tmp_path).items()}
    assert {name for name, jpeg in jpegs.items() if jpeg != jpegs["path"]} == set()


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_in_every_form_is_one_picture(options, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(picture(700, 400).effect_spread(2), exif=exif, quality=95, **options)
    jpegs = {name: to_jpeg(form, SETTINGS) for name, form in forms(data, tmp_path).items()}
    pictures = {name: np.asarray(Image.open(io.BytesIO(jpeg)), int) for name, jpeg in jpegs.items()}
    for name in ("text", "bytes", "bytearray", "memoryview", "opened", "opened in memory"):
        assert jpegs[name] == jpegs["path"], name
    for name, shown in pictures.items():
        assert shown.shape == pictures["path"].shape, name
        assert np.abs(shown - pictures["path"]).mean() < 2, name


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_png_of_every_mode_in_every_form_is_one_picture(mode, tmp_path):
    source = picture(200, 120)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(source.convert("L"), np.uint16) * 257)
    else:
        image = source.quantize(64) if mode == "P" else source.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.linspace(0, 255, 200).astype(np.uint8)[None].repeat(120, 0)))
    data = encode(image, "PNG")
    without_colors = {"array"} if mode == "P" else set()  # of indices
    jpegs = {
        name: to_jpeg(form, SETTINGS) for name, form in forms(data, tmp_path).items() if name not in without_colors
    }
    assert {name for name, jpeg in jpegs.items() if jpeg != jpegs["path"]} == set()


def test_an_opened_image_is_left_as_it_was():
    data = encode(picture(700, 400), quality=95)
    file = io.BytesIO(data)
    image = Image.open(file)
    position, size = file.tell(), image.size
    to_jpeg(image, SETTINGS)
    assert (file.tell(), image.size) == (position, size)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))


def test_changed_pixels_of_an_image_count():
    image = Image.open(io.BytesIO(encode(picture(60, 40), "PNG")))
    image.paste((255, 0, 0), (0, 0, 60, 40))
    shown = np.asarray(Image.open(io.BytesIO(to_jpeg(image, SETTINGS))), int)
    assert np.abs(shown - [255, 0, 0]).max() < 4


def test_the_chosen_frame_of_an_opened_animation_counts():
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    image = Image.open(io.BytesIO(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    image.seek(1)
    assert np.asarray(Image.open(io.BytesIO(to_jpeg(image, SETTINGS))), int)[16, 16].argmax() == 2


def test_half_a_photo_is_damaged_in_every_form(tmp_path):
    data = encode(picture(400, 300).effect_spread(3), quality=90)
    half = data[: int(len(data) * 0.4)] + b"\xff\xd9"
    path = tmp_path / "half.jpg"
    path.write_bytes(half)
    for form in (path, half, Image.open(path), Image.open(io.BytesIO(half))):
        with pytest.raises(MediaError, match="cut short"):
            to_jpeg(form, SETTINGS)


@pytest.mark.parametrize("form", [None, 3, [1, 2], {"image": 1}, object(), io.BytesIO(b"x"), "a\0b.jpg", "x" * 5000])
def test_what_is_no_form_of_a_photo_is_a_media_error(form):
    with pytest.raises(MediaError):
        to_jpeg(form, SETTINGS)


def test_a_tensor_that_cannot_be_read_is_a_media_error():
    class Tensor:
        def __array__(self, *args, **kwargs):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

    with pytest.raises(MediaError, match="Tensor is not an array of pixels: can't convert cuda:0"):
        to_jpeg(Tensor(), SETTINGS)


def test_an_image_whose_file_is_closed_is_a_media_error(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encode(picture(60, 40), "PNG"))
    with Image.open(path) as image:
        pass
    with pytest.raises(MediaError):
        to_jpeg(image, SETTINGS)
