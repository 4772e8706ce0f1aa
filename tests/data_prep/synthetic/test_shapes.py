"""Drawn scenes: what is said of them lies in the pixels."""

import dataclasses
import io
import math
import os
import pickle
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_prep.readers import READERS, InputError
from data_prep.synthetic.shapes.draw import SceneImage, draw
from data_prep.synthetic.shapes.scene import COLORS, GAP, PLACES, SHAPES, Thing, contact_distance, make_scene, outline

SCENES = [make_scene(3, i) for i in range(300)]
PIXELS = 250


def mask(thing: Thing) -> np.ndarray:
    """Its pixels, drawn alone."""
    image = Image.new("1", (PIXELS, PIXELS))
    ImageDraw.Draw(image).polygon([tuple(corner) for corner in (thing.corners() * PIXELS).tolist()], fill=1)
    return np.array(image)


def distance(first: Thing, second: Thing) -> float:
    """The least distance of two outlines, by points along them."""
    points = []
    for thing in (first, second):
        corners = thing.corners()
        share = np.linspace(0, 1, 25)[:, None, None]
        points.append((corners + share * (np.roll(corners, -1, 0) - corners)).reshape(-1, 2))
    return float(np.sqrt(((points[0][:, None] - points[1]) ** 2).sum(-1)).min())


def of_kind(*kinds: str):
    scenes = [scene for scene in SCENES if scene.message.kind in kinds]
    assert len(scenes) >= 10 * len(kinds)
    return scenes


def test_boxes_bound_the_drawn_pixels():
    for scene in SCENES[:60]:
        full = np.asarray(draw(scene, 64)).astype(int)
        for k, thing in enumerate(scene.things):
            elsewhere = dataclasses.replace(thing, x=9.0)
            things = tuple(elsewhere if i == k else other for i, other in enumerate(scene.things))
            without = dataclasses.replace(scene, message=dataclasses.replace(scene.message, things=things))
            changed = np.abs(full - np.asarray(draw(without, 64)).astype(int)).max(-1) > 3
            rows, columns = np.nonzero(changed)
            drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            if scene.message.kind != "touch":  # there the other thing may hide an edge
                assert np.abs(drawn - np.array(thing.box()) * 64).max() <= 1.01, (scene, thing)


def test_a_thing_has_the_color_it_is_said_to_have():
    for scene in SCENES[:60]:
        picture = np.asarray(draw(scene, 64)).astype(float)
        for thing in scene.things:
            pixel = picture[int(thing.y * 64), int(thing.x * 64)]
            nearest = min(COLORS, key=lambda name: np.abs(pixel - COLORS[name]).sum())
            assert nearest == thing.color, (scene.seed, thing, pixel)


def test_everything_lies_wholly_inside_the_picture():
    for index in range(2000):
        for thing in make_scene(0, index).things:
            assert min(thing.box()) >= 0.01, thing
            assert max(thing.box()) <= 0.99, thing


def test_the_message_is_true():
    for scene in SCENES:
        message, things = scene.message, scene.things
        assert len({(thing.shape, thing.color) for thing in things}) == len(things)
        if message.kind == "at":
            x, y = things[0].x, things[0].y
            assert min(PLACES, key=lambda name: math.dist(PLACES[name], (x, y))) == message.place
            assert math.dist(PLACES[message.place], (x, y)) < 0.12
        if message.kind in ("left", "row"):
            assert all(a.box()[2] < b.box()[0] for a, b in zip(things, things[1:], strict=False))
        if message.kind == "above":
            assert things[0].box()[3] < things[1].box()[1]


def test_what_is_not_said_to_touch_is_a_gap_apart():
    for scene in of_kind("left", "above", "row"):
        for first, second in zip(scene.things, scene.things[1:], strict=False):
            assert distance(first, second) >= GAP - 1e-9, scene
            assert not (mask(first) & mask(second)).any()


def test_what_is_said_to_touch_touches_and_hardly_overlaps():
    for scene in of_kind("touch"):
        first, second = map(mask, scene.things)
        assert (first & second).any(), scene
        assert (first & second).sum() < 0.1 * min(first.sum(), second.sum()), scene


@pytest.mark.parametrize(("first", "second", "gap"), [("circle", "circle", 0.3), ("square", "square", 0.264)])
def test_contact_of_shapes_whose_contact_is_known(first, second, gap):
    sizes = (0.2, 0.4)
    things = [Thing(shape, "red", 0, 0, size) for shape, size in zip((first, second), sizes, strict=True)]
    assert contact_distance(*things) == pytest.approx(gap, abs=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_lie_in_a_box_of_side_one(shape):
    assert np.abs(outline(shape)).max() <= 0.5 + 1e-9


def test_a_picture_is_small_until_it_is_drawn():
    image = SceneImage(SCENES[0], 64)
    assert len(pickle.dumps(image)) < 1000
    assert pickle.loads(pickle.dumps(image))() == image()
    assert Image.open(io.BytesIO(image())).size == (64, 64)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    def content(seed):
        return [(item.media(), item.captions, item.labels) for item in READERS.make("shapes", count=20, seed=seed)]

    assert content(1) == content(1)
    assert not any(a[0] == b[0] for a, b in zip(content(1), content(2), strict=True))


def test_a_larger_dataset_begins_with_the_smaller():
    small, large = (list(READERS.make("shapes", count=count)) for count in (30, 60))
    assert large[:30] == small
    assert [item.split for item in large[17:21]] == ["train", "val", "test", "train"]


def test_an_item_says_what_is_in_its_scene():
    item = next(READERS.make("shapes", count=1, languages=["de", "en"], paraphrases=10))
    assert [caption.lang for caption in item.captions] == ["de"] * 10 + ["en"] * 10
    thing = make_scene(0, 0).things[0]
    assert item.labels[0].name == f"{thing.color} {thing.shape}"
    assert item.labels[0].box == thing.box()
    assert re.search(f"{thing.color} {thing.shape}", item.captions[-1].text, re.IGNORECASE)


def test_pictures_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    list(READERS.make("shapes", count=40, images=tmp_path / "whole"))
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == [f"shapes-{i:07d}.jpg" for i in (18, 19, 38, 39)]

    def full_disk(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        list(READERS.make("shapes", count=40, images=tmp_path / "broken"))
    assert not list((tmp_path / "broken").iterdir())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"languages": ["en", "xx"]}, "--languages xx: choose from en, de, fr, es, zh"),
        ({"paraphrases": 11}, "--paraphrases 1 to 10"),
        ({"paraphrases": 0}, "--paraphrases 1 to 10"),
        ({"size": 8}, "--size 16 to 4096"),
        ({"count": 0}, "--count 1 or more"),
        ({"seed": -1}, "--seed 0 or more"),
    ],
)
def test_what_cannot_be_had_is_refused(options, told):
    with pytest.raises(InputError, match=told):
        next(READERS.make("shapes", **options))
