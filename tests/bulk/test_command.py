"""`capjax bulk`: every kind of input and output, resumption, and what is refused."""

import json

import pytest

from capjax.bulk.bulk_job import BulkJob
from data_prep.readers import READERS
from tests.bulk.conftest import write_tar
from tests.helpers.built_records import build_records
from tests.helpers.kill_bulk import rows, shards
from tests.helpers.tiny_job import predictions


@pytest.fixture
def expected(tiny, model):
    """{photo: caption} of all photos, in order, as `Predictor.caption` writes them in batches of 32."""
    paths = sorted(tiny.photos.glob("*.jpg"))
    return {path.name: each for path, each in zip(paths, model.caption(paths), strict=True)}


def texts(output) -> dict[str, str]:
    return {row["id"]: row["captions"][0]["text"] for row in rows(output)}


def test_the_photos_of_a_folder_get_the_captions_of_the_predictor(tiny, run, tmp_path, expected):
    status, out, err = run("--input", tiny.photos, "--shard-size", 32)
    assert (status, out.split(";")[0]) == (0, "60 media: 60 captioned, 0 failed"), err
    assert sorted(shards(tmp_path / "out")) == ["captions-00000-of-00002.jsonl", "captions-00001-of-00002.jsonl"]
    for row, (name, caption) in zip(rows(tmp_path / "out"), expected.items(), strict=True):
        entry = {"text": caption.text, "lang": "en", "score": caption.score, "origin": "generated"}
        assert row == {"id": name, "file_name": name, "captions": [entry]}
    assert (tmp_path / "out/failed.jsonl").read_text() == ""


def test_every_kind_of_input_gives_the_same_captions(tiny, run, tmp_path, expected):
    photos = {name: (tiny.photos / name).read_bytes() for name in list(expected)[:10]}
    (tmp_path / "list.txt").write_text("".join(f"{tiny.photos / name}\n\n" for name in photos))
    write_tar(tmp_path / "a.tar.gz", [(f"{name}", data) for name, data in photos.items()], "w:gz")
    inputs = {"list": [tmp_path / "list.txt"], "tar": [tmp_path / "a.tar.gz"]}
    inputs["files"] = [tiny.photos / name for name in photos]
    if pq := pytest.importorskip("pyarrow.parquet"):
        import pyarrow as pa

        pq.write_table(pa.table({"id": list(photos), "image": list(photos.values())}), tmp_path / "a.parquet")
        inputs["parquet"] = [tmp_path / "a.parquet"]
    for kind, names in inputs.items():
        status, _, err = run("--input", *names, output=tmp_path / kind)
        assert status == 0, err
        assert list(texts(tmp_path / kind).values()) == [expected[name].text for name in photos], kind
    assert list(texts(tmp_path / "tar")) == [name.removesuffix(".jpg") for name in photos]
    assert list(texts(tmp_path / "parquet")) == list(photos)


def test_records_get_the_captions_of_the_evaluation(tiny, run, tmp_path):
    for lang in ("en", "de"):
        status, _, err = run("--input", f"{tiny.data}@val", "--lang", lang, output=tmp_path / lang)
        assert status == 0, err
        assert texts(tmp_path / lang) == predictions(tiny.trained(), lang)


def test_several_captions_in_several_languages(tiny, run, tmp_path, model):
    photo = tiny.photos / "000.jpg"
    status, _, err = run("--input", photo, "--lang", "de", "--lang", "en", "--n", 3, "--beams", 4)
    assert status == 0, err
    (row,) = rows(tmp_path / "out")
    captions = [model.caption([photo], lang=lang, num_beams=4, num_captions=4)[0] for lang in ("de", "en")]
    expected = [each.text for best in captions for each in (best, *best.alternatives[:2])]
    assert [entry["text"] for entry in row["captions"]] == expected
    assert [entry["lang"] for entry in row["captions"]] == ["de"] * 3 + ["en"] * 3


