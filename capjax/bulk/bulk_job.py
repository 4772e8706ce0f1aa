"""Bulk captioning: the missing shards of an output folder, in one process or in several."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from capjax.bulk.inputs import Inputs
from capjax.bulk.manifest import make_manifest
from capjax.bulk.shards import Row, Shards, caption_row, events_row
from capjax.bulk.source import MediaItem
from capjax.parallel import hosts
from capjax.predict import Predictor
from capjax.predict.predictor import check_num_captions


@dataclass(frozen=True)
class BulkOptions:
    """Options of captioning in bulk.

    Attributes:
      languages: languages to write; empty: the first of the model.
      count: captions of each medium in each language, the best of the search.
      batch_size: largest number of media, or of windows of videos, in a batch.
      seed: seed of sampling.
      window, overlap: as in `Predictor.localize`.
      decode: decoding options that differ from those of the run's config.
    """

    languages: tuple[str, ...] = ()
    count: int = 1
    batch_size: int = 32
    seed: int = 0
    window: float | None = None
    overlap: float | None = None
    decode: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BulkJob:
    """A job that captions inputs into an output folder, in shards of `shard_size` media.

    Raises, when it is made by `open`:
      ValueError: an option that the model does not have.
    """

    predictor: Predictor
    inputs: Inputs
    options: BulkOptions
    shards: Shards
    shard_size: int

    @classmethod
    def open(
        cls, predictor: Predictor, inputs: Inputs, output: Path, options: BulkOptions, *, shard_size: int, format: str
    ) -> "BulkJob":
        decode = predictor.parts(**options.decode).generator.options
        check_num_captions(options.count, decode)
        if predictor.dense and (options.count > 1 or len(options.languages) > 1):
            raise ValueError("a model that finds events writes one caption for each, in one language at a time")
        for lang in options.languages:
            predictor.language(lang)
        return cls(predictor, inputs, options, Shards(output, -(-len(inputs) // shard_size), format), shard_size)

    def manifest(self, workdir: Path) -> dict:
        """Returns the manifest of the job; all processes of a job call it."""
        decode = self.predictor.parts(**self.options.decode).generator.options.to_dict()
        languages = self.options.languages or self.predictor.languages[:1]
        options = asdict(self.options) | {"languages": languages, "shard_size": self.shard_size, "decode": decode}
        return make_manifest(self.inputs, self.predictor, workdir, options, self.shards)

    def numbers(self, shard: int) -> range:
        """Returns the numbers of the media in a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, len(self.inputs)))

    def run(self, shards: Sequence[int], on_item: Callable[[], None] = lambda: None):
        """Captions and writes these shards, one after another.

        Args:
          shards: their numbers, ascending.
          on_item: called for each photo or video that is taken from the inputs.
        """
        media = (item for item in self.inputs.items([self.numbers(shard) for shard in shards]))
        groups = (((item for _, item in group)) for _, group in itertools.groupby(media, key=lambda pair: pair[0]))
        for shard, rows in zip(shards, caption_groups(self.predictor, groups, self.options, on_item), strict=True):
            if not self.predictor.spans_processes or hosts.is_first():
                self.shards.write(shard, rows)


def caption_groups(
    predictor: Predictor, groups: Iterator[Iterator[MediaItem]], options: BulkOptions,
    on_item: Callable[[], None] = lambda: None,
) -> Iterator[list[Row]]:  # fmt: skip
    """Yields the rows of each group of media, see `BulkJob.run`."""
    languages = options.languages or predictor.languages[:1]
    taken: deque[list[MediaItem]] = deque()

    def media() -> Iterator[Iterator]:
        for group in groups:
            taken.append([])
            yield map(take, group)

    def take(item: MediaItem):
        taken[-1].append(replace(item, medium=b""))  # only the media that are being read stay in memory
        on_item()
        return item.medium

    if predictor.dense:
        for group in media():
            videos = list(
                predictor.localize(
                    group, lang=languages[0], window=options.window, overlap=options.overlap, seed=options.seed,
                    batch_size=options.batch_size, **options.decode,
                )
            )  # fmt: skip
            yield [events_row(item, video) for item, video in zip(taken.popleft(), videos, strict=True)]
        return
    results = predictor.caption_groups(
        media(), languages, batch_size=options.batch_size, seed=options.seed, num_captions=options.count,
        **options.decode,
    )  # fmt: skip
    for captions in results:
        pairs = zip(taken.popleft(), captions, strict=True)
        yield [caption_row(item, each, options.count) for item, each in pairs]
