"""Near-duplicates: the same photo in another size and quality; other photos are none."""

import io

import pytest
from PIL import Image, ImageEnhance

from capjax.analyze.near_duplicates import PhotoSet, find_near_duplicates
from data_prep.synthetic.shapes.draw import draw
from data_prep.synthetic.shapes.scene import make_scene
from tests.helpers.pictures import encode, picture

SMOOTH = [picture(160, 120, seed) for seed in range(20)]
DRAWN = [draw(make_scene(0, index), 96) for index in range(60)]
CHANGES = {
    "copy": lambda image: image,
    "resized": lambda image: image.resize((image.width // 2, image.height // 2)),
    "other aspect ratio": lambda image: image.resize((image.width, image.height - 4)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("photos", [SMOOTH, DRAWN], ids=["smooth", "drawn"])
def test_a_changed_photo_is_a_near_duplicate_of_itself_alone(change, photos):
    first = PhotoSet("train", [(n, encode(image)) for n, image in enumerate(photos)])
    second = PhotoSet("val", [(n, encode(CHANGES[change](image), quality=50)) for n, image in enumerate(photos)])
    pairs = [(pair.first, pair.second) for pair in find_near_duplicates(first, second)]
    assert sorted(pairs) == [(("train", n), ("val", n)) for n in range(len(photos))]


def test_photos_of_one_color_are_compared_by_it():
    def plain(*color):
        return encode(Image.new("RGB", (40, 30), color), "PNG")

    photos = PhotoSet("a", [("red", plain(255, 0, 0)), ("blue", plain(0, 0, 255))])
    same = PhotoSet("b", [("red too", plain(255, 0, 0))])
    assert [(pair.first[1], pair.second[1]) for pair in find_near_duplicates(photos, same)] == [("red", "red too")]


def test_sets_without_photos_have_none():
    photos = PhotoSet("a", [("x", encode(SMOOTH[0]))])
    assert find_near_duplicates(photos, PhotoSet("b", [])) == find_near_duplicates(PhotoSet("b", []), photos) == []


def test_damaged_pictures_are_not_hidden():
    with pytest.raises(OSError):
        PhotoSet("a", [("x", io.BytesIO(b"no photo").getvalue())])
