"""Agreement with people is what the published procedure on Flickr8k's judgments gives."""

import json
import math
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.metrics import Idf
from capjax.metrics.agreement import (
    correlate,
    document_frequencies,
    judgments,
    kendall,
    main,
    read_captions,
    read_crowdflower,
    read_expert,
)


def brute_force(x, y) -> dict[str, float]:
    """tau_b and tau_c by their definitions, over all pairs."""
    concordant = discordant = only_x = only_y = 0
    for i in range(len(x)):
        for j in range(i):
            a, b = (x[i] > x[j]) - (x[i] < x[j]), (y[i] > y[j]) - (y[i] < y[j])
            concordant += a * b > 0
            discordant += a * b < 0
            only_x += a == 0 and b != 0
            only_y += b == 0 and a != 0
    both = concordant + discordant
    n, m = len(x), min(len(set(x)), len(set(y)))
    return {
        "tau_b": (concordant - discordant) / math.sqrt((both + only_x) * (both + only_y)),
        "tau_c": 2 * (concordant - discordant) / (n * n * (m - 1) / m),
    }


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), min_size=3, max_size=40))
def test_tau_equals_the_count_over_all_pairs(points):
    x, y = [float(a) / 7 for a, _ in points], [float(b) for _, b in points]
    taus = kendall(np.array(x), np.array(y))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert all(map(math.isnan, taus.values()))
    else:
        assert taus == pytest.approx(brute_force(x, y), abs=1e-12)


def test_a_ranking_agrees_wholly_with_itself_and_against_its_reverse():
    x = np.arange(5000.0)
    assert kendall(x, x) == pytest.approx({"tau_b": 1, "tau_c": 1})
    assert kendall(x, -x) == pytest.approx({"tau_b": -1, "tau_c": -1})


def test_a_nan_has_no_place_in_a_ranking():
    with pytest.raises(ValueError, match="NaN"):
        kendall(np.array([1.0, np.nan, 2.0]), np.array([1.0, 2.0, 3.0]))


def test_two_points_are_too_few_to_rank():
    with pytest.raises(ValueError, match="expected three judgments or more to rank, found 2"):
        kendall(np.array([1.0, 2.0]), np.array([1.0, 2.0]))


WORDS = "dog man runs ball red water the a on in two jumps grass snow child bike".split()  # noqa: SIM905


def made_up(seed=0, photos=12, candidates=4) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """({photo: five captions}, judged (photo, caption id)); the first caption of each second photo judges itself."""
    rng = random.Random(seed)
    captions = {
        f"10{i}_ab{i}.jpg": [" ".join(rng.choices(WORDS, k=rng.randint(4, 9))) + " ." for _ in range(5)]
        for i in range(photos)
    }
    names = list(captions)
    pairs = []
    for i, photo in enumerate(names):
        others = rng.sample([name for name in names if name != photo], candidates)
        pairs += [(photo, f"{other}#{rng.randrange(5)}") for other in others]
        if i % 2 == 0:
            pairs.append((photo, f"{photo}#0"))
    return captions, pairs


@pytest.fixture
def files(tmp_path):
    """The three files, as Flickr8k's are, and what is in them."""
    captions, pairs = made_up()
    rng = random.Random(1)
    ratings = [[rng.randint(1, 4) for _ in range(3)] for _ in pairs]
    votes = [(rng.randint(0, 3), rng.randint(1, 3)) for _ in pairs]
    tokens, expert, crowd = (tmp_path / f"{name}.txt" for name in ("token", "expert", "crowd"))
    lines = [f"{photo}#{k}\t{text}\n" for photo, texts in captions.items() for k, text in enumerate(texts)]
    tokens.write_text("".join(lines))
    expert.write_text("".join("\t".join([*p, *map(str, r)]) + "\n" for p, r in zip(pairs, ratings, strict=True)))
    shares = [f"{y / (y + n):.12g}\t{y}\t{n}" for y, n in votes]
    crowd.write_text("".join(f"{p}\t{c}\t{share}\n" for (p, c), share in zip(pairs, shares, strict=True)))
    return {
        "tokens": tokens, "expert": expert, "crowd": crowd, "captions": captions, "pairs": pairs, "ratings": ratings,
        "shares": [y / (y + n) for y, n in votes],
    }  # fmt: skip


