"""ActivityNet Captions, YouCook2 and ViTT: several events a video, each with its times."""

import json
import math

import pytest

from capjax.data.record import RecordCaption
from data_prep.readers import InputError
from tests.helpers.reader_results import found, put


def event(text: str, start: float, end: float, set: int = 0) -> RecordCaption:
    return RecordCaption(text, "en", start, end, "event", set)


def video(*events, duration=10.0) -> dict:
    return {"duration": duration, "timestamps": [list(e[:2]) for e in events], "sentences": [e[2] for e in events]}


def write(folder, name: str, data) -> None:
    (folder / name).write_text(json.dumps(data))


def test_events_have_their_times(tmp_path):
    write(tmp_path, "train.json", {"v_a": video((0.5, 3, "One."), (2, 9.25, " Two. "))})
    (item,), problems = found("activitynet", put(tmp_path, "videos/v_a.mkv"))
    assert not problems
    assert item.captions == (event("One.", 0.5, 3.0), event("Two.", 2.0, 9.25))
    assert (item.id, item.split, item.clip, item.video, item.where) == ("v_a", "train", None, True, "train.json v_a")


def test_val_1_and_val_2_are_two_annotation_sets_of_the_same_videos(tmp_path):
    write(tmp_path, "val_2.json", {"v_b": video((1, 2, "b2")), "v_a": video((3, 4, "a2"))})
    write(tmp_path, "val_1.json", {"v_a": video((1, 2, "a1"))})
    write(tmp_path, "train.json", {"v_c": video((1, 2, "c"))})
    write(tmp_path, "test_ids.json", ["v_x"])
    items, problems = found("activitynet", put(tmp_path, "v_a.mp4", "b.mp4", "c.mp4"))
    assert not problems
    assert [(item.split, item.id, item.captions) for item in items] == [
        ("train", "v_c", (event("c", 1, 2),)), ("val", "v_a", (event("a1", 1, 2), event("a2", 3, 4, 1))),
        ("val", "v_b", (event("b2", 1, 2, 1),)),
    ]  # fmt: skip


def test_an_event_ends_with_its_video(tmp_path):
    write(tmp_path, "train.json", {"v_a": video((5, 11, "late"), (10, 12, "after"))})
    (item,), (problem,) = found("activitynet", put(tmp_path, "v_a.mp4"))
    assert item.captions == (event("late", 5, 10),)
    assert (problem.kind, problem.costs, problem.where) == ("beyond_end", "caption", "train.json v_a[1]")


@pytest.mark.parametrize(
    ("times", "kind"),
    [([3, 3], "bad_times"), ([4, 3], "bad_times"), ([-1, 3], "bad_times"), (["1", 3], "bad_times"), (None, "bad_times"),
     ([1], "bad_times"), ([1, math.nan], "bad_times"), ([1, math.inf], "bad_times"), ([1, 10**400], "bad_times"),
     ([True, 3], "bad_times")],
)  # fmt: skip
def test_impossible_times_cost_their_event(tmp_path, times, kind):
    data = {"duration": 10, "timestamps": [[1, 2], times], "sentences": ["fine", "x"]}
    write(tmp_path, "train.json", {"v_a": data})
    (item,), (problem,) = found("activitynet", put(tmp_path, "v_a.mp4"))
    assert item.captions == (event("fine", 1, 2),)
    assert (problem.kind, problem.costs, problem.where) == (kind, "caption", "train.json v_a[1]")


@pytest.mark.parametrize(
    ("row", "message"),
    [([], "expected an object, found []"), ({}, "expected duration and timestamps and sentences, found nothing"),
     ({"duration": 1, "timestamps": []}, "expected sentences, found 'duration', 'timestamps'"),
     ({"duration": 1, "timestamps": [[0, 1]], "sentences": []}, "the same length"),
     (video((0, 1, "x"), duration="9"), "duration: expected a number"),
     (video((0, 1, "x"), duration=0), "duration: expected a number of seconds above 0"),
     (video((0, 1, "x"), duration=10**400), "duration: expected a number"),
     (video((0, 1, "x"), duration=None), "None")],
)  # fmt: skip
def test_a_malformed_entry_costs_its_video(tmp_path, row, message):
    write(tmp_path, "train.json", {"v_a": row, "v_b": video((1, 2, "x"))})
    (item,), (problem,) = found("activitynet", put(tmp_path, "v_a.mp4", "v_b.mp4"))
    assert item.id == "v_b"
    assert (problem.kind, problem.costs, problem.split) == ("malformed", "video", "train")
    assert problem.where == "train.json v_a"
    assert message in problem.message


