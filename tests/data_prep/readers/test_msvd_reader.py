"""MSVD: descriptions as text and as a table, clips and whole videos, its usual split."""

from collections import Counter

import pytest

from capjax.data.record import RecordCaption
from data_prep.readers import InputError
from tests.helpers.reader_results import found, put

HEADER = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description"


def text(folder, *lines):
    (folder / "AllVideoDescriptions.txt").write_text("\n".join(lines) + "\n")
    return folder


def table(folder, *rows, header=HEADER):
    (folder / "video_corpus.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_descriptions_one_a_line(tmp_path):
    text(tmp_path, "# Descriptions", "", "-4_s-uP_jDB_5_15 a  squirrel eats ", "b_0_9 x", "-4_s-uP_jDB_5_15 y")
    items, problems = found("msvd", put(tmp_path, "YouTubeClips/-4_s-uP_jDB_5_15.avi", "b_0_9.avi"))
    assert not problems
    assert [(item.id, item.captions, item.clip, item.where) for item in items] == [
        (
            "-4_s-uP_jDB_5_15",
            (RecordCaption("a squirrel eats"), RecordCaption("y")),
            None,
            "AllVideoDescriptions.txt:3",
        ),
        ("b_0_9", (RecordCaption("x"),), None, "AllVideoDescriptions.txt:4"),
    ]


def test_of_a_whole_video_each_clip_is_an_item(tmp_path):
    text(tmp_path, "a_b_1_5 x", "a_b_3_9 y", "a_b_9_9 z")
    items, (problem,) = found("msvd", put(tmp_path, "a_b.mp4"))
    assert [(item.id, item.media.name, item.clip) for item in items] == [
        ("a_b_1_5", "a_b.mp4", (1.0, 5.0)), ("a_b_3_9", "a_b.mp4", (3.0, 9.0)),
    ]  # fmt: skip
    assert len({item.split for item in items}) == 1, "clips of one video look alike"
    assert (problem.kind, problem.id, problem.costs) == ("bad_times", "a_b_9_9", "video")


def test_clips_may_be_called_by_the_mapping(tmp_path):
    (tmp_path / "youtube_mapping.txt").write_text("a_1_5 vid1\nb_1_5 vid1201\nc_1_5 vid1971\nd_1_5 vid1301\nodd\n")
    text(tmp_path, "a_1_5 x", "b_1_5 x", "c_1_5 x", "d_1_5 x", "e_1_5 x")
    items, (problem,) = found("msvd", put(tmp_path, "vid1.avi", "vid1201.avi", "d_1_5.avi"))
    assert {item.id: (item.split, item.media.name) for item in items if item.split} == {
        "a_1_5": ("train", "vid1.avi"), "b_1_5": ("val", "vid1201.avi"), "d_1_5": ("test", "d_1_5.avi"),
    }  # fmt: skip
    assert {item.id for item in items if not item.split} == {"c_1_5", "e_1_5"}, "not of the 1,970"
    assert problem.where == "youtube_mapping.txt:5"


@pytest.mark.parametrize("names", [("train_list.txt", "val_list.txt"), ("msvd_train.txt", "dev.txt")])
def test_lists_choose_the_splits(tmp_path, names):
    text(tmp_path, "a_1_5 x", "b_1_5 x", "c_1_5 x")
    (tmp_path / "youtube_mapping.txt").write_text("a_1_5 vid1\nb_1_5 vid2\nc_1_5 vid3\n")
    (tmp_path / names[0]).write_text("a_1_5.avi\nd_1_5\n")
    (tmp_path / names[1]).write_text("vid2\na_1_5.avi\nvid1\n")
    items, problems = found("msvd", put(tmp_path, "a_1_5.avi", "b_1_5.avi", "c_1_5.avi"))
    assert {item.id: item.split for item in items} == {"a_1_5": "train", "b_1_5": "val", "c_1_5": ""}
    assert [(p.kind, p.where, p.costs) for p in problems] == [
        ("duplicate_id", f"{names[1]}:2", "video"), ("no_caption", f"{names[0]}:2", "video"),
        ("duplicate_id", f"{names[1]}:3", "video"),
    ]  # fmt: skip


def test_two_lists_of_a_split_are_refused(tmp_path):
    text(tmp_path, "a_1_5 x")
    put(tmp_path, "val_list.txt", "dev_list.txt")
    with pytest.raises(InputError, match=r"two lists of val \(dev_list.txt, val_list.txt\)"):
        found("msvd", tmp_path)


def test_all_clips_have_the_usual_split_in_order_of_their_ids(tmp_path):
    ids = [f"{number:04d}_{number % 7}_9" for number in range(1970)]
    text(tmp_path, *(f"{id} x" for id in reversed(ids)))
    items, problems = found("msvd", put(tmp_path, *(f"{id}.avi" for id in ids[::10])))
    assert {item.id: item.split for item in items} == {
        id: "train" if k < 1200 else "val" if k < 1300 else "test" for k, id in enumerate(ids) if k % 10 == 0
    }
    assert Counter(problem.split for problem in problems) == {"train": 1080, "val": 90, "test": 603}
    assert {problem.costs for problem in problems} == {"absent"}


def test_without_lists_a_few_clips_are_split_by_fractions(tmp_path):
    text(tmp_path, *(f"{k}_1_5 x" for k in range(300)))
    items, _ = found("msvd", put(tmp_path, *(f"{k}_1_5.avi" for k in range(300))), fractions=(0.5, 0.5, 0.0))
    counts = Counter(item.split for item in items)
    assert counts.keys() == {"train", "val"}
    assert 110 < counts["train"] < 190


def test_a_table_has_many_languages(tmp_path):
    table(
        tmp_path,
        "a,1,5,123,clean,16,English,A man walks.",
        'a,1,5,124,unverified,2,German,"Ein Mann, er geht."',
        "a,1,5,125,clean,2,Slovene,Mož hodi.",
        "a,1,5,126,clean,2,Macedonian,Човек оди.",
    )
    (item,), problems = found("msvd", put(tmp_path, "a_1_5.avi"))
    assert not problems
    assert [(c.lang, c.text) for c in item.captions] == [
        ("en", "A man walks."), ("de", "Ein Mann, er geht."), ("sl", "Mož hodi."), ("mk", "Човек оди."),
    ]  # fmt: skip
    (item,), _ = found("msvd", tmp_path, clean=True)
    assert [c.lang for c in item.captions] == ["en", "sl", "mk"]


def test_bad_rows_are_listed_by_line(tmp_path):
    table(
        tmp_path,
        "a,1,5,1,clean,1,English,fine",
        "a,1,5,1,clean,1,Klingon,x",
        "a,one,5,1,clean,1,English,x",
        ",1,5,1,clean,1,English,x",
        "a,1,5,1,clean,1,English,",
        "a,1,5",
        "b,1,5,1,clean,1,English,",
    )
    (item,), problems = found("msvd", put(tmp_path, "a_1_5.avi"))
    assert item.captions == (RecordCaption("fine"),)
    assert {(p.kind, p.where, p.costs) for p in problems} == {
        ("unknown_language", "video_corpus.csv:3", "caption"), ("malformed", "video_corpus.csv:4", "caption"),
        ("malformed", "video_corpus.csv:5", "caption"), ("empty_caption", "video_corpus.csv:6", "caption"),
        ("malformed", "video_corpus.csv:7", "caption"), ("missing_video", "video_corpus.csv:8", "absent"),
    }  # fmt: skip


def test_bad_lines_are_listed(tmp_path):
    data = b"a_1_5 fine\na_1_5\nno id here\na_1_5 v\xe9lo\na_1 x\n"
    (tmp_path / "AllVideoDescriptions.txt").write_bytes(data)
    (item,), problems = found("msvd", put(tmp_path, "a_1_5.avi"))
    assert item.captions == (RecordCaption("fine"),)
    assert {(p.kind, p.where.rpartition(":")[2], p.costs) for p in problems} == {
        ("empty_caption", "2", "caption"), ("malformed", "3", "caption"), ("encoding", "4", "caption"),
        ("malformed", "5", "caption"),
    }  # fmt: skip


def test_both_files_must_be_chosen_from(tmp_path):
    text(tmp_path, "a_1_5 x")
    table(put(tmp_path, "a_1_5.avi"), "a,1,5,1,clean,1,English,y")
    with pytest.raises(InputError, match=r"AllVideoDescriptions.txt, video_corpus.csv.*--annotations"):
        found("msvd", tmp_path)
    (item,), _ = found("msvd", tmp_path, annotations=[tmp_path / "video_corpus.csv"])
    assert item.captions == (RecordCaption("y"),)


def test_a_table_without_the_columns_is_refused(tmp_path):
    table(tmp_path, "x", header="VideoID,Start,End,Description")
    with pytest.raises(InputError, match=r"video_corpus.csv:1: .*no Source"):
        found("msvd", tmp_path)


def test_the_real_clips(shared_data):
    folder = shared_data / "msvd"
    items, problems = found("msvd", folder)
    assert not problems
    captions = {}
    for line in (folder / "AllVideoDescriptions.txt").read_text().splitlines():
        id, _, words = line.partition(" ")
        captions.setdefault(id, []).append(words.strip())
    assert {item.id: [c.text for c in item.captions] for item in items} == captions
    assert sum(map(len, captions.values())) == 178
    assert all(item.media.stem == item.id and item.media.is_file() for item in items)
