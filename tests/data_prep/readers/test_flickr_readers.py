"""Flickr8k and Flickr30k, as their authors and as Kaggle give them out, in small and in real."""

import unicodedata
from collections import Counter

import pytest

from data_prep.readers import InputError
from data_prep.readers.files import split_by_hash
from tests.helpers.reader_results import found


def flickr8k(folder, tokens: bytes, **lists: str):
    (folder / "Flickr8k_text").mkdir()
    (folder / "Flicker8k_Dataset").mkdir()
    (folder / "Flickr8k_text" / "Flickr8k.token.txt").write_bytes(tokens)
    for name, text in lists.items():
        (folder / "Flickr8k_text" / f"Flickr_8k.{name}Images.txt").write_text(text)
    return folder


TOKENS = b"""1000268201_693b08cb0e.jpg#0\tA child in a pink dress is climbing up a set of stairs in an entry way .
1000268201_693b08cb0e.jpg#1\tA girl going into a wooden building .
1001773457_577c3a7d70.jpg#0\tA black dog and a spotted dog are fighting
2.jpg#0\tIn no list .
"""


def test_the_token_file_and_the_lists(tmp_path):
    flickr8k(tmp_path, TOKENS, train="1000268201_693b08cb0e.jpg\r\n", dev="1001773457_577c3a7d70.jpg\n", test="")
    items, problems = found("flickr8k", tmp_path)
    assert not problems
    assert [(item.id, item.split, len(item.captions)) for item in items] == [
        ("1000268201_693b08cb0e.jpg", "train", 2), ("1001773457_577c3a7d70.jpg", "val", 1), ("2.jpg", "", 1),
    ]  # fmt: skip
    assert items[1].where == "Flickr8k_text/Flickr8k.token.txt:3"
    assert items[1].media == tmp_path / "Flicker8k_Dataset" / "1001773457_577c3a7d70.jpg"


def test_lists_may_spell_names_in_another_way(tmp_path):
    tokens = unicodedata.normalize("NFD", "a/é.jpg#0\tA dog .\n2.jpg#0\tA cat .\n").encode()
    flickr8k(tmp_path, tokens, train=unicodedata.normalize("NFC", "a\\é.jpg\n"), dev="./2.jpg\n")
    items, problems = found("flickr8k", tmp_path)
    assert ([item.split for item in items], problems) == (["train", "val"], [])


def test_bad_lines_are_listed_by_number(tmp_path):
    tokens = b"1.jpg#0\tFine .\n1.jpg no tab\n1.jpg#1\t \n\n1.jpg#2\tcaf\xe9\n../1.jpg#0\tout\n"
    items, problems = found("flickr8k", flickr8k(tmp_path, tokens, train="1.jpg\n9.jpg\n", dev="1.jpg\n"))
    file = "Flickr8k_text/Flickr8k.token.txt"
    assert {(problem.kind, problem.where, problem.costs) for problem in problems} == {
        ("malformed", f"{file}:2", "caption"),
        ("empty_caption", f"{file}:3", "caption"),
        ("encoding", f"{file}:5", "caption"),
        ("unsafe_path", f"{file}:6", "photo"),
        ("no_caption", "Flickr8k_text/Flickr_8k.trainImages.txt:2", "photo"),
        ("duplicate_id", "Flickr8k_text/Flickr_8k.devImages.txt:1", "photo"),
    }
    assert [(item.id, item.split) for item in items] == [("1.jpg", "train")]


def test_a_byte_order_mark_is_dropped_and_utf16_refused(tmp_path):
    flickr8k(tmp_path, b"\xef\xbb\xbf" + TOKENS)
    assert found("flickr8k", tmp_path)[0][0].id == "1000268201_693b08cb0e.jpg"
    (tmp_path / "Flickr8k_text" / "Flickr8k.token.txt").write_bytes(TOKENS.decode().encode("utf-16"))
    with pytest.raises(InputError, match="UTF-16"):
        found("flickr8k", tmp_path)


KAGGLE = """image,caption
1000268201_693b08cb0e.jpg,A child in a pink dress is climbing up a set of stairs in an entry way .
1007129816_e794419615.jpg,"A man in an orange hat , starring at something ."
1007129816_e794419615.jpg,"""

KAGGLE_LINES = [
    ('"The man said , ""hello"" ."', 'The man said , "hello" .'),
    ("one , two , and three", "one , two , and three"),
    ('"quoted" at the start , then more', '"quoted" at the start , then more'),
    ('a stray " in it', 'a stray " in it'),
    ('"Two\nlines"', "Two lines"),
]