def test_an_id_that_stands_twice_is_told(tmp_path):
    (tmp_path / "train.json").write_text(
        '{"v_a": {"duration": 9, "duration": 8, "timestamps": [[1, 2]], "sentences": ["x"]}, "v_a": 3}'
    )
    (item,), problems = found("activitynet", put(tmp_path, "v_a.mp4"))
    assert item.captions == (event("x", 1, 2),)
    assert [(p.kind, p.id, p.costs) for p in problems] == [
        ("duplicate_id", "duration", "nothing"), ("duplicate_id", "v_a", "video"),
    ]  # fmt: skip


def test_a_file_that_tells_no_split_is_refused(tmp_path):
    write(tmp_path, "captions.json", {"v_a": video((1, 2, "x"))})
    with pytest.raises(InputError, match="captions.json: the name should contain the split"):
        found("activitynet", tmp_path, annotations=[tmp_path / "captions.json"])
    with pytest.raises(InputError, match="train.json, val_1.json, val_2.json.*--annotations"):
        found("activitynet", tmp_path)


def native(**videos) -> dict:
    return {"database": videos}


def cooking(*steps, subset="training", duration=60.0) -> dict:
    rows = [{"segment": [a, b], "id": k, "sentence": text} for k, (a, b, text) in enumerate(steps)]
    return {"duration": duration, "subset": subset, "recipe_type": "113", "annotations": rows, "video_url": ""}


def test_youcook2_as_its_authors_gave_it_out(tmp_path):
    data = native(a=cooking((1, 20, "peel"), (30, 99, "fry")), b=cooking((0, 1, "x"), subset="validation"))
    write(tmp_path, "youcookii_annotations_trainval.json", data)
    items, problems = found("youcook2", put(tmp_path, "raw_videos/training/113/a.mp4", "raw_videos/v_b.webm"))
    assert not problems
    assert [(item.id, item.split, item.captions) for item in items] == [
        ("a", "train", (event("peel", 1, 20), event("fry", 30, 60))), ("b", "val", (event("x", 0, 1),)),
    ]  # fmt: skip


def test_youcook2_in_the_form_of_activitynet(tmp_path):
    write(tmp_path, "val.json", {"v_b": video((1, 2, "x"))})
    write(tmp_path, "train.json", {"v_a": video((1, 2, "x"))})
    items, _ = found("youcook2", put(tmp_path, "a.mp4", "b.mp4"))
    assert [(item.id, item.split) for item in items] == [("v_a", "train"), ("v_b", "val")]
    write(tmp_path, "youcookii_annotations_trainval.json", native())
    with pytest.raises(InputError, match="two formats .*--annotations"):
        found("youcook2", tmp_path)


@pytest.mark.parametrize(
    ("row", "kind"),
    [({}, "malformed"), ([], "malformed"), (cooking((1, 2, "x"), subset="trayning"), "unknown_split"),
     (cooking((1, 2, "x"), duration=-1), "malformed"), (cooking() | {"annotations": {}}, "malformed")],
)  # fmt: skip
def test_a_malformed_recipe_costs_its_video(tmp_path, row, kind):
    write(tmp_path, "youcookii_annotations_trainval.json", native(a=row, b=cooking((1, 2, "x"))))
    (item,), (problem,) = found("youcook2", put(tmp_path, "a.mp4", "b.mp4"))
    assert (item.id, problem.kind, problem.costs) == ("b", kind, "video")


def test_a_malformed_step_costs_itself(tmp_path):
    row = cooking((1, 2, "x"), (5, 4, "y"), (5, 6, ""))
    row["annotations"] += ["z", {"sentence": "no segment"}, {"segment": [1, 2]}]
    write(tmp_path, "youcookii_annotations_trainval.json", native(a=row))
    (item,), problems = found("youcook2", put(tmp_path, "a.mp4"))
    assert item.captions == (event("x", 1, 2),)
    assert [(p.kind, p.where.rpartition(" ")[2]) for p in problems] == [
        ("bad_times", "a[1]"), ("empty_caption", "a[2]"), ("malformed", "a[3]"), ("bad_times", "a[4]"),
        ("malformed", "a[5]"),
    ]  # fmt: skip


def vitt(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "ViTT-annotations.json").write_text("\n".join(lines))
    return folder


