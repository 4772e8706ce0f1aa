"""Tars of WebDataset as inputs: samples by their keys, whatever the compression, damage and size."""

import io
import pickle
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.bulk import tar_source
from capjax.bulk.tar_source import TarSource, is_tar
from capjax.data.photo import MediaError
from tests.bulk.conftest import write_tar


def numbered(count: int) -> list[tuple[str, bytes]]:
    """Members of samples: a JPEG of a few bytes, between texts."""
    members = []
    for number in range(count):
        key = f"part/{number:04d}"
        members += [(f"{key}.json", b"{}"), (f"{key}.jpg", b"jpeg %d" % number), (f"{key}.cls.txt", b"3")]
    return members


def media(source: TarSource, *ranges: range) -> dict[str, bytes]:
    return {item.id: item.medium for item in source.items(ranges)}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_samples_are_grouped_by_their_names_up_to_the_first_dot(tmp_path, mode):
    path = write_tar(tmp_path / "a.tar", numbered(5), mode)
    assert is_tar(path)
    source = TarSource.open("a.tar", path)
    assert list(source.ids()) == [f"part/{number:04d}" for number in range(5)]
    assert media(source, range(5)) == {f"part/{number:04d}": b"jpeg %d" % number for number in range(5)}
    assert [item.file_name for item in source.items([range(1)])] == ["part/0000.jpg"]


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 39)))
def test_any_ranges_give_their_samples(tmp_path_factory, numbers):
    path = tmp_path_factory.getbasetemp() / "ranges.tar"
    if not path.exists():
        write_tar(path, numbered(40))
    source = TarSource.open("ranges.tar", path)
    ranges = [range(number, number + 1) for number in sorted(numbers)]
    assert list(media(source, *ranges).values()) == [b"jpeg %d" % number for number in sorted(numbers)]
    part, own = pickle.loads(pickle.dumps(source.part(range(7, 19))))
    assert list(media(part, own).values()) == [b"jpeg %d" % number for number in range(7, 19)]


def test_links_folders_and_hidden_files_are_no_samples_and_names_lead_nowhere(tmp_path):
    path = tmp_path / "a.tar"
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with tarfile.open(path, "w") as tar:
        for name, kind in (("folder", tarfile.DIRTYPE), ("b.jpg", tarfile.SYMTYPE), ("c.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret.jpg")
            tar.addfile(info)
        for name in ("._a.jpg", "../../etc/a.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    source = TarSource.open("a.tar", path)
    assert media(source, range(1)) == {"../../etc/a": b"abc"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.tar", "secret.jpg"]


def test_a_sample_without_media_or_with_too_many_bytes_fails_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_source, "MAX_FILE_BYTES", 2**20)
    members = [("a.txt", b"x"), ("b.jpg", bytes(2**20 + 1)), ("c.jpg", b"good")]
    source = TarSource.open("a.tar", write_tar(tmp_path / "a.tar", members))
    first, second, third = source.items([range(3)])
    for item, kind in ((first, "no_media"), (second, "too_large")):
        with pytest.raises(MediaError) as raised:
            pickle.loads(pickle.dumps(item.medium))()
        assert raised.value.kind == kind
    assert third.medium == b"good"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_that_is_cut_or_damaged_anywhere_is_an_error_or_gives_all_its_media(tmp_path, mode):
    data = write_tar(tmp_path / "whole.tar", numbered(30), mode).read_bytes()
    whole = media(TarSource.open("whole.tar", tmp_path / "whole.tar"), range(30))
    rng, path = random.Random(0), tmp_path / "damaged.tar"
    for _ in range(60):
        if rng.random() < 0.5:
            path.write_bytes(data[: rng.randrange(len(data) - 1100 if mode == "w" else len(data) - 9)])
        else:
            position = rng.randrange(len(data))
            path.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        if not is_tar(path):
            continue
        try:
            source = TarSource.open("damaged.tar", path)
            result = media(source, range(len(source)))
        except ValueError as error:
            assert "damaged.tar" in str(error) and "damaged" in str(error)
        else:
            # A flipped byte of an uncompressed tar may be in the bytes or the name of a member.
            assert len(result) >= len(whole) - 1


def test_other_files_are_no_tars(tmp_path):
    for number, data in enumerate((b"", b"a.jpg\nb.jpg\n", bytes(2048), b"\x1f\x8b\x08 gone", bytes(range(256)) * 8)):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert not is_tar(path), data[:20]


def test_tars_that_were_joined_are_refused_as_the_second_would_be_passed_over(tmp_path):
    data = write_tar(tmp_path / "a.tar", numbered(3)).read_bytes()
    (tmp_path / "joined.tar").write_bytes(data + data)
    with pytest.raises(ValueError, match="joined.tar .*more data follow the mark of its end"):
        TarSource.open("joined.tar", tmp_path / "joined.tar")


def test_a_tar_that_changes_after_it_was_listed_is_an_error(tmp_path):
    source = TarSource.open("a.tar", write_tar(tmp_path / "a.tar", numbered(5)))
    write_tar(tmp_path / "a.tar", numbered(5)[3:])
    with pytest.raises(ValueError, match="a.tar .*has been changed since it was listed"):
        media(source, range(5))
