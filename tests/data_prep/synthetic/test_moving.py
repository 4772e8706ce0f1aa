"""Moving scenes: what is told of them is what is drawn, when it is told to be."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from capjax.data.record import RecordSource
from capjax.data.video import VideoFile
from data_prep.readers import READERS
from data_prep.readers.item import InputError
from data_prep.synthetic.moving.draw import MovingVideo, frames
from data_prep.synthetic.moving.grammar import LANGUAGES, PARAPHRASES, captions, events, is_true, summaries
from data_prep.synthetic.moving.scene import DIRECTIONS, KINDS, MAX_EVENTS, TURNS, MovingScene, make_moving_scene
from tests.helpers.built_records import build_records
from tests.helpers.folders import contents

SCENES = [make_moving_scene(0, index) for index in range(60)]
FPS = 12.5
OPPOSITE = dict(
    zip([*DIRECTIONS, *TURNS], ["right", "left", "down", "up", "counterclockwise", "clockwise"], strict=True)
)


def changes(scene: MovingScene, size: int = 96) -> np.ndarray:
    """float [n - 1]: the largest difference of any pixel between each raw frame and the next."""
    drawn = [frame.astype(int) for frame in frames(scene, size, FPS)]
    return np.array([np.abs(b - a).max() for a, b in itertools.pairwise(drawn)])


@pytest.mark.parametrize("index", range(16))
def test_pixels_change_during_events_and_at_no_other_time(index):
    scene = SCENES[index]
    changed = changes(scene) > 0
    times = np.arange(len(changed)) / FPS
    covered = np.zeros(len(changed), bool)
    for event in scene.events:
        during = (times + 1 / FPS > event.start + 1e-9) & (times < event.end - 1e-9)
        covered |= during
        changing = np.flatnonzero(changed & during)
        # A thing that leaves ends, and one that appears begins, as less than a pixel.
        late, early = 0.3 if event.kind == "leave" else 0.17, 0.3 if event.kind == "appear" else 0.17
        assert times[changing[0]] <= event.start + early, event
        assert times[changing[-1]] + 1 / FPS >= event.end - late, event
    assert not changed[~covered].any()


def test_there_are_all_kinds_of_events_and_one_to_six_in_a_scene():
    scenes = [make_moving_scene(1, index) for index in range(200)]
    assert {event.kind for scene in scenes for event in scene.events} == set(KINDS)
    assert {len(scene.events) for scene in scenes} == set(range(1, MAX_EVENTS + 1))
    assert {event.direction for scene in scenes for event in scene.events} == {"", *DIRECTIONS, *TURNS}
    for scene in scenes:
        assert 4 <= scene.duration <= 20
        bounds = [time for event in scene.events for time in (event.start, event.end)]
        assert bounds == sorted(bounds)
        assert bounds[0] > 0
        assert bounds[-1] < scene.duration


@pytest.mark.parametrize("scene", SCENES[:30], ids=lambda scene: str(scene.seed[1]))
def test_things_never_touch_and_are_in_the_picture_unless_they_leave(scene):
    size = 256
    for time in np.arange(0, scene.duration, 0.2):
        sum_of_masks = np.zeros((size, size), np.uint8)
        leaving = [event for event in scene.events if event.kind == "leave" and event.start <= time <= event.end]
        for thing in scene.state(float(time)):
            mask = np.zeros((size, size), np.uint8)
            corners = thing.corners()
            cv2.fillPoly(mask, [np.round(corners * size).astype(np.int32)], 1)
            sum_of_masks += mask
            if not leaving:
                assert corners.min() >= 0
                assert corners.max() <= 1
        assert sum_of_masks.max() <= 1, time


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_directions_are_those_that_one_sees(direction):
    """Left is where columns are few, down is where rows are many."""
    matching = (
        e for i in range(400) for e in make_moving_scene(2, i).events if e.kind == "move" and e.direction == direction
    )
    event = next(matching)
    moved = np.array([event.after.x - event.before.x, event.after.y - event.before.y])
    along = moved @ {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[direction]
    assert along >= 0.25
    assert np.abs(moved).max() == pytest.approx(along)


@pytest.mark.parametrize("turn", TURNS)
def test_clockwise_is_as_on_a_clock(turn):
    matching = (
        e for i in range(400) for e in make_moving_scene(2, i).events if e.kind == "turn" and e.direction == turn
    )
    event = next(matching)
    first, later = event.at(event.start), event.at(event.start + 0.05 * (event.end - event.start))
    (x, y), (to_x, to_y) = (thing.corners()[0] - (thing.x, thing.y) for thing in (first, later))
    # In a picture, where y points down, the cross product of a clockwise turn is positive.
    assert (x * to_y - y * to_x > 0) == (turn == "clockwise")


def test_the_file_lasts_as_long_as_the_scene(tmp_path):
    for scene in SCENES[:4]:
        path = tmp_path / "a.mp4"
        path.write_bytes(MovingVideo(scene, 64)())
        video = VideoFile(path)
        assert video.duration == pytest.approx(scene.duration, abs=1e-6)
        assert video.frames == round(scene.duration * FPS)


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path):
    for workers in (1, 2):
        build_records("moving", READERS.make("moving", count=20, size=32), tmp_path / str(workers), workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert [len(RecordSource(tmp_path / "1", split)) for split in ("train", "val", "test")] == [18, 1, 1]


def test_a_larger_dataset_begins_with_the_smaller_and_another_seed_is_another():
    few, many, other = (list(READERS.make("moving", count=n, seed=s)) for n, s in ((5, 0), (9, 0), (5, 1)))
    assert few == many[:5]
    assert not any(a.media.scene == b.media.scene for a, b in zip(few, other, strict=True))


def test_of_twenty_scenes_eighteen_are_for_training():
    splits = [item.split for item in READERS.make("moving", count=40)]
    assert splits == (["train"] * 18 + ["val", "test"]) * 2


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_text_is_true_of_its_scene_and_of_none_that_goes_the_other_way(lang):
    for scene in SCENES:
        backwards = replace(scene, events=scene.events[::-1])
        mirrored = replace(
            scene, events=tuple(replace(e, direction=OPPOSITE.get(e.direction, "")) for e in scene.events)
        )
        for text in captions(scene, lang, PARAPHRASES):
            assert is_true(scene, lang, text)
            if len(scene.events) > 1:
                assert not is_true(backwards, lang, text), text
            ends = (scene.events[0], scene.events[-1])
            assert is_true(mirrored, lang, text) == (not any(event.direction for event in ends)), text
        for text in summaries(scene, lang, PARAPHRASES):
            assert is_true(scene, lang, text, "summary")
            assert is_true(backwards, lang, text, "summary") == (len(scene.events) == 1)
            assert is_true(mirrored, lang, text, "summary") == (not any(event.direction for event in scene.events))
        for event, texts in zip(scene.events, events(scene, lang, PARAPHRASES), strict=True):
            for text in texts:
                assert is_true(replace(scene, events=(event,)), lang, text, "event")
                others = tuple(other for other in scene.events if other is not event)
                assert not is_true(replace(scene, events=others), lang, text, "event"), text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_paraphrases_are_all_different_and_well_formed(lang):
    for scene in SCENES:
        for texts in (
            captions(scene, lang, PARAPHRASES),
            summaries(scene, lang, PARAPHRASES),
            *events(scene, lang, PARAPHRASES),
        ):
            assert len(set(texts)) == PARAPHRASES
            for text in texts:
                assert text == text.strip()
                assert text[-1] in ".。"
                assert text[0] == text[0].upper()
                assert not re.search(r"[{}|]|  | [.,;](?! )|\.\.", text.replace(" ;", ""))


# By language: what is looked at, a noun with its neighbors, and how they agree. All are subjects here.
PHRASES = {
    "en": (
        r"(\w+ \w+ (?:circle|square|triangle|star|diamond))",
        r"(?i:a|the) (red|blue|green|yellow|black|purple) \w+",
    ),
    "de": (
        r"(\w+ \w+ (?:Kreis|Stern|Quadrat|Dreieck|Raute))",
        r"(?i:ein) \w+er (Kreis|Stern)|(?i:der) \w+e (Kreis|Stern)|(?i:ein) \w+es (Quadrat|Dreieck)"
        r"|(?i:das) \w+e (Quadrat|Dreieck)|(?i:eine|die) \w+e Raute",
    ),
    "fr": (
        r"(\w+[ '](?:cercle|carré|triangle|losange|étoile) \w+)",
        r"(?i:un|le) (cercle|carré|triangle|losange) (rouge|bleu|vert|jaune|noir|violet)"
        r"|(?i:une |l')étoile (rouge|bleue|verte|jaune|noire|violette)",
    ),
    "es": (
        r"(\w+ (?:círculo|cuadrado|triángulo|rombo|estrella) \w+)",
        r"(?i:un|el) (círculo|cuadrado|triángulo|rombo) (rojo|azul|verde|amarillo|negro|morado)"
        r"|(?i:una|la) estrella (roja|azul|verde|amarilla|negra|morada)",
    ),
    "zh": (r"(.色(?:圆形|方块|三角形|星星|菱形))", r"[红蓝绿黄黑紫]色\w+"),
}
# What becomes a color agrees with it too.
BECOMES = {
    "fr": (r"étoile \w+ (?:change de couleur et )?devient ((?!visible)\w+)", "rouge|bleue|verte|jaune|noire|violette"),
    "es": (r"estrella \w+ (?:se vuelve|se pone|pasa a ser) (roj\w|amarill\w|negr\w|morad\w)", r"\w+a"),
}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_articles_and_colors_agree_with_what_they_are_said_of(lang):
    count = 0
    for scene in SCENES:
        for text in [*captions(scene, lang, PARAPHRASES), *summaries(scene, lang, PARAPHRASES)]:
            for where, right in filter(None, (PHRASES[lang], BECOMES.get(lang))):
                for phrase in re.findall(where, text):
                    assert re.fullmatch(right, phrase), text
                    count += 1
    assert count > 1000


@pytest.mark.parametrize("bad", [{"languages": ["xx"]}, {"count": 0}, {"size": 33}, {"size": 16}, {"paraphrases": 9}])
def test_what_cannot_be_drawn_is_refused(bad):
    with pytest.raises(InputError, match="--"):
        list(READERS.make("moving", **bad))


def test_videos_are_written_as_files_with_their_captions(tmp_path: Path):
    items = list(READERS.make("moving", count=20, size=32, languages=["en"], videos=tmp_path / "v"))
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == [
        "captions.jsonl", "moving-0000018.mp4", "moving-0000019.mp4",
    ]  # fmt: skip
    assert (tmp_path / "v" / "moving-0000018.mp4").read_bytes() == items[18].media()
    assert VideoFile(tmp_path / "v" / "moving-0000019.mp4").duration == pytest.approx(items[19].media.scene.duration)
