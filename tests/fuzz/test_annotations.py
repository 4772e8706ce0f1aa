"""Damaged annotations of all readers: each item is kept or reported, and nothing but an InputError is raised.

A failure names its case, which `_case(number)` makes again.
"""

import copy
import json
import random
import resource
import shutil
import time
from pathlib import Path

import pytest

from capjax.data.record import Record, serialize
from data_prep.build_report import Report, TooMuchBad
from data_prep.cli import main
from data_prep.plan import check_items
from data_prep.readers import READERS, InputError, Item, Problem
from data_prep.readers.translations import Source, Translations
from tests.helpers.fuzzing import count_cases
from tests.helpers.pictures import encode, picture

CASES = count_cases(400, 10_000)
# Largest time of a case, and memory of all cases.
_SECONDS, _BYTES = 10, 2**30

_EVENTS = {"duration": 10.0, "timestamps": [[0, 2.5], [2, 12]], "sentences": ["One.", "Two."]}
_STEPS = [{"segment": [1, 5], "id": 0, "sentence": "peel"}, {"segment": [6, 7], "id": 1, "sentence": "fry"}]
_SENTENCES = [{"tokens": ["a", "dog"], "raw": "A dog.", "imgid": 0, "sentid": 0}, {"raw": "A cat."}]
_CAPTIONS = ["x", {"text": "y", "start": 1, "end": 2, "set": 0, "lang": "en", "kind": "event"}]
_SPEECH = [{"text": "z", "start": 0, "end": 1, "lang": "en"}]
_TABLE = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"
# {case: (reader, {file: content})}; lists are JSON lines.
FORMATS = {
    "coco": ("coco", {
        "annotations/captions_val2017.json": {
            "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
            "annotations": [{"image_id": id, "caption": "A dog."} for id in (1, 2, 1)],
        },
        "annotations/instances_val2017.json": {
            "categories": [{"id": 4, "name": "dog"}],
            "images": [{"id": 1, "width": 20, "height": 10}, {"id": 2, "width": 20, "height": 10}],
            "annotations": [{"image_id": id, "category_id": 4, "bbox": [1, 2, 3.5, 4]} for id in (1, 2)],
        },
    }),
    "karpathy": ("karpathy", {"dataset_flickr8k.json": {"dataset": "flickr8k", "images": [
        {"filename": f"{id}.jpg", "cocoid": cocoid, "split": split, "sentences": _SENTENCES, "filepath": "images"}
        for id, cocoid, split in (("a", 7, "train"), ("b", 9, "restval"))
    ]}}),
    "flickr8k": ("flickr8k", {
        "Flickr8k.token.txt": "a.jpg#0\tA dog .\na.jpg#1\tA hound .\nb.jpg#0\tA cat .\n",
        "Flickr_8k.trainImages.txt": "a.jpg\n", "Flickr_8k.devImages.txt": "b.jpg\n",
    }),
    "flickr8k of Kaggle": ("flickr8k", {
        "captions.txt": 'image,caption\na.jpg,A dog .\nb.jpg,"A cat , a 12"" pizza"\n',
    }),
    "flickr30k": ("flickr30k", {
        "results.csv": "image_name| comment_number| comment\na.jpg| 0| A dog .\nb.jpg| 0| A cat | a dog .\n",
        "train.txt": "a\nb.jpg\n",
    }),
    "csv": ("csv", {
        "captions.csv": 'image,caption,lang,split\na.jpg,"A dog, a\ncat",en,train\nb.jpg,A 12" pizza,de,val\n',
    }),
    "jsonl": ("jsonl", {"captions.jsonl": [
        {"image": f"{id}.jpg", "split": "val", "lang": "en", "id": id, "captions": ["x", {"text": "y", "lang": "en"}],
         "labels": [{"name": "dog", "box": [0, 0.5, 1, 1]}, {"name": "cat"}]}
        for id in ("a", "b")
    ]}),
    "metadata": ("jsonl", {
        "metadata.jsonl": [{"file_name": f"{id}.jpg", "text": "A dog.", "language": "en"} for id in "aba"],
    }),
    "jsonl of videos": ("jsonl", {"captions.jsonl": [
        {"video": f"{id}.mp4", "split": "val", "clip": [0, 9], "captions": _CAPTIONS, "transcript": _SPEECH}
        for id in "ab"
    ]}),
    "msrvtt": ("msrvtt", {"test_videodatainfo.json": {
        "videos": [
            {"video_id": id, "split": "test", "url": "https://youtu.be/12345678901", "start time": 1, "end time": 5.5}
            for id in ("a", "b")
        ],
        "sentences": [{"video_id": id, "caption": f"{id} runs", "sen_id": 0} for id in ("a", "b", "a")],
    }}),
    "activitynet": ("activitynet", {"train.json": {"v_a": _EVENTS}, "val_1.json": {"v_b": _EVENTS}}),
    "youcook2": ("youcook2", {"youcookii_annotations_trainval.json": {"database": {
        id: {"duration": 60, "subset": "training", "annotations": _STEPS} for id in ("a", "b")
    }}}),
    "vitt": ("vitt", {
        "ViTT-annotations.json": [
            {"id": id, "annotations": [{"timestamp": 0, "tag": "x"}, {"timestamp": 900, "tag": "y"}]} for id in "ab"
        ],
        "train_id.txt": "a\nb\n", "id_mapping.json": {"a": "v_a"},
    }),
    "msvd": ("msvd", {"AllVideoDescriptions.txt": "# all\na_1_5 A dog runs.\na_1_5 Dogs.\nb_2_9 A cat.\n",
                      "train_list.txt": "a_1_5\nvid2\n", "youtube_mapping.txt": "a_1_5 vid1\nb_2_9 vid2\n"}),
    "msvd table": ("msvd", {
        "video_corpus.csv": _TABLE + 'a,1,5,3,clean,2,English,"A dog, no cat."\nb,2,9,3,clean,2,German,Ein\n'}),
    "translations": ("jsonl", {"captions.jsonl": [{"image": f"{id}.jpg", "caption": "A dog."} for id in "ab"],
                               "captions.de.txt": "a.jpg#de#0\tEin Hund.\nb.jpg#0\tEine Katze.\nb.jpg#zhc#1 猫\n"}),
}  # fmt: skip
_ODD = [
    None, True, False, 0, -1, 7, 2**31, 10**400, 0.5, float("nan"), float("inf"), "", " ", "a", "b", "1", "../x",
    "/etc/passwd", "\ud800", "\0", "A.JPG", "a", "train", "val", "en", "nan", "v_a", "a.jpg", "x" * 300, "\u2028", '"',
    [], [[]], [None],
    {}, {"id": 1}, {"text": "x"}, [0, 1], [1, 0], [float("nan"), 1], [0, 0, 1, 1], ["x"], {"a": [1]},
]  # fmt: skip
_JUNK = [
    b"", b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe9", b"\n", b"\r", b"\r\n", b'"', b'""', b'"\n', b",",
    b",,,", b"\t", b"|",
    b"#", b"{", b"}", b"[" * 2000, b"[[[[", b"\\", b"\\ud800", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b",
    b"\x0c", b"NaN", b"1e999", b"-0", b"null", b"a.jpg", b"9" * 5000, b" " * 100,
]  # fmt: skip
_KEYS = ["caption_de", "language", "text", "images", "fiel_name", "file_name", "\ud800", ""]


