"""One photo or video is one item of one split, however it is named; exact copies do not cross splits."""

import json
import os

import pytest

from capjax.data.record import RecordSource
from data_prep.build import BuildError
from data_prep.cli import main
from data_prep.readers import READERS
from data_prep.readers.translations import Source, Translations
from tests.helpers.built_records import build_records
from tests.helpers.pictures import encode, picture
from tests.helpers.videos import write_video


def build(folder, *rows, **options):
    """{id: captions} by split, and the report, of JSON lines."""
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build_from("jsonl", folder, **options)


def build_from(name, folder, **options):
    build_records("mine", READERS.make(name, folder), folder / "out", overwrite=True, **options)
    report = json.loads((folder / "out" / "report.json").read_text())
    splits = {}
    for split in report["splits"]:
        source = RecordSource(folder / "out", split)
        splits[split] = {
            record.id: [c.text for c in record.captions] for record in (source[i] for i in range(len(source)))
        }
    return splits, report


@pytest.mark.parametrize("other", ["./0.jpg", "link.jpg", "hard.jpg", "0.JPG", "0", "sub/../0.jpg"])
def test_one_file_under_two_names_is_one_item(tmp_path, make_photos, other):
    make_photos(tmp_path, ["0.jpg", "1.jpg"])
    (tmp_path / "link.jpg").symlink_to("0.jpg")
    os.link(tmp_path / "0.jpg", tmp_path / "hard.jpg")
    rows = [
        {"image": "0.jpg", "caption": "A dog.", "split": "train"},
        {"image": "1.jpg", "caption": "A cat.", "split": "val"},
        {"image": other, "caption": "A hound.", "split": "val"},
    ]  # fmt: skip
    if ".." in other:
        with pytest.raises(BuildError, match="without '..'"):
            build(tmp_path, *rows)
        return
    splits, report = build(tmp_path, *rows)
    assert splits == {"train": {"0.jpg": ["A dog.", "A hound."]}, "val": {"1.jpg": ["A cat."]}}
    assert report["kinds"] == {"two_splits": 1}
    assert report["photos"] == {"found": 2, "bad": 0}
    assert "is in split 'train'" in report["problems"][0]["message"]


@pytest.mark.parametrize("reader", ["csv", "jsonl", "flickr8k"])
def test_names_of_one_file_never_get_two_splits_by_hash(tmp_path, make_photos, reader):
    names = [f"{k}.jpg" for k in range(40)]
    make_photos(tmp_path / "Images", names)
    spelled = [*names, *(f"./{name}" for name in names)]
    if reader == "jsonl":
        lines = [json.dumps({"image": name, "text": f"a photo {name}"}) for name in spelled]
    else:
        lines = ["image,caption", *(f"{name},a photo {name}" for name in spelled)]
    file = {"csv": "Images/captions.csv", "jsonl": "Images/captions.jsonl", "flickr8k": "captions.txt"}[reader]
    (tmp_path / file).write_text("\n".join(lines))
    splits, report = build_from(reader, tmp_path if reader == "flickr8k" else tmp_path / "Images")
    captions = {id: texts for split in splits.values() for id, texts in split.items()}
    assert captions == {name: [f"a photo {name}", f"a photo ./{name}"] for name in names}
    assert report["photos"] == {"found": 40, "bad": 0}


def test_one_file_under_two_ids_is_one_item_and_is_reported(tmp_path, make_photos):
    make_photos(tmp_path, ["0.jpg"])
    rows = [
        {"image": "0.jpg", "id": id, "caption": id, "split": "train", "labels": [{"name": "dog"}, {"name": id}]}
        for id in "ab"
    ]
    splits, report = build(tmp_path, *rows)
    assert splits == {"train": {"a": ["a", "b"]}}
    assert report["kinds"] == {"same_file": 1}
    assert [label.name for label in RecordSource(tmp_path / "out", "train")[0].labels] == ["dog", "a", "b"]