def test_media_that_fail_are_rows_with_an_error_and_are_listed(tiny, run, tmp_path, expected):
    (tmp_path / "list.txt").write_text(f"{tiny.photos}/000.jpg\ngone.jpg\nlist.txt\n{tiny.photos}/001.jpg\n")
    status, out, _ = run("--input", tmp_path / "list.txt", "--shard-size", 3)
    assert status == 0 and "4 media: 2 captioned, 2 failed" in out
    good, gone, text, last = rows(tmp_path / "out")
    assert [good["captions"][0]["text"], last["captions"][0]["text"]] == [
        expected[name].text for name in ("000.jpg", "001.jpg")
    ]
    assert gone["captions"] == [] and gone["error"]["kind"] == "missing_photo"
    assert "gone.jpg does not exist" in gone["error"]["message"]
    assert text["error"]["kind"] == "not_an_image"
    failed = [json.loads(line) for line in (tmp_path / "out/failed.jsonl").read_text().splitlines()]
    assert [(row["id"], row["error"]) for row in failed] == [(row["id"], row["error"]) for row in (gone, text)]
    (tmp_path / "none.txt").write_text("gone.jpg\n")
    assert run("--input", tmp_path / "none.txt", output=tmp_path / "none")[0] == 1


def test_parquet_output_holds_the_same(tiny, run, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "list.txt").write_text(f"{tiny.photos}/000.jpg\ngone.jpg\n{tiny.photos}/001.jpg\n")
    for form in ("jsonl", "parquet"):
        status, out, err = run("--input", tmp_path / "list.txt", "--format", form, output=tmp_path / form)
        assert status == 0 and "3 media: 2 captioned, 1 failed" in out, err
    (path,) = (tmp_path / "parquet").glob("captions-*.parquet")
    table = pq.read_table(path).to_pylist()
    for row, other in zip(table, rows(tmp_path / "jsonl"), strict=True):
        assert row["id"] == other["id"] and row["error"] == other.get("error")
        captions = [{key: value for key, value in each.items() if value is not None} for each in row["captions"]]
        assert captions == other["captions"]
    assert (tmp_path / "parquet/failed.jsonl").read_text() == (tmp_path / "jsonl/failed.jsonl").read_text()


def test_a_stopped_job_continues_with_any_number_of_processes(tiny, run, tmp_path, monkeypatch, model):
    arguments = ("--input", tiny.photos, "--shard-size", 8)
    assert run(*arguments, output=tmp_path / "alone")[0] == 0
    write, interrupted = BulkJob.run, False

    def run_three(self, own, on_item):
        nonlocal interrupted
        interrupted = True
        write(self, own[:3], on_item)
        raise KeyboardInterrupt

    monkeypatch.setattr(BulkJob, "run", run_three)
    status, _, err = run(*arguments)
    assert status == 130 and "stopped; 3 of 8 shards are in" in err and "The same command continues" in err
    monkeypatch.setattr(BulkJob, "run", write)
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in shards(tmp_path / "out")}
    status, out, _ = run(*arguments, "--part", "2/2")
    assert status == 0 and "2 of 8 shards are missing: other parts" in out
    (tmp_path / "out/.captions-00007-of-00008.jsonl.1.tmp").write_text("left by a killed process")
    status, out, _ = run(*arguments)
    assert status == 0 and "60 media: 60 captioned" in out
    assert rows(tmp_path / "out") == rows(tmp_path / "alone")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in (tmp_path / "alone").iterdir()
    }
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before} == before, "nothing is done twice"


def test_another_job_in_the_same_folder_is_refused_and_told_what_differs(tiny, run, tmp_path, model):
    arguments = ["--input", tiny.photos, "--shard-size", 100]
    assert run(*arguments)[0] == 0
    before = (tmp_path / "out/captions-00000-of-00001.jsonl").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    for path in sorted(tiny.photos.glob("*.jpg"))[1:]:
        (other / path.name).write_bytes(path.read_bytes())
    for options, message in (
        (["--beams", "3"], "options decode num_beams is 3, was 2"),
        (["--lang", "de"], "options languages is ['de'], was ['en']"),
        (["--shard-size", "50"], "options shard_size is 50, was 100"),
        (["--format", "parquet"], "shards format is 'parquet', was 'jsonl'"),
    ):
        status, _, err = run(*arguments, *options)
        assert status == 1 and message in err and "another folder with --output" in err, err
    status, _, err = run("--input", other, "--shard-size", 100)
    assert status == 1 and "input 1: media is 59, was 60" in err, err
    (other / "000.png").write_bytes((tiny.photos / "000.jpg").read_bytes())
    status, _, err = run("--input", other, "--shard-size", 100)
    assert status == 1 and "input 1: other ids" in err, err
    assert (tmp_path / "out/captions-00000-of-00001.jsonl").read_bytes() == before


