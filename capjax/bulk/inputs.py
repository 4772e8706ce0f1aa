"""The inputs of bulk captioning together: folders, lists, tars, Parquet files, datasets and single files."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from capjax.bulk.dataset_source import DatasetSource
from capjax.bulk.path_source import MAX_LINE, PathSource, open_folder, read_list
from capjax.bulk.source import MediaItem, Source
from capjax.bulk.tar_source import TarSource, is_tar
from capjax.data.media_formats import media_kind


@dataclass(frozen=True)
class Slice:
    """Consecutive media of a source.

    Attributes:
      numbers: numbers of the media in the source.
      prefix: what is put before their ids.
    """

    source: Source
    numbers: range
    prefix: str = ""


@dataclass(frozen=True)
class Inputs:
    """Media of several sources, numbered one after another."""

    slices: tuple[Slice, ...]

    @classmethod
    def of(cls, sources: Sequence[Source], *, prefix_ids: bool) -> "Inputs":
        """Puts sources together.

        Args:
          prefix_ids: put the name of the file or folder of its source, and a slash, before each id.

        Raises:
          ValueError: two media have one id.
        """
        prefixes = [f"{Path(source.name).name}/" if prefix_ids else "" for source in sources]
        slices = (Slice(*each) for each in zip(sources, (range(len(each)) for each in sources), prefixes, strict=True))
        inputs = cls(tuple(slices))
        inputs._check_unique()
        return inputs

    def __len__(self) -> int:
        return sum(len(each.numbers) for each in self.slices)

    def _check_unique(self):
        remedy = "leave one of them out, or give --prefix-ids, which puts the name of its input before each id"
        source_of: dict[str, Source] = {}
        for each in self.slices:
            if each.source.kind == "dataset":  # ids of records are unique within a dataset, and are not listed
                continue
            for id in each.source.ids():
                if (other := source_of.setdefault(each.prefix + id, each.source)) is not each.source:
                    raise ValueError(
                        f"the id {id} is in --input {other.name} and in --input {each.source.name}; {remedy}"
                    )
        if len(source_of) < sum(len(each.numbers) for each in self.slices if each.source.kind != "dataset"):
            raise ValueError(self._repeated_id())
        for one, other in itertools.combinations(self.slices, 2):
            if "dataset" in (one.source.kind, other.source.kind) and one.prefix == other.prefix:
                folder, split = one.source.name.rpartition("@")[::2]
                other_folder, other_split = other.source.name.rpartition("@")[::2]
                if folder != other_folder or split == other_split:
                    raise ValueError(
                        f"ids of --input {one.source.name} may be those of --input {other.source.name}; {remedy}"
                    )

    def _repeated_id(self) -> str:
        for each in self.slices:
            if each.source.kind != "dataset":
                id, count = Counter(each.source.ids()).most_common(1)[0]
                if count > 1:
                    return f"--input {each.source.name}: the id {id} is there {count} times; ids must be unique"
        raise AssertionError("ids of one input are repeated")

    def descriptions(self) -> list[dict]:
        """Returns name, kind, number of media and a digest of the ids of each source."""
        return [
            {"input": each.source.name, "kind": each.source.kind, "media": len(each.numbers), "prefix": each.prefix,
             "digest": _digest(each.source.ids())}
            for each in self.slices
        ]  # fmt: skip

    def part(self, numbers: range) -> "Inputs":
        """Returns a part, which holds as little else as possible."""
        parts = []
        for each, (own,) in self._split([numbers]):
            source, local = each.source.part(own)
            parts.append(replace(each, source=source, numbers=local))
        return Inputs(tuple(parts))

    def items(self, ranges: Sequence[range]) -> Iterator[tuple[int, MediaItem]]:
        """Yields the number of the range and the medium, for the media in each range; the ranges are ascending."""
        numbers = (index for index, each in enumerate(ranges) for _ in each)
        items = (
            replace(item, id=each.prefix + item.id)
            for each, local in self._split(ranges)
            for item in each.source.items(local)
        )
        return zip(numbers, items, strict=True)

    def _split(self, ranges: Sequence[range]) -> Iterator[tuple[Slice, list[range]]]:
        """The slices that hold media of the ranges, and the numbers of these in the source."""
        start = 0
        for each in self.slices:
            stop = start + len(each.numbers)
            shift = each.numbers.start - start
            clipped = ((max(numbers.start, start), min(numbers.stop, stop)) for numbers in ranges)
            if local := [range(low + shift, high + shift) for low, high in clipped if low < high]:
                yield each, local
            start = stop


def _digest(ids: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for id in ids:
        digest.update(id.encode() + b"\n")
    return digest.hexdigest()


def open_sources(
    inputs: Sequence[str], *, videos_only: bool, column: str | None, id_column: str | None, warn: Callable[[str], None]
) -> list[Source]:
    """Opens inputs. The content of each decides what it is.

    Args:
      inputs: paths of folders, lists of paths, tars, Parquet files and single media, or `FOLDER@SPLIT` of datasets.
      videos_only: photos in folders are skipped.
      column, id_column: columns of Parquet files, see `ParquetSource`.
      warn: called with a line about each group of files that is skipped.

    Raises:
      ValueError: an input does not exist, is of no known kind, or is damaged.
    """
    sources: list[Source] = []
    single_files: list[str] = []
    for name in inputs:
        path = Path(name).expanduser()
        if not path.exists() and "@" in path.name:
            sources.append(DatasetSource(name))
            len(sources[-1])
        elif path.is_dir():
            sources.append(open_folder(name, path, videos_only, warn))
        elif not path.is_file():
            raise ValueError(f"--input {name}: no such file or folder; a dataset is given as FOLDER@SPLIT")
        elif (kind := _kind_of_file(path)) == "media":
            single_files.append(name)
        else:
            sources.append(_open_file(name, path, kind, column, id_column))
    if single_files:
        sources.append(PathSource("files", "files", single_files, Path()))
    return sources


def _kind_of_file(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(MAX_LINE)
    if head.startswith(b"PAR1"):
        return "parquet"
    if is_tar(path):
        return "tar"
    if media_kind(path) is not None:
        return "media"
    is_text = head and b"\0" not in head and (b"\n" in head or len(head) < MAX_LINE)
    return "list" if is_text else ""


def _open_file(name: str, path: Path, kind: str, column: str | None, id_column: str | None) -> Source:
    if kind == "tar":
        return TarSource.open(name, path)
    if kind == "parquet":
        from capjax.bulk.parquet_source import ParquetSource  # the extra `parquet`

        return ParquetSource.open(name, path, column=column, id_column=id_column)
    if kind == "list":
        return PathSource(name, "list", read_list(name, path), path.parent)
    raise ValueError(
        f"--input {name} is no folder, list of paths, tar, Parquet file, photo or video; a tar may be compressed with "
        "gzip, bzip2 or xz"
    )
