"""The record: what goes in comes out."""

import json
import pickle
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.proto import tf_example_pb2

from capjax.data.dataset_folder import fingerprint
from capjax.data.record import (
    Label,
    Record,
    RecordCaption,
    RecordSource,
    TranscriptSegment,
    parse,
    serialize,
    tfds_features,
)
from data_prep.shards import write_records
from tests.helpers.digests import flip_bit
from tests.helpers.tiny_job import ROOT

seconds = st.none() | st.floats(0, 1e4, width=32)
captions = st.builds(
    RecordCaption, st.text(), st.sampled_from(["en", "pt-BR", "zh"]), seconds, seconds, st.text(), st.integers(0, 3),
    st.sampled_from(["human", "generated"]), st.sampled_from(["", "de"]),
)  # fmt: skip
fraction = st.floats(0, 1, width=32)
labels = st.builds(Label, st.text(), st.none() | st.tuples(fraction, fraction, fraction, fraction))
segments = st.builds(
    TranscriptSegment, st.text(), st.floats(0, 99, width=32), st.floats(0, 99, width=32), st.sampled_from(["en", "de"]),
    st.sampled_from(["given", "spoken"]), st.none() | st.floats(0, 1, width=32), st.text(),
)  # fmt: skip
many = {"max_size": 3}


@st.composite
def records(draw) -> Record:
    frames = draw(st.lists(st.binary(), **many))
    features, grid = None, None
    if draw(st.booleans()):
        views, t, grid = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.sampled_from([(1, 1), (2, 3)]))
        features = np.arange(views * t * grid[0] * grid[1] * 4).reshape(views, t, -1, 4).astype(np.float16)
    return Record(
        id=draw(st.text()),
        media=draw(st.text()),
        captions=tuple(draw(st.lists(captions, **many))),
        frames=tuple(frames),
        frame_times=np.arange(len(frames), dtype=np.float32) / 3,
        duration=draw(st.floats(0, 1e5, width=32)),
        labels=tuple(draw(st.lists(labels, **many))),
        transcript=tuple(draw(st.lists(segments, **many))),
        audio=draw(st.binary()),
        audio_rate=draw(st.sampled_from([0, 16_000, 48_000])),
        features=features,
        feature_grid=grid,
        video=draw(st.text()),
        start=draw(st.floats(0, 1e5, width=32)),
    )


def assert_equal(a: Record, b: Record):
    for name in Record.__slots__:
        left, right = getattr(a, name), getattr(b, name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
        else:
            assert left == right, name


def write_dataset(folder, *shards: list[Record], split: str = "train"):
    folder.mkdir()
    written = [
        write_records(folder / f"mine-{split}.array_record-{index:05d}-of-{len(shards):05d}", records)
        for index, records in enumerate(shards)
    ]
    counts, sizes = zip(*written, strict=True)
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds_features(),
        split_infos=[tfds.core.SplitInfo(name=split, shard_lengths=[*counts], num_bytes=sum(sizes))],
        filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        check_data=False,
    )
    return folder


