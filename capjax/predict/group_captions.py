"""The captions of groups of media, put together from those of their batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from capjax.decode.attribute_shares import AttributeShares
from capjax.decode.results import Caption
from capjax.predict.media_batch import FailedMedia, MediaBatch


def captions_of_groups(
    results: Iterable[MediaBatch | FailedMedia | None], captions: Callable[[MediaBatch], Iterable[tuple[Caption, ...]]],
    languages: Sequence[str], attribute_shares: AttributeShares | None,
) -> Iterator[list[tuple[Caption, ...]]]:  # fmt: skip
    """Yields the captions of each group, in the order of its media.

    Args:
      results: see `batches_of_groups`.
      captions: returns the captions of each row of a batch, one in each language.
      languages: the languages.
      attribute_shares: constraint on the captions of a group, or None.
    """
    group: dict[int, tuple[Caption, ...]] = {}
    for result in results:
        if isinstance(result, MediaBatch):
            group.update(zip(result.indices, captions(result), strict=False))  # the batch ends with padding
        elif isinstance(result, FailedMedia):
            group[result.index] = tuple(Caption.failed(result.error, lang) for lang in languages)
        else:
            if attribute_shares:
                _choose(group, languages, attribute_shares)
            yield [group[index] for index in sorted(group)]
            group = {}


def _choose(captions: dict[int, tuple[Caption, ...]], languages: Sequence[str], attribute_shares: AttributeShares):
    """Replaces captions by those of their alternatives that satisfy the constraint, in each language."""
    indices = [index for index in sorted(captions) if not captions[index][0].error]
    chosen: list[list[Caption]] = []
    for column, lang in enumerate(languages):
        hypotheses = [(captions[index][column], *captions[index][column].alternatives) for index in indices]
        best = attribute_shares.choose([[(own.text, own.score) for own in row] for row in hypotheses], lang)
        chosen.append([replace(row[number], alternatives=()) for row, number in zip(hypotheses, best, strict=True)])
    captions.update(zip(indices, zip(*chosen, strict=True), strict=True))