def test_several_lines_of_one_photo_are_merged_in_every_format(tmp_path, make_photos):
    make_photos(tmp_path, ["0.jpg", "1.jpg"])
    rows = [("0.jpg", "A dog."), ("1.jpg", "A cat."), ("0.jpg", "A hound.")]
    merged = {"train": {"0.jpg": ["A dog.", "A hound."], "1.jpg": ["A cat."]}}
    table = "image,caption,split\n" + "".join(f"{name},{text},train\n" for name, text in rows)
    (tmp_path / "captions.csv").write_text(table)
    splits, report = build_from("csv", tmp_path)
    assert (splits, report["problems"]) == (merged, [])
    splits, report = build(tmp_path, *({"image": name, "caption": text, "split": "train"} for name, text in rows))
    assert (splits, report["problems"]) == (merged, [])
    assert report["photos"] == {"found": 2, "bad": 0}


@pytest.mark.parametrize("reader", ["jsonl", "csv"])
def test_a_given_split_is_that_of_all_lines_of_a_photo(tmp_path, make_photos, reader):
    make_photos(tmp_path, [f"{k}.jpg" for k in range(20)])
    lines = [
        (f"{k}.jpg", text, split) for text, split in (("one", ""), ("two", "test"), ("more", "")) for k in range(20)
    ]
    if reader == "csv":
        table = "image,caption,split\n" + "".join(",".join(line) + "\n" for line in lines)
        (tmp_path / "captions.csv").write_text(table)
        splits, report = build_from("csv", tmp_path)
    else:
        splits, report = build(
            tmp_path, *({"image": name, "text": text, "split": split} for name, text, split in lines)
        )
    assert splits == {"test": {f"{k}.jpg": ["one", "two", "more"] for k in range(20)}}
    assert report["problems"] == []


def test_a_video_counts_in_the_split_that_is_given(tmp_path):
    write_video(tmp_path / "a.mp4", [k / 5 for k in range(20)])
    splits, report = build(tmp_path, *({"video": "a.mp4", "text": "x"} | more for more in ({}, {"split": "test"}, {})))
    assert splits == {"test": {"a.mp4": ["x"] * 3}}
    assert report["there"] == {"test": {"named": 1, "there": 1}}


def test_one_id_of_two_files_is_bad(tmp_path, make_photos):
    make_photos(tmp_path, ["0.jpg", "1.jpg"])
    rows = [{"image": f"{k}.jpg", "id": "x", "caption": "A dog.", "split": "train"} for k in range(2)]
    splits, report = build(tmp_path, *rows, max_bad=1)
    assert splits == {"train": {"x": ["A dog."]}}
    assert report["kinds"] == {"duplicate_id": 1}


def test_translations_are_joined_once_to_a_photo_with_several_lines(tmp_path, make_photos):
    make_photos(tmp_path, ["0.jpg"])
    (tmp_path / "de.txt").write_text("0.jpg#0\tEin Hund.\n")
    rows = [{"image": name, "caption": "A dog.", "split": "train"} for name in ("0.jpg", "./0.jpg", "0.jpg")]
    splits, report = build(tmp_path, *rows, translations=Translations([Source(tmp_path / "de.txt", "de")]))
    assert sorted(splits["train"]["0.jpg"]) == ["A dog."] * 3 + ["Ein Hund."]
    assert report["translations"] == {"de.txt": {"captions": 1, "joined": 1}}


def test_clips_of_a_video_stay_apart_and_lines_of_a_clip_are_merged(tmp_path):
    write_video(tmp_path / "a.mp4", [k / 5 for k in range(20)])
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    rows = [
        {"video": "a.mp4", "clip": [0, 2], "caption": "one", "split": "val"},
        {"video": "link.mp4", "clip": [0, 2], "caption": "uno", "split": "val"},
        {"video": "a.mp4", "clip": [2, 4], "caption": "two", "split": "val"},
    ]
    splits, report = build(tmp_path, *rows)
    assert splits == {"val": {"a.mp4@0-2": ["one", "uno"], "a.mp4@2-4": ["two"]}}
    assert report["there"] == {"val": {"named": 2, "there": 2}}