@settings(max_examples=15, deadline=None)
@given(st.lists(records(), min_size=1, max_size=4))
def test_records_come_back_as_they_went_in(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("record") / "data"
    source = RecordSource(write_dataset(folder, written), "train")
    assert len(source) == len(written)
    for index, record in enumerate(written):
        assert_equal(source[index], record)


def test_tfds_reads_it_as_any_dataset(tmp_path):
    record = Record("1", "a.jpg", (RecordCaption("Ein Hund.", "de"),), frames=(b"\xff\xd8",))
    source = tfds.builder_from_directory(write_dataset(tmp_path / "d", [record])).as_data_source("train")
    example = source[0]
    assert example["id"] == b"1"
    assert list(example["captions"]["text"]) == [b"Ein Hund."]
    assert list(example["frames"]) == [b"\xff\xd8"]


def plain(record: Record) -> dict:
    """A record as what a user of TFDS would give to encode."""
    nan = float("nan")

    def number(value):
        return nan if value is None else value

    features = record.features
    return {
        "id": record.id,
        "media": record.media,
        "frames": list(record.frames),
        "frame_times": record.frame_times,
        "duration": record.duration,
        "captions": [
            {
                "text": c.text,
                "lang": c.lang,
                "start": number(c.start),
                "end": number(c.end),
                "kind": c.kind,
                "set": c.set,
                "origin": c.origin,
                "source_lang": c.source_lang,
            }
            for c in record.captions
        ],
        "labels": [{"name": x.name, "box": np.asarray(x.box or [nan] * 4, np.float32)} for x in record.labels],
        "transcript": [
            {
                "text": s.text,
                "start": s.start,
                "end": s.end,
                "lang": s.lang,
                "kind": s.kind,
                "confidence": number(s.confidence),
                "tool": s.tool,
            }
            for s in record.transcript
        ],
        "audio": record.audio,
        "audio_rate": record.audio_rate,
        "features": b"" if features is None else features.tobytes(),
        "features_shape": [] if features is None else list(features.shape),
        "feature_grid": list(record.feature_grid or ()),
        "video": record.video,
        "start": record.start,
    }


@settings(max_examples=40, deadline=None)
@given(records())
def test_the_bytes_are_those_of_tfds(record):
    schema = tfds_features()
    serializer = example_serializer.ExampleSerializer(schema.get_serialized_info())
    theirs = serializer.get_tf_example(schema.encode_example(plain(record)))
    assert serialize(record) == theirs.SerializeToString(deterministic=True)


@settings(max_examples=100, deadline=None)
@given(records())
def test_parsing_undoes_serializing(record):
    assert_equal(parse(serialize(record)), record)


@pytest.mark.parametrize(
    ("media", "captions", "missing"),
    [
        ("a.jpg", (RecordCaption("a cat"), RecordCaption("a dog")), ("captions/set", "video", "start")),
        ("a.mp4", (RecordCaption("a dog", "en", 1.0, 2.0, "event", 1),), (
            "captions/origin", "captions/source_lang", "transcript/kind", "transcript/confidence", "transcript/tool",
            "video", "start",
        )),
    ],
)  # fmt: skip
def test_records_of_older_datasets_have_defaults_for_columns_that_came_later(media, captions, missing):
    record = Record("1", media, captions, transcript=(TranscriptSegment("sit", 0.0, 1.0, "en"),), duration=5.0)
    example = tf_example_pb2.Example.FromString(serialize(record))
    for column in missing:
        del example.features.feature[column]
    assert_equal(parse(example.SerializeToString()), record)


def test_features_are_a_view_of_what_was_read():
    features = np.arange(32, dtype=np.float16).reshape(1, 1, 4, 8)
    back = parse(serialize(Record("1", "a.jpg", (), features=features, feature_grid=(2, 2)))).features
    assert not back.flags.owndata
    np.testing.assert_array_equal(back, features)


def test_no_dataset_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="capjax prepare"):
        RecordSource(tmp_path, "train")


def test_an_unknown_split_names_those_there_are(tmp_path):
    folder = write_dataset(tmp_path / "d", [Record("1", "a.jpg", ())])
    with pytest.raises(ValueError, match="no split 'val'; it has train"):
        RecordSource(folder, "val")


@pytest.mark.parametrize("left", [None, 0, 5_000, 2**16, 70_000, -1])
def test_a_file_that_is_missing_or_cut_short_is_named(tmp_path, left):
    first, second = ([Record(f"{name}{i}", "a.jpg", (), frames=(bytes(50_000),)) for i in range(3)] for name in "ab")
    folder = write_dataset(tmp_path / "d", first, second)
    file = folder / "mine-train.array_record-00001-of-00002"
    whole = file.read_bytes()
    file.unlink()
    if left is not None:
        file.write_bytes(whole[:left])
    source = RecordSource(folder, "train")
    assert [source[i].id for i in range(3)] == ["a0", "a1", "a2"]
    with pytest.raises(ValueError, match=rf"{re.escape(str(file))} is missing, cut short or damaged .*capjax prepare"):
        source[3]


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("left", [None, 0, 40])
def test_metadata_that_are_missing_or_cut_short_are_named(tmp_path, name, left):
    folder = write_dataset(tmp_path / "d", [Record("1", "a.jpg", ())])
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if left is not None:
        (folder / name).write_bytes(whole[:left])
    with pytest.raises((FileNotFoundError, ValueError), match=f"{folder}: .*{name} .*missing.*capjax prepare"):
        RecordSource(folder, "train")


@pytest.mark.parametrize("name", ["report.json", "sizes-train.json"])
def test_a_damaged_report_is_named(tmp_path, name):
    folder = write_dataset(tmp_path / "d", [Record("1", "a.jpg", ())])
    (folder / name).write_text('{"splits": {"tr')
    source = RecordSource(folder, "train")
    with pytest.raises(ValueError, match=f"{folder / name} is cut short or damaged .*copy the dataset again"):
        _ = source.sizes() if name.startswith("sizes") else source.languages


@pytest.fixture
def extracted(tmp_path):
    """A dataset of features, and beside it the dataset with the pictures."""
    (tmp_path / "data").mkdir()
    pictures = write_dataset(tmp_path / "data/pictures", [Record("1", "a.jpg", (), frames=(b"photo",))])
    features = write_dataset(tmp_path / "data/features", [Record("1", "a.jpg", ())])
    origin = {"path": "../pictures", "fingerprint": fingerprint(pictures)}
    (features / "report.json").write_text(json.dumps({"extracted_from": origin}))
    return features