def tags(id: str, *sections) -> dict:
    return {"id": id, "annotations": [{"timestamp": at, "tag": tag} for at, tag in sections]}


def test_a_section_ends_where_the_next_begins_and_the_last_with_the_video(tmp_path):
    vitt(tmp_path, tags("FmTp", (260, "Opening"), (55530, "Crossover"), (16000, "Technique")))
    (item,), problems = found("vitt", put(tmp_path, "FmTp.mp4"))
    assert not problems
    assert item.captions == (
        event("Opening", 0.26, 16.0), event("Technique", 16.0, 55.53), event("Crossover", 55.53, math.inf),
    )  # fmt: skip


def test_lines_of_one_id_are_annotation_sets(tmp_path):
    vitt(tmp_path, tags("a", (0, "x")), tags("b", (0, "y")), tags("a", (5, "z")))
    items, _ = found("vitt", put(tmp_path, "a.mp4", "b.mp4"))
    assert {item.id: [(c.text, c.set) for c in item.captions] for item in items} == {
        "a": [("x", 0), ("z", 1)], "b": [("y", 0)],
    }  # fmt: skip


def test_lists_of_ids_choose_the_splits_of_vitt(tmp_path):
    vitt(tmp_path, *(tags(id, (0, "x")) for id in "abcd"))
    for name, ids in (("train_id.txt", "a\ne\n"), ("dev_id.txt", "b\n"), ("test_id.txt", "c")):
        (tmp_path / name).write_text(ids)
    write(tmp_path, "id_mapping.json", {"b": "youtube_b", "c": 7})
    items, problems = found("vitt", put(tmp_path, "a.mp4", "youtube_b.mp4", "d.mp4"))
    assert {item.id: (item.split, item.media.name) for item in items} == {
        "a": ("train", "a.mp4"), "b": ("val", "youtube_b.mp4"), "d": ("", "d"),
    }  # fmt: skip
    assert [(p.kind, p.id, p.costs, p.split) for p in problems] == [
        ("missing_video", "c", "absent", "test"), ("no_caption", "e", "video", "train"),
    ]  # fmt: skip


def test_bad_lines_of_vitt_are_listed(tmp_path):
    sections = [(0, "x"), ("1", "y"), (-5, "y"), (None, "y"), (7000, ""), (7000, "z"), (10**400, "w")]
    vitt(
        tmp_path, tags("a", *sections), "{", "[]", {"id": "b"}, {"annotations": []}, {"id": "\ud800", "annotations": []}
    )
    (item,), problems = found("vitt", put(tmp_path, "a.mp4"))
    assert item.captions == (event("x", 0, 7), event("z", 7, math.inf))
    assert [(p.kind, p.where.split(":")[1]) for p in problems if p.costs == "video"] == [
        ("malformed", "2"), ("malformed", "3"), ("malformed", "4"), ("malformed", "5"), ("malformed", "6"),
    ]  # fmt: skip
    # Of two that begin together the first has no length; and four starts are none.
    assert [p.kind for p in problems if p.costs == "caption"] == ["empty_caption"] + 4 * ["bad_times"]


@pytest.mark.parametrize(
    ("name", "file", "prefix"),
    [("activitynet", "activitynet/train.json", ""), ("youcook2", "youcook2/train.json", "v_"),
     ("youcook2", "youcook2/youcookii_annotations_trainval.json", "")],
)  # fmt: skip
def test_the_real_files(tmp_path, shared_data, name, file, prefix):
    path = shared_data / file
    data = json.loads(path.read_text())
    plain = {}
    for id, row in data.get("database", data).items():
        if "annotations" in row:
            events = [(*step["segment"], step["sentence"]) for step in row["annotations"]]
        else:
            events = [(*times, text) for times, text in zip(row["timestamps"], row["sentences"], strict=True)]
        plain[id] = [
            event(" ".join(text.split()), a, min(b, row["duration"])) for a, b, text in events if a < b and text.strip()
        ]
    ids = list(plain)
    present_ids = ids[:100]
    folder = put(tmp_path, *(f"{id.removeprefix(prefix)}.mp4" for id in present_ids))
    items, problems = found(name, path.parent, annotations=[path], videos=folder)
    assert {item.id: list(item.captions) for item in items} == {id: plain[id] for id in present_ids}
    assert [p.id for p in problems if p.costs == "absent"] == ids[len(present_ids) :]
    assert sum(p.costs != "absent" for p in problems) <= 2, "ActivityNet's train.json has two events of no length"
