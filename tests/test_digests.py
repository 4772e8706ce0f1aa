"""Files are verified against the digests in their folder, on disk and in a bucket."""

import hashlib
import json
import logging
from pathlib import Path

import pytest

from capjax import digests, files
from capjax.digests import DigestError, read_digests, verify, write_digests
from capjax.files import read_bytes, read_json, read_text, storage_path, write_with_digest
from tests.helpers.digests import flip_bit, forget_warnings
from tests.helpers.memory_bucket import serve_from_memory


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path, monkeypatch) -> Path:
    if request.param == "bucket":
        serve_from_memory(monkeypatch)
    folder = tmp_path / "run" if request.param == "disk" else storage_path("gs://bucket/run")
    for name, text in (("a", "alpha"), ("b/c", "gamma"), ("b/d/e", ""), ("own/f", "phi")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    write_digests(folder / "own")
    write_digests(folder)
    return folder


def test_every_file_below_a_folder_has_the_digest_of_its_bytes(folder):
    stored = read_digests(folder)
    assert set(stored) == {"a", "b/c", "b/d/e", "own/digests.json"}
    assert stored["b/c"] == hashlib.sha256(b"gamma").hexdigest()
    assert set(read_digests(folder / "own")) == {"f"}
    verify(folder)


@pytest.mark.parametrize("name", ["a", "b/c", "own/f", "own/digests.json"])
def test_a_flipped_bit_is_found_in_the_file_that_has_it(folder, name):
    flip_bit(folder / name)
    with pytest.raises(DigestError, match=rf"{folder / name} (differs from its digest|is damaged)"):
        verify(folder)


def test_a_damaged_list_of_digests_never_passes(folder):
    path = folder / "digests.json"
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 7):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(changed))
        try:
            assert read_digests(folder) == read_digests_of(whole), "white space"
        except DigestError as error:
            assert f"{path} is damaged" in str(error)


def read_digests_of(data: bytes) -> dict[str, str]:
    return json.loads(data)["sha256"]


@pytest.mark.parametrize("name", ["a", "b/d/e", "own/digests.json", "own/f"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DigestError, match=f"{folder / name} is missing"):
        verify(folder)


def test_files_that_came_later_do_not_matter(folder):
    (folder / "commit_success.txt").write_text("")
    verify(folder)


def test_processes_that_share_the_work_find_what_one_alone_finds(folder):
    for name in ("a", "b/c", "b/d/e", "own/f"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data + b"!")
        failed = 0
        for part in range(3):
            try:
                verify(folder, part=part, parts=3)
            except DigestError as error:
                assert str(folder / name) in str(error)
                failed += 1
        assert failed == 1, "each file is read by one process"
        (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"sha256": []}', b'{"sha256": {}, "sha256_of_list": 1}', b"[" * 100_000, b"\xff",
     b'{"sha256": {}, "sha256_of_list": ""}'],
)  # fmt: skip
def test_a_damaged_list_of_digests_is_named(folder, content):
    (folder / "digests.json").write_bytes(content)
    with pytest.raises(DigestError, match=f"{folder / 'digests.json'} is damaged"):
        verify(folder)


@pytest.mark.parametrize("name", ["../run/a", "/dev/zero", "", "b/../../x"])
def test_names_outside_the_folder_are_refused(folder, name):
    digests._write(folder, {name: "0" * 64})
    with pytest.raises(DigestError, match=f"{folder / 'digests.json'} is damaged.*outside the folder"):
        verify(folder)


def test_a_file_with_a_digest_is_verified_wherever_it_is_read(folder):
    path = folder / "settings.json"
    write_with_digest(path, b'{"a": 1}')
    assert read_json(path, "copy it again") == {"a": 1} and read_text(path, "") == '{"a": 1}'
    assert "a" in read_digests(folder), "the other digests stay"
    path.write_bytes(b'{"a": 2}')
    for read in (read_bytes, read_text, read_json):
        with pytest.raises(DigestError, match=rf"{path} is cut short or damaged .*; copy it again\. If it was"):
            read(path, "copy it again")
    (folder / "digests.json").unlink()
    assert read_json(path, "") == {"a": 2}, "as the message says"


def test_a_writer_that_is_killed_leaves_a_file_without_a_digest_at_worst(folder, monkeypatch):
    path = folder / "settings.json"
    steps = []

    def killed_after(count: int):
        steps.clear()

        def step(function):
            def call(*arguments):
                if len(steps) == count:
                    raise KeyboardInterrupt
                steps.append(function)
                return function(*arguments)

            return call

        return step

    for count in range(3):
        write_with_digest(path, b"old")
        with monkeypatch.context() as patch:
            step = killed_after(count)
            patch.setattr(digests, "_write", step(digests._write))
            patch.setattr(files, "write_bytes", step(files.write_bytes))
            with pytest.raises(KeyboardInterrupt):
                write_with_digest(path, f"new {count}".encode())
        assert read_text(path, "").startswith(("old", "new")), "it can be read after every step"


def test_folders_without_digests_are_told_once(tmp_path, caplog, monkeypatch):
    forget_warnings(monkeypatch)
    for name in ("old", "older"):
        (tmp_path / name).mkdir()
        with caplog.at_level(logging.WARNING, logger="capjax"):
            verify(tmp_path / name)
            verify(tmp_path / name)
    (message,) = (record.message for record in caplog.records)
    assert message.startswith(f"{tmp_path / 'old'} is from before capjax stored digests")


def test_a_file_that_users_may_edit_is_told_and_read(tmp_path, caplog, monkeypatch):
    forget_warnings(monkeypatch)
    write_with_digest(tmp_path / "config.json", b"{}")
    (tmp_path / "config.json").write_text('{"name": "mine"}')
    with caplog.at_level(logging.WARNING, logger="capjax"):
        assert json.loads(read_text(tmp_path / "config.json", "", editable=True)) == {"name": "mine"}
    assert f"{tmp_path / 'config.json'} was edited or damaged" in caplog.text