def test_the_dataset_of_which_features_were_extracted_is_found(extracted, tmp_path, monkeypatch):
    assert RecordSource(extracted, "train").original()[0].frames == (b"photo",)
    (tmp_path / "data").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert RecordSource("features", "train").original()[0].frames == (b"photo",)


def test_another_dataset_in_the_place_of_the_original_is_not_read(extracted):
    pictures = extracted.with_name("pictures")
    shutil.rmtree(pictures)
    with pytest.raises(FileNotFoundError, match=f"{pictures}, from which .*features was extracted, is not there"):
        RecordSource(extracted, "train").original()
    write_dataset(pictures, [Record("1", "a.jpg", (), frames=(b"another photo",))])
    with pytest.raises(ValueError, match=f"{pictures}, from which .*features was extracted, has been replaced"):
        RecordSource(extracted, "train").original()
    (extracted / "report.json").unlink()
    with pytest.raises(FileNotFoundError, match="features does not record the dataset"):
        RecordSource(extracted, "train").original()


def test_a_source_names_no_address(tmp_path):
    """Grain keeps it in the iterator's state, which must be the same in the next process."""
    folder = write_dataset(tmp_path / "d", [Record("1", "a.jpg", ())])
    assert repr(RecordSource(folder, "train")) == "RecordSource(d/train, 1 records)"


def test_a_source_goes_to_another_process(tmp_path):
    folder = write_dataset(tmp_path / "d", [Record("1", "a.jpg", (RecordCaption("x"),))])
    assert pickle.loads(pickle.dumps(RecordSource(folder, "train")))[0].captions == (RecordCaption("x"),)


def test_reading_and_writing_need_neither_tensorflow_nor_jax(tmp_path):
    folder = write_dataset(tmp_path / "d", [Record("1", "a.jpg", (RecordCaption("x"),), frames=(b"\xff",))])
    code = f"""
import sys
from pathlib import Path
from capjax.data.record import RecordSource
from data_prep.shards import write_records
record = RecordSource({str(folder)!r}, "train")[0]
write_records(Path({str(tmp_path / "copy")!r}), [record])
assert not {{"tensorflow", "jax", "torch"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
    assert (tmp_path / "copy").stat().st_size


@pytest.mark.parametrize("dataset", ["photos", "features"])
def test_a_flipped_bit_in_a_shard_is_an_error_or_in_no_record(dataset, tmp_path):
    """ArrayRecord compares each record with a hash when it is read; between records there is padding."""
    folder = Path(shutil.copytree(ROOT / "tests/fixtures/v0.1.0/data" / dataset, tmp_path / "data"))
    (path,) = folder.glob("*-val.array_record-*")
    whole, expected = path.read_bytes(), examples(folder)
    in_use = [number for number, byte in enumerate(whole) if byte]
    rng, failed = random.Random(0), 0
    for _ in range(150):
        data = bytearray(whole)
        data[rng.choice(in_use)] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            assert examples(folder) == expected
        except ValueError as error:
            assert str(path) in str(error) and "copy the dataset again" in str(error)
            failed += 1
    assert failed > 100


def examples(folder: Path) -> list[bytes]:
    source = RecordSource(folder, "val")
    return [serialize(source[index]) for index in range(len(source))]


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "report.json", "sizes-val.json"])
def test_a_flipped_bit_in_the_metadata_is_named(tiny, name, tmp_path):
    folder = Path(shutil.copytree(tiny.data, tmp_path / "data"))
    flip_bit(folder / name)
    with pytest.raises(ValueError, match=f"{folder / name} is cut short or damaged .*again"):
        source = RecordSource(folder, "val")
        assert source.languages and source.sizes()


@pytest.mark.parametrize("name", ["report.json", "sizes-val.json", "features.json", "dataset_info.json"])
@pytest.mark.parametrize("content", [b"[]", b"null", b'{"splits": []}', b'{"frames": [1, "a"]}', b'{"frames": [1]}'])
def test_metadata_of_another_type_is_named(tiny, name, content, tmp_path):
    folder = Path(shutil.copytree(tiny.data, tmp_path / "data"))
    (folder / "digests.json").unlink()
    (folder / name).write_bytes(content)
    try:
        source = RecordSource(folder, "val")
        source.languages, source.media, source.videos, source.sizes()  # noqa: B018
    except ValueError as error:
        assert str(folder) in str(error)
    else:
        assert name == "report.json" and b"frames" in content, "unknown keys are ignored"
