"""Items to a dataset: the same bytes however they were written, and nothing half done that could pass for one."""

import errno
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from capjax.data.record import Label, RecordCaption, RecordSource, TranscriptSegment
from data_prep import shards as shards_module
from data_prep.build import BuildError, RecordBuilder
from data_prep.media import MediaSettings, Storage
from data_prep.plan import shard_count
from data_prep.readers import READERS, Item, Problem
from tests.helpers.built_records import build_records
from tests.helpers.disks import permissions_checked
from tests.helpers.folders import contents
from tests.helpers.pictures import encode, picture


def build(folder: Path, output: Path, found=None, **options) -> RecordBuilder:
    return build_records("mine", found or READERS.make("jsonl", folder), output, **options)


def report(path: Path) -> dict:
    return json.loads((path / "report.json").read_text())


def test_what_was_written_can_be_read(tmp_path, make_jsonl):
    folder = make_jsonl(30)
    builder = build(folder, tmp_path / "out")
    train, val = (RecordSource(tmp_path / "out", split) for split in ("train", "val"))
    assert (len(train), len(val)) == (27, 3)
    record = next(train[i] for i in range(27) if train[i].id == "0003.jpg")
    assert record.captions == (RecordCaption("photo 3"), RecordCaption("a photo"))
    assert record.frames == ((folder / "0003.jpg").read_bytes(),)
    assert record.frame_times.tolist() == [0.0]
    assert builder.as_data_source("val")[0]["id"].decode() == val[0].id


def test_it_is_a_tfds_dataset(tmp_path, make_jsonl):
    build(make_jsonl(20), tmp_path / "out")
    info = tfds.builder_from_directory(tmp_path / "out").info
    assert info.name == "mine"
    assert {name: split.num_examples for name, split in info.splits.items()} == {"train": 18, "val": 2}
    assert info.splits["train"].num_bytes > 18 * 300


def test_labels_transcripts_and_drawn_media_arrive(tmp_path):
    speech = TranscriptSegment("hello", 0.0, 1.0)
    item = Item("1", Drawing(), "train", (RecordCaption("x"),), (Label("cat"),), None, (speech,), "scene 0", "1.png")
    build(tmp_path, tmp_path / "out", [item], settings=Storage(MediaSettings(size=20)))
    record = RecordSource(tmp_path / "out", "train")[0]
    assert (record.labels, record.transcript, record.media) == ((Label("cat"),), (speech,), "1.png")
    assert record.frames[0][:2] == b"\xff\xd8"


class Drawing:
    """What `shapes` has for media."""

    def __call__(self) -> bytes:
        return encode(picture(40, 30), "PNG")


def test_the_order_does_not_depend_on_the_input(tmp_path, make_jsonl):
    items = list(READERS.make("jsonl", make_jsonl(40)))
    build(tmp_path, tmp_path / "a", items)
    build(tmp_path, tmp_path / "b", reversed(items))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    train = RecordSource(tmp_path / "a", "train")
    assert [train[i].id for i in range(36)] != sorted(train[i].id for i in range(36))


def test_one_worker_and_three_write_the_same_bytes(tmp_path, make_jsonl):
    folder = make_jsonl(420)
    for workers in (1, 3):
        build(folder, tmp_path / f"by{workers}", workers=workers)
    one = contents(tmp_path / "by1")
    assert sum("array_record" in name for name in one) == 4
    assert contents(tmp_path / "by3") == one


class Deadly:
    """Media whose reading kills the process, the first time or each time."""

    def __init__(self, mark: Path, only_once: bool):
        self.mark, self.only_once = mark, only_once

    def __call__(self) -> bytes:
        if not (self.only_once and self.mark.exists()):
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(picture(40, 30), "PNG")


@pytest.mark.parametrize("only_once", [False, True])
def test_a_killed_worker_costs_its_item_alone(tmp_path, make_jsonl, only_once):
    items = list(READERS.make("jsonl", make_jsonl(420)))
    deadly = replace(items[100], media=Deadly(tmp_path / "mark", only_once))
    build(tmp_path, tmp_path / "out", [*items[:100], deadly, *items[101:]], workers=2)
    records = sum(len(RecordSource(tmp_path / "out", split)) for split in ("train", "val"))
    assert records == (420 if only_once else 419)
    problems = report(tmp_path / "out")["problems"]
    assert [(problem["id"], problem["kind"]) for problem in problems] == ([] if only_once else [(deadly.id, "killed")])
    assert not list((tmp_path / "out").glob(".*"))