def _text(content) -> bytes:
    if isinstance(content, list):
        content = "\n".join(json.dumps(row) for row in content)
    elif not isinstance(content, str):
        content = json.dumps(content)
    return content.encode("utf-8", "surrogatepass")


def _other_value(rng: random.Random, content):
    """The content with other values at one to three places, or without them."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        value = content
        while True:
            keys = list(value) if isinstance(value, dict) else range(len(value))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
                value = value[key]
                continue
            old = value[key]
            if rng.random() < 0.1:
                del value[key]
            elif rng.random() < 0.1 and isinstance(value, dict):
                value[rng.choice(_KEYS)] = value.pop(key)
            else:
                value[key] = copy.deepcopy(rng.choice([*_ODD, old, [old], {"x": old}, str(old)]))
            break
    return content


def _other_bytes(rng: random.Random, data: bytes) -> bytes:
    """The bytes with others at one to three places; also cut off or repeated."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        start = rng.randrange(len(data) + 1)
        stop = min(len(data), start + rng.choice([0, 0, 1, 1, 2, 5, 40]))
        again = data[rng.randrange(len(data) + 1) :]
        junk = rng.choice([*_JUNK, rng.randbytes(rng.randrange(1, 5)), data[start:stop] * 2, again])
        data = data[:start] + junk + data[stop:]
        if rng.random() < 0.1:
            data = data[: rng.randrange(len(data) + 1)]
    return data