def pycoco_scores(candidates: list[str], references: list[list[str]]) -> dict[str, list[float]]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    # The made-up words are as Penn Treebank leaves them, but for the full stop.
    groups = {i: [text.removesuffix(" .") for text in texts] for i, texts in enumerate(references)}
    guesses = {i: [text.removesuffix(" .")] for i, text in enumerate(candidates)}
    scores = {
        "BLEU-4": Bleu(4).compute_score(groups, guesses, verbose=0)[1][3],
        "ROUGE-L": Rouge().compute_score(groups, guesses)[1],
        "CIDEr": Cider().compute_score(groups, guesses)[1],
    }
    return {metric: [float(value) for value in values] for metric, values in scores.items()}


def test_the_command_gives_what_the_published_procedure_gives_for_experts(files, capsys):
    assert main(["--expert", str(files["expert"]), "--captions", str(files["tokens"]), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    text = {f"{photo}#{k}": t for photo, texts in files["captions"].items() for k, t in enumerate(texts)}
    candidates, references, people = [], [], []
    for (photo, caption), ratings in zip(files["pairs"], files["ratings"], strict=True):
        if text[caption] not in files["captions"][photo]:
            for rating in ratings:
                candidates.append(text[caption])
                references.append(files["captions"][photo])
                people.append(float(rating))
    assert report["counts"] == {
        "rows": 54, "missing": 0, "own": 6, "repeated": 0, "pairs": 48, "images": 12, "judgements": 144,
    }  # fmt: skip
    assert len(people) == 144 and "144 documents" in report["idf"]
    for metric, scores in pycoco_scores(candidates, references).items():
        expected = brute_force(scores, people)
        assert report["tau"][metric] == pytest.approx(expected, abs=1e-6), metric


def test_the_command_gives_what_the_published_procedure_gives_for_the_crowd(files, capsys):
    assert main(["--crowdflower", str(files["crowd"]), "--captions", str(files["tokens"]), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    text = {f"{photo}#{k}": t for photo, texts in files["captions"].items() for k, t in enumerate(texts)}
    left = {photo: list(texts) for photo, texts in files["captions"].items()}
    for photo, caption in files["pairs"]:
        if text[caption] in left[photo]:
            left[photo].remove(text[caption])
    candidates = [text[caption] for _, caption in files["pairs"]]
    assert report["counts"]["pairs"] == 54 == report["counts"]["judgements"] and report["own"] == "remove"
    assert {len(texts) for texts in left.values()} == {4, 5}
    scores = pycoco_scores(candidates, [left[photo] for photo, _ in files["pairs"]])
    for metric, values in scores.items():
        expected = brute_force(values, files["shares"])
        assert report["tau"][metric] == pytest.approx(expected, abs=1e-6), metric


def test_the_command_runs_as_a_module_and_prints_a_table(files):
    command = [sys.executable, "-m", "capjax.metrics.agreement", "--expert", files["expert"], "--metrics", "rouge"]
    done = subprocess.run([*command, "--captions", files["tokens"]], capture_output=True, text=True, check=True)
    assert "Flickr8k-Expert: 144 judgments of 48 captions of 12 photos" in done.stdout
    row = done.stdout.splitlines()[-1].split()
    assert row[0] == "ROUGE-L" and len(row) == 3 and done.stderr == ""


def test_tau_of_mean_ratings_has_one_point_a_pair(files):
    judged = judgments("Flickr8k-Expert", read_expert(files["expert"]), read_captions(files["tokens"]))
    taus = correlate(judged, metrics=["rouge"], ratings="mean")["tau"]["ROUGE-L"]
    scores = pycoco_scores(judged.candidates, [judged.references[photo] for photo in judged.photos])["ROUGE-L"]
    means = [float(np.mean(ratings)) for ratings in judged.ratings]
    assert taus == pytest.approx(brute_force(scores, means), abs=1e-6)


def test_own_captions_are_dropped_removed_or_kept_as_told(files):
    rows, captions = read_expert(files["expert"]), read_captions(files["tokens"])
    kept = {own: judgments("Flickr8k-Expert", rows, captions, own=own) for own in ("drop", "remove", "keep")}
    assert [len(kept[own].photos) for own in kept] == [48, 54, 54]
    photo = files["pairs"][0][0]
    assert [len(kept[own].references[photo]) for own in kept] == [5, 4, 5]


def test_document_frequencies_count_photos_once_or_as_often_as_judged(files):
    rows = read_expert(files["expert"])
    judged = judgments("Flickr8k-Expert", rows, read_captions(files["tokens"]))
    once, often = document_frequencies(judged, "images"), document_frequencies(judged)
    assert once.documents == 12 and often.documents == 144
    assert {gram: 12 * count for gram, count in once.frequency.items()}.items() <= dict(often.frequency).items()


def test_statistics_may_come_from_a_file(files, tmp_path, capsys):
    judged = judgments("Flickr8k-Expert", read_expert(files["expert"]), read_captions(files["tokens"]))
    document_frequencies(judged, "images").save(tmp_path / "idf.json")
    arguments = ["--expert", str(files["expert"]), "--captions", str(files["tokens"]), "--json", "--metrics", "cider"]
    taus = []
    for source in ("images", str(tmp_path / "idf.json")):
        assert main([*arguments, "--idf", source]) == 0
        report = json.loads(capsys.readouterr().out)
        assert "Flickr8k-Expert-images(12)" in report["signatures"]["CIDEr"]
        taus.append(report["tau"])
    assert taus[0] == taus[1]
    assert Idf.load(tmp_path / "idf.json").documents == 12


def test_line_ends_spaces_a_byte_order_mark_and_blank_lines_change_nothing(files, tmp_path):
    for name, read in (("tokens", read_captions), ("expert", read_expert), ("crowd", read_crowdflower)):
        plain = files[name].read_text()
        windows = tmp_path / "windows.txt"
        windows.write_bytes(b"\xef\xbb\xbf" + plain.replace("\n", "  \r\n\r\n").encode())
        before, after = read(files[name]), read(windows)
        if name == "tokens":
            assert before == after and len(before) == 60
        else:
            assert [row[1:] for row in map(astuple, before)] == [row[1:] for row in map(astuple, after)]


def astuple(row) -> tuple:
    return (row.place, row.photo, row.caption, row.ratings)


GOOD = "1.jpg\t2.jpg#0\t"


@pytest.mark.parametrize(
    ("read", "line", "message"),
    [
        (read_expert, "1.jpg 2.jpg#0 1 2", "expected PHOTO.jpg, PHOTO.jpg#K, three ratings"),
        (read_expert, GOOD + "1\t2\t3\t4", "expected PHOTO.jpg, PHOTO.jpg#K, three ratings"),
        (read_expert, "1.jpg\t2.jpg\t1\t2\t3", "expected PHOTO.jpg, PHOTO.jpg#K"),
        (read_expert, "1.jpg#0\t2.jpg\t1\t2\t3", "expected PHOTO.jpg, PHOTO.jpg#K"),
        (read_expert, GOOD + "1\t2\t5", "ratings of 1, 2, 3 or 4"),
        (read_expert, GOOD + "1\t2.5\t3", "ratings of 1, 2, 3 or 4"),
        (read_expert, GOOD + "1\tnan\t3", "expected numbers for three ratings"),
        (read_expert, GOOD + "1\tx\t3", "expected numbers for three ratings"),
        (read_crowdflower, GOOD + "0.5\t1\t2", r"expected the share yes / \(yes \+ no\)"),
        (read_crowdflower, GOOD + "0\t0\t0", "expected the share"),
        (read_crowdflower, GOOD + "2\t2\t-1", "expected the share"),
        (read_crowdflower, GOOD + "1\t1e999\t0", "expected numbers for share of yes"),
        (read_captions, "1.jpg\tA dog .", "expected PHOTO.jpg#K, a tab and a caption"),
        (read_captions, "1.jpg#0", "expected PHOTO.jpg#K, a tab and a caption"),
        (read_captions, "a.jpg#0\tagain", "the caption a.jpg#0 is repeated"),
        (read_captions, b"1.jpg#0\tgr\xfcn \x81", "not UTF-8: byte 0xfc"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_line(tmp_path, read, line, message):
    first = {read_expert: GOOD + "1\t1\t2", read_crowdflower: GOOD + "0.333333333333\t1\t2"}
    path = tmp_path / "judged.txt"
    head = first.get(read, "a.jpg#0\tA dog .")
    path.write_bytes(head.encode() + b"\n\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(ValueError, match=f"judged.txt:3: .*{message}"):
        read(path)


def test_photos_and_captions_that_the_caption_file_lacks_are_named_or_left_out(files, capsys):
    lines = files["tokens"].read_text().splitlines(keepends=True)
    files["tokens"].write_text("".join(lines[5:]))
    arguments = ["--expert", str(files["expert"]), "--captions", str(files["tokens"])]
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert "of 54 judged pairs" in message and "100_ab0.jpg" in message and "--missing drop" in message
    assert "expert.txt:1" in message
    assert main([*arguments, "--missing", "drop", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    gone = sum("100_ab0.jpg" in f"{photo} {caption}" for photo, caption in files["pairs"])
    assert counts["missing"] == gone > 5 and counts["images"] == 11


def test_the_photo_with_an_odd_name_is_known_by_both(tmp_path):
    tokens, expert = tmp_path / "t.txt", tmp_path / "e.txt"
    tokens.write_text("".join(f"9.jpg.1#{k}\ta dog {k}\n1.jpg#{k}\ta cat {k}\n" for k in range(5)))
    expert.write_text("9.jpg\t1.jpg#0\t1\t1\t1\n1.jpg\t9.jpg#2\t1\t2\t1\n1.jpg\t9.jpg.1#3\t1\t2\t2\n")
    judged = judgments("Flickr8k-Expert", read_expert(expert), read_captions(tokens))
    assert judged.candidates == ["a cat 0", "a dog 2", "a dog 3"]
    assert judged.references["9.jpg"] == [f"a dog {k}" for k in range(5)]


def test_what_leaves_nothing_to_score_is_an_error(tmp_path, files, capsys):
    captions = read_captions(files["tokens"])
    with pytest.raises(ValueError, match="no judged pairs to score"):
        judgments("Flickr8k-CF", [], captions)
    few = {id: text for id, text in captions.items() if id == "100_ab0.jpg#0"}
    rows = [row for row in read_expert(files["expert"]) if row.caption == "100_ab0.jpg#0" == f"{row.photo}#0"]
    with pytest.raises(ValueError, match="100_ab0.jpg: all captions of the photo are judged ones; .*--own drop"):
        judgments("Flickr8k-CF", rows, few)
    assert main(["--expert", str(tmp_path / "nowhere.txt"), "--captions", str(files["tokens"])]) == 1
    assert "nowhere.txt" in capsys.readouterr().err
    assert main(["--expert", str(files["expert"]), "--captions", str(files["tokens"]), "--metrics", "blue"]) == 1
    assert "'blue'" in capsys.readouterr().err
