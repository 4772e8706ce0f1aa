"""Datasets of records that a test builds."""

from collections.abc import Iterable
from pathlib import Path

from data_prep.build import RecordBuilder


def build_records(name: str, reader: Iterable, output_dir: Path, *, workers: int = 1, **options) -> RecordBuilder:
    """Writes a dataset without a progress bar, by default from this process alone."""
    options |= {"workers": workers, "progress": False}
    builder = RecordBuilder(name=name, reader=reader, output_dir=output_dir, **options)
    builder.download_and_prepare()
    return builder
