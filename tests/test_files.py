"""Paths as users write them, and files that appear whole, on disk and in a bucket."""

import importlib.util
from pathlib import Path

import pytest

from capjax.files import absolute, is_url, local_path, read_json, remove_tree, storage_path, write_bytes, write_text
from tests.helpers.memory_bucket import serve_from_memory


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path, monkeypatch) -> Path:
    if request.param == "disk":
        return tmp_path / "run"
    serve_from_memory(monkeypatch)
    return storage_path("gs://bucket/runs/run")


def test_a_file_is_read_as_it_was_written(folder):
    folder.mkdir(parents=True)
    write_bytes(folder / "a.bin", b"\0\xff")
    for text in ("first", "zweite Zeile: ä"):
        write_text(folder / "b.txt", text)
        assert (folder / "b.txt").read_text() == text
    assert (folder / "a.bin").read_bytes() == b"\0\xff"
    assert sorted(path.name for path in folder.glob("*")) == ["a.bin", "b.txt"], "no temporary files"


def test_a_tree_is_removed_with_everything_in_it_and_may_be_missing(folder):
    (folder / "inner").mkdir(parents=True)
    write_text(folder / "inner/a", "a")
    write_text(folder.parent / "other", "stays")
    for _ in range(2):
        remove_tree(folder)
        assert not folder.exists()
    assert (folder.parent / "other").read_text() == "stays"


def test_a_path_on_this_machine_stays_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    assert storage_path("~/runs/a") == local_path("~/runs/a") == Path("/home/me/runs/a")
    assert storage_path(Path("runs")) == Path("runs") and absolute(Path("runs")) == tmp_path / "runs"
    assert not any(map(is_url, ("runs/a", "/runs/a", "C:/runs", Path("a@b"))))


@pytest.mark.parametrize("path", ["gs://bucket/runs/a", Path("gs://bucket/runs/a")])
def test_a_path_in_a_bucket_keeps_its_url(path, monkeypatch):
    serve_from_memory(monkeypatch)
    assert str(storage_path(path)) == str(absolute(storage_path(path))) == "gs://bucket/runs/a"
    assert str(storage_path(path) / "config.json") == "gs://bucket/runs/a/config.json"
    assert is_url(path) and is_url(storage_path(path))
    assert storage_path(storage_path(path)) == storage_path(path)
    with pytest.raises(ValueError, match="is a URL, not a path on this machine; mount the bucket"):
        local_path(path)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("s3://bucket/runs", r"s3://bucket/runs: .* support gs:// .*: mount the bucket, or copy it with `aws s3 sync`"),
        (
            "https://host/runs",
            r"https://host/runs: .* support gs:// .*: mount the bucket, or copy it$",
        ),
    ],
)
def test_other_urls_are_refused_with_the_remedy(url, remedy):
    for path in (url, Path(url)):
        with pytest.raises(ValueError, match=remedy):
            storage_path(path)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"gs://b/run: gs:// needs gcsfs; run `pip install 'capjax\[gcs\]'`"):
        storage_path("gs://b/run")


def test_a_json_file_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"ä": 1}', encoding="utf-8")
    assert read_json(tmp_path / "a.json", "copy it again") == {"ä": 1}


@pytest.mark.parametrize("content", [b"", b'{"a": [1, 2', b"\xff", b'{"a": 1}}'])
def test_damage_is_named_with_the_remedy(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path} is .*damaged \(.*\); copy it again"):
        read_json(path, "copy it again")


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path / 'a.json'} is missing; copy it again"):
        read_json(tmp_path / "a.json", "copy it again")