def copies(folder):
    """Photos a and b of train, a copy of a in val, copies of b in val and test, and copies of c in val and test."""
    rows = []
    for number, (name, splits) in enumerate({"a": ["train", "val"], "b": ["train", "val", "test"], "c": ["val", "test"],
                                             "d": ["train", "train"], "e": ["test"]}.items()):  # fmt: skip
        for index, split in enumerate(splits):
            (folder / f"{name}{index}.jpg").write_bytes(encode(picture(24, 16, number)))
            rows.append({"image": f"{name}{index}.jpg", "caption": name, "split": split})
    # As large as e, and another photo.
    data = bytearray((folder / "e0.jpg").read_bytes())
    data[-8] ^= 1
    (folder / "f0.jpg").write_bytes(data)
    return [*rows, {"image": "f0.jpg", "caption": "f", "split": "train"}]


def test_exact_copies_across_splits_are_counted_and_dropped_from_val_and_test(tmp_path):
    splits, report = build(tmp_path, *copies(tmp_path))
    assert {split: sorted(items) for split, items in splits.items()} == {
        "train": ["a0.jpg", "b0.jpg", "d0.jpg", "d1.jpg", "f0.jpg"], "test": ["c1.jpg", "e0.jpg"],
    }  # fmt: skip
    assert report["kinds"] == {"copy_across_splits": 4}
    assert {problem["id"] for problem in report["problems"]} == {"a1.jpg", "b1.jpg", "b2.jpg", "c0.jpg"}
    assert {problem["costs"] for problem in report["problems"]} == {"nothing"}
    assert any(problem["message"].startswith("a1.jpg in val is an exact copy of a0.jpg in train; it is dropped")
               for problem in report["problems"])  # fmt: skip


def test_copies_stay_on_request(tmp_path, capsys):
    rows = copies(tmp_path)
    splits, report = build(tmp_path, *rows, keep_copies=True)
    assert sum(map(len, splits.values())) == len(rows)
    assert report["kinds"] == {"copy_across_splits": 4}
    arguments = ["jsonl", "--input", str(tmp_path), "--output", str(tmp_path / "cli")]
    assert main([*arguments, "--keep-copies"]) == 0
    assert len(RecordSource(tmp_path / "cli", "val")) == 3
    assert main([*arguments, "--overwrite", "--strict"]) == 1
    assert "--keep-copies keeps it" in capsys.readouterr().err


def test_dropped_copies_of_videos_do_not_count_as_there(tmp_path):
    write_video(tmp_path / "a.mp4", [k / 5 for k in range(20)])
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    write_video(tmp_path / "c.mp4", [k / 5 for k in range(15)])
    rows = [
        {"video": f"{name}.mp4", "caption": "x", "split": split}
        for name, split in (("a", "train"), ("b", "val"), ("c", "val"))
    ]
    splits, report = build(tmp_path, *rows)
    assert splits == {"train": {"a.mp4": ["x"]}, "val": {"c.mp4": ["x"]}}
    assert report["there"] == {"train": {"named": 1, "there": 1}, "val": {"named": 2, "there": 1}}


def test_dropped_copies_of_photos_do_not_count_as_missing_videos(tmp_path, make_photos):
    make_photos(tmp_path, ["0.jpg"])
    (tmp_path / "copy.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    write_video(tmp_path / "a.mp4", [k / 5 for k in range(20)])
    media = (("image", "0.jpg", "train"), ("image", "copy.jpg", "val"), ("video", "a.mp4", "val"))
    splits, report = build(tmp_path, *({kind: name, "caption": "x", "split": split} for kind, name, split in media))
    assert splits == {"train": {"0.jpg": ["x"]}, "val": {"a.mp4": ["x"]}}
    assert report["there"] == {"val": {"named": 1, "there": 1}}


def test_lines_of_a_file_that_cannot_be_used_count_once(tmp_path, make_photos):
    make_photos(tmp_path, ["0.jpg"])
    photos = [{"image": name, "caption": "x", "split": "train"} for name in ("0.jpg", "no.jpg") for _ in range(5)]
    _, report = build(tmp_path, *photos, max_bad=0.5)
    assert report["photos"] == {"found": 2, "bad": 1}
    write_video(tmp_path / "a.mp4", [k / 5 for k in range(20)])
    videos = [{"video": name, "caption": "x", "split": "val"} for name in ("a.mp4", "no.mp4") for _ in range(5)]
    _, report = build(tmp_path, *videos)
    assert report["there"] == {"val": {"named": 2, "there": 1}}
    assert report["kinds"] == {"missing_video": 1}
