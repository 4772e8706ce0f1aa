"""Whatever is in an annotation file: a reader gives items and problems, or says in an InputError what is wrong."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.readers import InputError
from tests.helpers.reader_results import found, put

_VIDEO = {"duration": 10.0, "timestamps": [[0, 2.5], [2, 12]], "sentences": ["One.", "Two."]}
_STEPS = [{"segment": [1, 5], "id": 0, "sentence": "peel"}, {"segment": [6, 7], "id": 1, "sentence": "fry"}]
_CSV = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"
FILES = {
    "msrvtt": ("test_videodatainfo.json", {
        "videos": [
            {"video_id": id, "split": "test", "url": "https://youtu.be/12345678901", "start time": 1, "end time": 5.5}
            for id in ("a", "b")
        ],
        "sentences": [{"video_id": id, "caption": f"{id} runs", "sen_id": 0} for id in ("a", "b", "a")],
    }),
    "activitynet": ("val_1.json", {"v_a": _VIDEO, "v_b": _VIDEO}),
    "youcook2": ("youcookii_annotations_trainval.json", {
        "database": {id: {"duration": 60, "subset": "training", "annotations": _STEPS} for id in ("a", "b")},
    }),
    "vitt": ("ViTT-annotations.json", [
        {"id": id, "annotations": [{"timestamp": 0, "tag": "x"}, {"timestamp": 900, "tag": "y"}]} for id in ("a", "b")
    ]),
    "jsonl": ("captions.jsonl", [
        {"video": f"{id}.mp4", "split": "val", "clip": [0, 9], "lang": "en", "id": id,
         "captions": ["x", {"text": "y", "start": 1, "end": 2, "set": 0, "lang": "en", "kind": "event"}],
         "transcript": [{"text": "z", "start": 0, "end": 1, "lang": "en"}], "labels": [{"name": "dog"}]}
        for id in ("a", "b")
    ]),
    "msvd": ("AllVideoDescriptions.txt", "# all\na_1_5 A dog runs.\na_1_5 Dogs.\nb_2_9 A cat.\n"),
    "msvd table": ("video_corpus.csv", _CSV + 'a,1,5,3,clean,2,English,"A dog, no cat."\nb,2,9,3,clean,2,German,Ein\n'),
}  # fmt: skip
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=5), st.just("\ud800"),
    st.just([]), st.just({}), st.lists(st.integers(-2, 9), max_size=3),
    st.sampled_from(["../x", "a", "b", "v_a", "train"]),
    st.dictionaries(st.sampled_from(["id", "text", "start"]), st.integers(), max_size=2),
)  # fmt: skip


def _text(content) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(json.dumps(row) for row in content)
    return json.dumps(content)


@st.composite
def changed(draw, value):
    """A copy of a JSON value with something else in one of its places, or without it."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 5)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(keys))
        value = value.copy()
        if draw(st.integers(0, 5)):
            value[key] = draw(changed(value[key]))
        elif isinstance(value, dict):
            del value[key]
        else:
            value.pop(key)
        return value
    return draw(ODD)


@pytest.fixture
def folder(tmp_path):
    return put(tmp_path / "in", *(f"{id}.mp4" for id in "ab"), "v_a.mp4", "v_b.mp4")


def read(name: str, folder, data: bytes):
    file = FILES[name][0]
    (folder / file).write_bytes(data)
    try:
        items, problems = found(name.split()[0], folder)
    except InputError as error:
        assert file in str(error), error
        return
    for item in items:
        assert item.id and item.media.parent == folder and item.where.startswith(file)
        for caption in item.captions:
            assert caption.text.strip() and caption.text.encode()
            assert caption.start is None or 0 <= caption.start < caption.end
        assert item.clip is None or 0 <= item.clip[0] < item.clip[1]
    for problem in problems:
        assert problem.where.startswith(file) and problem.message and problem.kind
        assert problem.costs in ("photo", "video", "caption", "absent", "nothing")
    locations = {one.where for one in [*items, *problems]}
    if name == "jsonl":
        assert locations == {f"{file}:{number}" for number, line in enumerate(data.split(b"\n"), 1) if line.strip()}
    elif name == "msrvtt":
        count = len(json.loads(data.decode("utf-8-sig", "surrogateescape"))["videos"])
        assert {f"{file} videos[{number}]" for number in range(count)} <= locations


SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", FILES)
def test_the_undamaged_file_is_read_without_problems(name, folder):
    (folder / FILES[name][0]).write_text(_text(FILES[name][1]))
    items, problems = found(name.split()[0], folder)
    assert (len(items), problems) == (2, [])


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("msvd")])
@SETTINGS
@given(st.data())
def test_other_values_in_any_place(name, folder, data):
    read(name, folder, _text(data.draw(changed(FILES[name][1]))).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", FILES)
@SETTINGS
@given(st.data())
def test_other_bytes_in_any_place(name, folder, data):
    content = _text(FILES[name][1]).encode()
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(start + 40, len(content))))
    junk = data.draw(st.one_of(st.binary(max_size=6), st.sampled_from([b"\xff\xfe", b"\n", b'"', b"[" * 2000])))
    read(name, folder, content[:start] + junk + content[stop:])


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere(name, folder):
    content = _text(FILES[name][1]).encode()
    for stop in range(0, len(content), 7):
        read(name, folder, content[:stop])


@pytest.mark.parametrize("name", ["vitt", "msvd"])
@SETTINGS
@given(listed=st.binary(max_size=20), mapping=st.one_of(st.binary(max_size=20), st.sampled_from([b"{}", b'{"a": 3}'])))
def test_lists_and_mappings_may_be_damaged_too(name, folder, listed, mapping):
    shutil.copy(folder / "a.mp4", folder / "a_1_5.mp4")
    (folder / FILES[name][0]).write_text(_text(FILES[name][1]))
    (folder / ("train_id.txt" if name == "vitt" else "train_list.txt")).write_bytes(listed + b"\na\na_1_5\nvid1\n")
    (folder / ("id_mapping.json" if name == "vitt" else "youtube_mapping.txt")).write_bytes(mapping)
    try:
        items, problems = found(name, folder)
    except InputError:
        return
    assert "train" in {item.split for item in items} | {problem.split for problem in problems}
