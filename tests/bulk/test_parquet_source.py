"""Parquet files as inputs: columns, ids, row groups, and rows without an image."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.data.photo import MediaError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from capjax.bulk import parquet_source  # noqa: E402
from capjax.bulk.parquet_source import ParquetSource  # noqa: E402


def write(path, columns: dict, rows: int = 7):
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def photos(count: int) -> list[bytes]:
    return [b"jpeg %d" % number for number in range(count)]


def open_file(path, column=None, id_column=None) -> ParquetSource:
    return ParquetSource.open(str(path), path, column=column, id_column=id_column)


def test_bytes_and_structs_of_bytes_and_path_are_media(tmp_path):
    plain = open_file(write(tmp_path / "a.parquet", {"caption": ["x"] * 20, "jpg": photos(20)}))
    items = list(plain.items([range(20)]))
    assert [item.medium for item in items] == photos(20)
    assert [item.id for item in items] == list(plain.ids()) == [f"a.parquet:{number}" for number in range(20)]
    rows = [{"bytes": data, "path": f"{number}.jpg"} for number, data in enumerate(photos(20))]
    struct = open_file(write(tmp_path / "b.parquet", {"id": range(100, 120), "image": rows}))
    items = list(struct.items([range(20)]))
    assert [item.medium for item in items] == photos(20)
    assert [item.id for item in items] == list(struct.ids()) == [str(number) for number in range(100, 120)]
    assert items[3].file_name == "3.jpg"


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 99)))
def test_any_ranges_give_their_rows(tmp_path_factory, numbers):
    path = tmp_path_factory.getbasetemp() / "ranges.parquet"
    if not path.exists():
        write(path, {"image": photos(100), "id": [f"n{number}" for number in range(100)]})
    source = open_file(path)
    items = list(source.items([range(number, number + 1) for number in sorted(numbers)]))
    assert [(item.id, item.medium) for item in items] == [(f"n{n}", b"jpeg %d" % n) for n in sorted(numbers)]
    part, own = pickle.loads(pickle.dumps(source.part(range(40, 61))))
    assert [item.medium for item in part.items([own])] == photos(100)[40:61]


def test_columns_are_chosen_by_name_and_missing_ones_are_named(tmp_path):
    path = write(tmp_path / "a.parquet", {"thumb": photos(3), "full": photos(3), "name": ["a", "b", "c"]})
    assert [item.id for item in open_file(path, "full", "name").items([range(3)])] == ["a", "b", "c"]
    for options, message in (
        ({"column": "photo"}, "no column photo with"),
        ({"column": "name"}, "no column name with"),
        ({"id_column": "thumb"}, "no column thumb of text"),
    ):
        with pytest.raises(ValueError, match=message):
            open_file(path, **options)
    with pytest.raises(ValueError, match="no column of bytes"):
        open_file(write(tmp_path / "b.parquet", {"name": ["a"]}))


def test_rows_without_bytes_or_with_too_many_fail_alone_and_paths_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_source, "MAX_FILE_BYTES", 100)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    rows = [
        {"bytes": None, "path": str(tmp_path / "secret.jpg")}, None, {"bytes": bytes(101), "path": None},
        {"bytes": b"good", "path": None},
    ]  # fmt: skip
    *failing, good = open_file(write(tmp_path / "a.parquet", {"image": rows})).items([range(4)])
    for item, kind in zip(failing, ("empty_file", "empty_file", "too_large"), strict=True):
        with pytest.raises(MediaError) as raised:
            item.medium()
        assert raised.value.kind == kind
    assert good.medium == b"good"


def test_a_row_group_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_source, "_MAX_GROUP_BYTES", 1000)
    source = open_file(write(tmp_path / "a.parquet", {"image": [bytes(500)] * 8}))
    with pytest.raises(ValueError, match="row group 0 has .* of image"):
        list(source.items([range(8)]))


def test_a_file_that_is_cut_is_named(tmp_path):
    data = write(tmp_path / "a.parquet", {"image": photos(100)}).read_bytes()
    for length in (4, 50, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.parquet").write_bytes(data[:length])
        with pytest.raises(ValueError, match="cut.parquet is cut short or damaged"):
            open_file(tmp_path / "cut.parquet")