def test_ids_are_unique_or_get_the_names_of_their_inputs(tiny, run, tmp_path):
    photo = (tiny.photos / "000.jpg").read_bytes()
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, [("0.jpg", photo), ("1.jpg", photo)])
    inputs = ["--input", tmp_path / "a.tar", "--input", tmp_path / "b.tar"]
    status, _, err = run(*inputs)
    assert status == 1 and f"the id 0 is in --input {tmp_path}/a.tar and in --input {tmp_path}/b.tar" in err
    assert "--prefix-ids" in err
    assert run(*inputs, "--prefix-ids", "--shard-size", 3)[0] == 0
    assert list(texts(tmp_path / "out")) == ["a.tar/0", "a.tar/1", "b.tar/0", "b.tar/1"]
    write_tar(tmp_path / "c.tar", [("0.jpg", photo), ("1.jpg", photo), ("0.png", photo)])
    status, _, err = run("--input", tmp_path / "c.tar", output=tmp_path / "c")
    assert status == 1 and "the id 0 is there 2 times" in err
    status, _, err = run("--input", f"{tiny.data}@val", tiny.photos, output=tmp_path / "d")
    assert status == 1 and "may be those of" in err
    splits = [f"{tiny.data}@val", f"{tiny.data}@train"]
    assert run("--input", *splits, output=tmp_path / "e")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "gone"], "--input gone: no such file or folder"),
        (["--input", "empty"], "no photos or videos in this folder"),
        (["--input", "zeros.bin"], "is no folder, list of paths, tar, Parquet file, photo or video"),
        (["--input", "DATA"], "this folder is a dataset; name a split of it"),
        (["--input", "DATA@gone"], "no split 'gone'"),
        (["--input", "list.txt", "--lang", "fr"], "it was not trained on 'fr'"),
        (["--input", "list.txt", "--n", "5"], "5 captions per item: with method='beam', num_beams=2"),
        (["--input", "list.txt", "--window", "5"], "for models that find events"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(tiny, run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "zeros.bin").write_bytes(bytes(5000))
    (tmp_path / "list.txt").write_text("a.jpg\n")
    status, _, err = run(*[each.replace("DATA", str(tiny.data)) for each in arguments])
    assert status == 1 and message in err and "Traceback" not in err, err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--part", "0/2"], ["--part", "3/2"], ["--part", "x"], ["--shard-size", "0"]])
def test_wrong_arguments_are_usage_errors(run, option):
    with pytest.raises(SystemExit) as raised:
        run("--input", "a", *option)
    assert raised.value.code == 2


def test_the_output_is_read_by_prepare_jsonl_into_records_with_generated_captions(tiny, run, tmp_path):
    from capjax.data.record import RecordSource

    assert run("--input", tiny.photos, "--lang", "en", "--lang", "de", "--shard-size", 25)[0] == 0
    items = READERS.make("jsonl", tiny.photos, captions=tmp_path / "out")
    build_records("jsonl", items, tmp_path / "data")
    captions = {}
    for split in ("train", "val", "test"):
        source = RecordSource(tmp_path / "data", split)
        captions |= {record.id: record.captions for record in map(source.__getitem__, range(len(source)))}
    assert captions.keys() == {row["id"] for row in rows(tmp_path / "out")}
    for row in rows(tmp_path / "out"):
        assert [(each.text, each.lang) for each in captions[row["id"]]] == [
            (entry["text"], entry["lang"]) for entry in row["captions"]
        ]
        assert {each.origin for each in captions[row["id"]]} == {"generated"}