def test_shards_follow_from_the_number_of_items_alone():
    assert [shard_count(n) for n in (1, 128, 129, 6000, 32_768, 32_769, 118_287)] == [1, 1, 2, 16, 16, 17, 58]


def test_finished_shards_are_not_written_again(tmp_path, make_jsonl, monkeypatch):
    folder, done = make_jsonl(420), []
    whole = build(folder, tmp_path / "whole")

    def fails_at_the_third(shard, on_item=lambda count: None):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(shard.path.name)
        return write(shard, on_item)

    write = shards_module.write_shard
    monkeypatch.setattr("data_prep.build.write_shard", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    kept = {name: (tmp_path / "out.partial" / "dataset" / name).stat().st_ino for name in done}

    again = []
    monkeypatch.setattr("data_prep.build.write_shard", lambda *args: again.append(args[0].path.name) or write(*args))
    build(folder, tmp_path / "out")
    assert not set(done) & set(again)
    assert {name: (tmp_path / "out" / name).stat().st_ino for name in done} == kept
    assert contents(tmp_path / "out") == contents(whole.output_dir)
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("change", ["caption", "photo", "settings", "damage"])
def test_a_shard_whose_input_changed_is_written_again(tmp_path, make_jsonl, monkeypatch, change):
    folder, options = make_jsonl(300), {}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RecordBuilder, "_describe", lambda *_: signal.raise_signal(signal.SIGINT))
        build(folder, tmp_path / "out")
    if change == "caption":
        text = (folder / "captions.jsonl").read_text()
        (folder / "captions.jsonl").write_text(text.replace("photo 17", "photo seventeen"))
    elif change == "photo":
        (folder / "0017.jpg").write_bytes(encode(picture(24, 16, 999)))
    elif change == "settings":
        options = {"settings": Storage(MediaSettings(size=8))}
    else:
        path = next((tmp_path / "out.partial" / "dataset").glob("*train*00000-of*"))
        path.write_bytes(path.read_bytes()[:-1])
    build(folder, tmp_path / "out", **options)
    build(folder, tmp_path / "fresh", **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


BAD_PHOTOS = {
    "missing_photo": None,
    "empty_file": b"",
    "damaged": encode(picture(90, 60))[:700],
    "not_an_image": b"hello",
}


@pytest.fixture
def with_bad_photos(make_jsonl):
    """Hundreds of good photos, one of each bad kind, one in two splits, one under two ids, one without captions, one of
    an odd split, and two with one id."""
    folder = make_jsonl(380)
    rows = []
    for number, data in enumerate(BAD_PHOTOS.values()):
        rows.append({"image": f"bad{number}.jpg", "captions": ["x"], "split": "train"})
        if data is not None:
            (folder / f"bad{number}.jpg").write_bytes(data)
    rows += [
        {"image": "0000.jpg", "captions": ["again"], "split": "val"},
        {"image": "0001.jpg", "id": "none", "captions": []},
        {"image": "0001.jpg", "id": "odd", "captions": ["x"], "split": "tset"},
        {"image": "0001.jpg", "id": "empty", "captions": ["fine", " "], "split": "train"},
        {"image": "0002.jpg", "id": "0003.jpg", "captions": ["x"], "split": "train"},
        {"image": "other.jpg", "id": "0003.jpg", "captions": ["x"], "split": "train"},
    ]
    (folder / "other.jpg").write_bytes(encode(picture(24, 16, 1000)))
    with (folder / "captions.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def test_bad_input_is_skipped_counted_and_listed(tmp_path, with_bad_photos):
    build(with_bad_photos, tmp_path / "out", max_bad=0.05)
    reported = report(tmp_path / "out")
    assert reported["finished"]
    odd = ("damaged", "duplicate_id", "empty_caption", "empty_file", "missing_photo", "no_caption", "not_an_image")
    assert reported["kinds"] == dict.fromkeys(sorted([*odd, "same_file", "two_splits", "unknown_split"]), 1) | {
        "same_file": 2
    }
    assert reported["photos"] == {"found": 387, "bad": 7}
    assert reported["captions"] == {"found": 769, "bad": 1}
    lines = [(problem["line"], problem["kind"]) for problem in reported["problems"]]
    assert sorted(lines) == [
        (381, "missing_photo"), (382, "empty_file"), (383, "damaged"), (384, "not_an_image"), (385, "two_splits"),
        (386, "no_caption"), (387, "unknown_split"), (388, "empty_caption"), (388, "same_file"), (389, "same_file"),
        (390, "duplicate_id"),
    ]  # fmt: skip
    assert {problem["file"] for problem in reported["problems"]} == {"captions.jsonl"}
    counts = {split: len(RecordSource(tmp_path / "out", split)) for split in ("train", "val")}
    assert counts == {split: reported["splits"][split]["photos"] for split in counts} == {"train": 342, "val": 38}
    assert reported["splits"]["train"]["captions"] == {"en": 2 * 342 + 3}


def test_a_photo_that_may_not_be_read_is_not_taken_for_a_misspelled_name(tmp_path, make_photos):
    make_photos(tmp_path, ["a.jpg", "b.jpg", "closed/c.jpg"])
    rows = [{"image": name, "caption": "A dog.", "split": "train"} for name in ("a.jpg", "b.jpg", "closed/c.jpg")]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "b.jpg").chmod(0)
    (tmp_path / "closed").chmod(0)
    try:
        with permissions_checked():
            build_records("mine", READERS.make("jsonl", tmp_path), tmp_path / "out", max_bad=1, workers=1)
    finally:
        (tmp_path / "closed").chmod(0o755)
    messages = {problem["id"]: problem["message"] for problem in report(tmp_path / "out")["problems"]}
    assert messages == {
        "b.jpg": f"{tmp_path / 'b.jpg'} cannot be read: Permission denied",
        "closed/c.jpg": f"{tmp_path / 'closed/c.jpg'}: Permission denied",
    }


def test_reports_do_not_depend_on_the_workers(tmp_path, with_bad_photos):
    for workers in (1, 2):
        build(with_bad_photos, tmp_path / f"by{workers}", workers=workers, max_bad=0.05)
    assert contents(tmp_path / "by1") == contents(tmp_path / "by2")


def assert_no_dataset(output: Path):
    assert not output.exists()
    for path in output.parent.rglob("dataset_info.json"):
        raise AssertionError(f"{path} could pass for a dataset")
    with pytest.raises(FileNotFoundError):
        RecordSource(output, "train")


def test_too_much_bad_input_fails_and_leaves_no_dataset(tmp_path, with_bad_photos):
    with pytest.raises(BuildError, match=r"of 387 photos are bad .*--max-bad 0\.01") as error:
        build(with_bad_photos, tmp_path / "out")
    assert_no_dataset(tmp_path / "out")
    assert str(tmp_path / "out.partial" / "report.json") in str(error.value)
    reported = report(tmp_path / "out.partial")
    assert not reported["finished"]
    assert reported["photos"]["bad"] > 3


@pytest.mark.parametrize(("bad", "fine"), [(3, True), (4, False)])
def test_the_share_is_counted_exactly(tmp_path, make_jsonl, bad, fine):
    """--max-bad 0.01 of 300 photos allows 3."""
    folder = make_jsonl(300)
    for number in range(bad):
        (folder / f"{number:04d}.jpg").write_bytes(b"?")
    if fine:
        build(folder, tmp_path / "out")
        assert len(RecordSource(tmp_path / "out", "train")) == 270 - bad
    else:
        with pytest.raises(BuildError, match="4 of 300 photos"):
            build(folder, tmp_path / "out")
        assert_no_dataset(tmp_path / "out")


def test_bad_captions_have_a_share_of_their_own(tmp_path, make_jsonl):
    folder = make_jsonl(100)
    text = (folder / "captions.jsonl").read_text()
    for share, fine in ((2, True), (3, False)):  # of 200 captions
        (folder / "captions.jsonl").write_text(text.replace('"a photo"', '""', share))
        if fine:
            build(folder, tmp_path / "fine")
        else:
            with pytest.raises(BuildError, match="3 of 200 captions are bad"):
                build(folder, tmp_path / "out")


@pytest.mark.parametrize("workers", [1, 2])
def test_strict_stops_at_the_first(tmp_path, make_jsonl, workers):
    folder = make_jsonl(300)
    (folder / "0123.jpg").write_bytes(b"?")
    with pytest.raises(BuildError, match=r"captions\.jsonl:124: .*not_an_image.*\n--strict"):
        build(folder, tmp_path / "out", strict=True, workers=workers)
    assert_no_dataset(tmp_path / "out")
    assert [problem["line"] for problem in report(tmp_path / "out.partial")["problems"]] == [124]


def test_strict_stops_in_the_annotations_too(tmp_path, make_jsonl):
    folder = make_jsonl(10)
    with (folder / "captions.jsonl").open("a") as file:
        file.write("{\n")
    with pytest.raises(BuildError, match=r"captions\.jsonl:11: not JSON"):
        build(folder, tmp_path / "out", strict=True)


def test_a_shard_and_a_split_may_lose_all_they_have(tmp_path, make_jsonl):
    folder = make_jsonl(200)
    items = list(READERS.make("jsonl", folder))
    build(folder, tmp_path / "whole", items)
    train = RecordSource(tmp_path / "whole", "train")
    order = [train[i].id for i in range(len(train))]
    for id in {*order[:90], *(item.id for item in items if item.split == "val")}:
        (folder / id).write_bytes(f"? {id}".encode())
    build(folder, tmp_path / "out", items, max_bad=1)
    assert list(report(tmp_path / "out")["splits"]) == ["train"]
    source = RecordSource(tmp_path / "out", "train")
    assert [source[i].id for i in range(len(source))] == order[90:]


def test_losing_everything_is_never_a_dataset(tmp_path, make_jsonl):
    folder = make_jsonl(20)
    for path in folder.glob("*.jpg"):
        path.write_bytes(b"?")
    with pytest.raises(BuildError, match="none of the photos could be used"):
        build(folder, tmp_path / "out", max_bad=1)
    assert_no_dataset(tmp_path / "out")


def test_an_input_without_photos_is_refused(tmp_path):
    with pytest.raises(BuildError, match="no photo"):
        build(tmp_path, tmp_path / "out", iter([Problem("malformed", "x", "a:1", costs="caption")]), max_bad=1)
    with pytest.raises(BuildError, match="no photo of any split"):
        build(tmp_path, tmp_path / "out", iter([Item("1", tmp_path, "", ())]))


def test_a_dataset_is_not_overwritten_unasked(tmp_path, make_jsonl):
    build(make_jsonl(10), tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(BuildError, match="--overwrite"):
        build(tmp_path / "photos", tmp_path / "out")
    assert contents(tmp_path / "out") == before
    build(make_jsonl(20, "others"), tmp_path / "out", overwrite=True)
    build(tmp_path / "others", tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert not list(tmp_path.glob("out.*"))


def test_a_folder_that_is_no_dataset_is_never_overwritten(make_jsonl):
    folder = make_jsonl(10)
    with pytest.raises(BuildError, match="not a dataset"):
        build(folder, folder, overwrite=True)
    assert len(list(folder.iterdir())) == 11


def test_folders_with_names_like_ours_are_left_alone(tmp_path, make_jsonl):
    folder = make_jsonl(10)
    for name in ("out.old", "out.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("precious")
    for overwrite in (False, True):
        build(folder, tmp_path / "out", overwrite=overwrite)
    assert {path.name for path in tmp_path.rglob("out*/*.txt")} == {"mine.txt"}
    assert sorted(path.name for path in (tmp_path / "out.partial").iterdir()) == ["mine.txt"]


def test_two_runs_do_not_write_one_dataset(tmp_path, make_jsonl):
    folder = make_jsonl(10)

    def meanwhile():
        with pytest.raises(BuildError, match="another run"):
            build(folder, tmp_path / "out")
        yield from READERS.make("jsonl", folder)

    build(folder, tmp_path / "out", meanwhile())
    assert len(RecordSource(tmp_path / "out", "val")) == 1


def test_a_full_disk_is_told_and_the_run_goes_on_later(tmp_path, make_jsonl, monkeypatch):
    folder = make_jsonl(300)

    class Full(shards_module.ArrayRecordWriter):
        def close(self):
            super().close()
            if len(list((tmp_path / "out.partial" / "shards").iterdir())) == 2:
                raise RuntimeError(f"write() failed: {os.strerror(errno.ENOSPC)}; writing x")

    with monkeypatch.context() as patch, pytest.raises(BuildError, match=r"No space left.*goes on from there"):
        patch.setattr(shards_module, "ArrayRecordWriter", Full)
        build(folder, tmp_path / "out")
    assert_no_dataset(tmp_path / "out")
    assert len(list((tmp_path / "out.partial" / "dataset").iterdir())) == 2  # and no temporary file
    build(folder, tmp_path / "out")
    assert len(RecordSource(tmp_path / "out", "train")) == 270