def _case(number: int) -> tuple[str, dict[str, bytes], str]:
    """(format, {file: bytes}, the damaged file) of a case."""
    rng = random.Random(number)
    name = rng.choice(sorted(FORMATS))
    files = FORMATS[name][1]
    damaged = rng.choice(sorted(files))
    contents = {file: _text(content) for file, content in files.items()}
    if not isinstance(files[damaged], str) and rng.random() < 0.6:
        contents[damaged] = _text(_other_value(rng, files[damaged]))
    else:
        contents[damaged] = _other_bytes(rng, contents[damaged])
    return name, contents, damaged


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A folder with the media that the undamaged annotations name."""
    folder = tmp_path_factory.mktemp("media")
    for parent in ("", "val2017", "images"):
        for seed, name in enumerate(("a.jpg", "b.jpg")):
            (folder / parent).mkdir(exist_ok=True)
            (folder / parent / name).write_bytes(encode(picture(8, 8, seed)))
    for name in ("a", "b", "v_a", "v_b", "a_1_5", "b_2_9"):
        (folder / f"{name}.mp4").write_bytes(name.encode())
    (folder / "annotations").mkdir()
    return folder


def _reader(name: str, folder: Path):
    items = READERS.make(FORMATS[name][0], folder)
    if name == "translations":
        return Translations([Source(folder / "captions.de.txt")]).join(items)
    return items


def _check(name: str, folder: Path, damaged: str):
    """Reads the annotations of a format, and checks that each result can be written."""
    results = []

    def kept():
        for result in _reader(name, folder):
            results.append(result)
            yield result

    report = Report("fuzz", 1.0, False)
    try:
        splits, _ = check_items(kept(), report, keep_copies=True)
    except (InputError, TooMuchBad) as error:
        assert str(error)
        splits = {}
    items = [result for result in results if isinstance(result, Item)]
    problems = [result for result in results if isinstance(result, Problem)]
    for problem in problems:
        assert problem.where and problem.message and len(problem.message) < 20_000, problem
        assert problem.costs in ("photo", "video", "caption", "absent", "nothing")
    for item in items:
        assert not item.split or item.media.resolve().is_relative_to(folder), item
        for caption in item.captions:
            assert caption.text.strip() and (caption.start is None or 0 <= caption.start < caption.end), caption
        for label in item.labels:
            assert label.box is None or all(0 <= edge <= 1 for edge in label.box), label
    stored = {caption for part in splits.values() for item in part for caption in item.captions}
    reported = {problem.id for problem in report.problems} | {problem.where for problem in report.problems}
    if splits:
        for item in items:
            assert set(item.captions) <= stored or not item.split or reported & {item.id, item.where}, item
    for part in splits.values():
        for item in part:
            serialize(Record(item.id, item.name, item.captions, labels=item.labels, transcript=item.transcript))
    report.write(folder / "report.json", finished=True)
    json.loads((folder / "report.json").read_bytes())
    _check_lines(name, folder, damaged, results)


def _check_lines(name: str, folder: Path, damaged: str, results: list):
    """Each line of JSON lines gives an item or a problem."""
    if damaged in ("captions.jsonl", "metadata.jsonl"):
        data = (folder / damaged).read_bytes()
        if b"\r" in data or data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return
        located = {int(result.where.split(":")[1]) for result in results if result.where.startswith(f"{damaged}:")}
        lines = enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
        assert {number for number, line in lines if line.decode("utf-8", "replace").strip()} <= located


def _run(number: int, folder: Path):
    name, contents, damaged = _case(number)
    for file, data in contents.items():
        (folder / file).write_bytes(data)
    start = time.monotonic()
    try:
        _check(name, folder, damaged)
        assert time.monotonic() - start < _SECONDS
    except BaseException as error:
        error.add_note(f"case {number}: {name}, {damaged}: {contents[damaged][:300]!r}")
        raise
    finally:
        for file in contents:
            (folder / file).unlink(missing_ok=True)


@pytest.mark.parametrize("part", range(10))
def test_damaged_annotations_cost_what_is_damaged_alone(media, part):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(part, CASES, 10):
        _run(number, media)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < _BYTES


@pytest.mark.parametrize("name", FORMATS)
def test_undamaged_annotations_are_read_without_problems(media, name):
    for file, content in FORMATS[name][1].items():
        (media / file).write_bytes(_text(content))
    try:
        results = list(_reader(name, media))
    finally:
        for file in FORMATS[name][1]:
            (media / file).unlink()
    assert len({result.id for result in results if isinstance(result, Item)}) == 2
    assert not [result for result in results if isinstance(result, Problem)]


def test_the_command_gives_a_dataset_or_one_error(media, tmp_path, capsys):
    """A part of the cases through the whole command."""
    for number in range(0, CASES, max(20, CASES // 200)):
        name, contents, _ = _case(number)
        for file, data in contents.items():
            (media / file).write_bytes(data)
        arguments = [FORMATS[name][0], "--input", str(media), "--output", str(tmp_path / "out"), "--workers", "1"]
        if name == "translations":
            arguments += ["--translations", str(media / "captions.de.txt")]
        status = main([*arguments, "--max-bad", "1"])
        errors = capsys.readouterr().err
        assert status in (0, 1) and "Traceback" not in errors and "unforeseen" not in errors, (number, errors)
        assert (tmp_path / "out").exists() == (status == 0), number
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shutil.rmtree(tmp_path / "out.partial", ignore_errors=True)
        for file in contents:
            (media / file).unlink()
