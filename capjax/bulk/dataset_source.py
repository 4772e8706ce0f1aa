"""The records of a dataset that data preparation wrote."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from capjax.bulk.source import MediaItem
from capjax.data.dataset_folder import fingerprint
from capjax.data.pipeline import DatasetSplit
from capjax.data.record import Record, RecordSource


@dataclass(frozen=True)
class DatasetSource:
    """The records of a split of a dataset. Where they hold features alone, those of the dataset they were made from."""

    name: str
    kind: str = "dataset"

    def __len__(self) -> int:
        return len(self._records)

    @cached_property
    def _records(self) -> RecordSource:
        source = DatasetSplit.parse(self.name).open()
        return source if not len(source) or source[0].frames else source.original()

    def ids(self) -> Iterable[str]:
        # Ids of records are unique within their dataset, and reading all of them is reading the dataset.
        return (f"{fingerprint(self._records.dataset_dir)}@{self._records.split}",)

    def items(self, ranges: Sequence[range]) -> Iterator[MediaItem]:
        for number in itertools.chain.from_iterable(ranges):
            record = self._records[number]
            yield MediaItem(record.id, record.media, partial(_same, record))

    def part(self, numbers: range) -> tuple["DatasetSource", range]:
        return DatasetSource(self.name), numbers


def _same(record: Record) -> Record:
    return record