@pytest.mark.parametrize(("field", "caption"), KAGGLE_LINES)
def test_kaggle_captions_with_commas_and_quotes(tmp_path, field, caption):
    (tmp_path / "Images").mkdir()
    (tmp_path / "captions.txt").write_text(f"{KAGGLE}{field}\n")
    items, problems = found("flickr8k", tmp_path)
    assert not problems
    assert [c.text for c in items[1].captions] == ["A man in an orange hat , starring at something .", caption]
    assert items[0].media == tmp_path / "Images" / "1000268201_693b08cb0e.jpg"


def test_a_quote_that_nobody_closed_costs_no_other_line(tmp_path):
    (tmp_path / "Images").mkdir()
    rows = [f"{i}.jpg,a photo" for i in range(200)]
    rows[20] = '20.jpg,an "open quote'
    (tmp_path / "captions.txt").write_text("\n".join(["image,caption", *rows]))
    items, problems = found("flickr8k", tmp_path)
    assert not problems
    assert [item.id for item in items] == [f"{i}.jpg" for i in range(200)]


def test_without_lists_a_stable_hash_chooses_the_split(tmp_path):
    names = [f"{i}.jpg" for i in range(3000)]
    (tmp_path / "Images").mkdir()
    (tmp_path / "captions.txt").write_text("image,caption\n" + "".join(f"{name},x\n" for name in names))
    splits = {item.id: item.split for item in found("flickr8k", tmp_path)[0]}
    counts = Counter(splits.values())
    assert counts["train"] == pytest.approx(2400, abs=80)
    assert counts["val"] == pytest.approx(300, abs=60)
    (tmp_path / "captions.txt").write_text("image,caption\n" + "".join(f"{name},x\n" for name in names[500:]))
    assert all(splits[item.id] == item.split for item in found("flickr8k", tmp_path)[0])
    assert {item.split for item in found("flickr8k", tmp_path, fractions=(0, 1, 0))[0]} == {"val"}


def test_the_hash_is_the_same_for_ever():
    names = ["1000092795.jpg", "10002456.jpg", "a/1.jpg", "ü.png"]
    assert [split_by_hash(name) for name in names] == ["test", "train", "train", "train"]


FLICKR30K = """1000092795.jpg#0\tTwo young guys with shaggy hair look at their hands .
1000092795.jpg#1\tTwo young , White males are outside near many bushes .
10002456.jpg#0\tSeveral men in hard hats are operating a giant pulley system .
"""


def test_flickr30k_tokens(tmp_path):
    (tmp_path / "results_20130124.token").write_text(FLICKR30K)
    (tmp_path / "flickr30k-images").mkdir()
    items, problems = found("flickr30k", tmp_path)
    assert not problems
    assert [(item.id, len(item.captions)) for item in items] == [("1000092795.jpg", 2), ("10002456.jpg", 1)]
    (tmp_path / "train.txt").write_text("1000092795\n")
    (tmp_path / "flickr30k_test.txt").write_text("10002456.jpg\n")
    assert [item.split for item in found("flickr30k", tmp_path)[0]] == ["train", "test"]


def test_flickr30k_of_kaggle_with_its_broken_line(tmp_path):
    folder = tmp_path / "flickr30k_images"
    (folder / "flickr30k_images").mkdir(parents=True)
    (folder / "results.csv").write_text(
        "image_name| comment_number| comment\n"
        "1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .\n"
        "1000092795.jpg| 1| Odd | but a caption .\n"
        "2199200615.jpg| 3| A dog runs .\n"
        "2199200615.jpg| 4   A dog runs across the grass .\n"
    )
    items, (problem,) = found("flickr30k", tmp_path)
    assert (problem.kind, problem.where) == ("malformed", "flickr30k_images/results.csv:5")
    assert [c.text for c in items[0].captions][1] == "Odd | but a caption ."
    assert items[0].media == folder / "flickr30k_images" / "1000092795.jpg"
    assert len(items[1].captions) == 1


@pytest.mark.parametrize("name", ["flickr8k", "flickr30k", "karpathy", "coco", "jsonl", "csv"])
def test_an_empty_folder_says_what_was_looked_for(tmp_path, name):
    with pytest.raises(InputError, match=r"looked for|expected"):
        found(name, tmp_path)


def test_the_real_flickr8k(shared_data):
    items, problems = found("flickr8k", shared_data / "flickr8k")
    assert not problems
    assert Counter(item.split for item in items) == {"train": 753, "val": 113}
    assert all(len(item.captions) == 5 and item.media.is_file() for item in items)
