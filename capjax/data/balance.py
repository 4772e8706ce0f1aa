"""Weights of training items, by words of their captions, under which an attribute is independent of the context.

Kamiran & Calders 2012, "Data preprocessing techniques for classification without discrimination": an item of attribute
a and context c has the weight P(a) P(c) / P(a, c). Without contexts, all attributes get the same weight in sum.

An item has an attribute if its captions have words of one group of `mitigation.attribute` alone. Its context are all
groups of `mitigation.context` of which its captions have words, none included. Items without an attribute keep the
weight 1, and so does the mean of all items.
"""

import json
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypedDict

import numpy as np
from jaxtyping import Float, Int

from capjax.data.targets import answers
from capjax.files import read_json, write_with_digest
from capjax.metrics.json_types import between
from capjax.text.word_groups import WordGroups

log = logging.getLogger("capjax")

_REMEDY = "remove it and resume training, which writes it again"
# Items between two lines of the log, and rows of the table in it.
_LOG_EVERY, _MAX_ROWS = 100_000, 40


class BalanceError(ValueError):
    """The training captions cannot be balanced by the words of the config."""


@dataclass(frozen=True)
class BalanceCell:
    """The training items of one attribute and context.

    Attributes:
      attribute: number of the group of words.
      context: numbers of the groups of words.
      items: number of items.
      share: their share of what training draws, of all items that have an attribute.
      weight: weight of each.
    """

    attribute: int
    context: tuple[int, ...]
    items: int
    share: float
    weight: float


class _CellJson(TypedDict):
    attribute: Annotated[int, between(0, sys.maxsize)]
    context: list[Annotated[int, between(0, sys.maxsize)]]
    items: Annotated[int, between(1, sys.maxsize)]
    share: float
    weight: float


class _BalanceJson(TypedDict):
    attribute: list[list[str]]
    context: list[list[str]]
    cells: list[_CellJson]
    cell_of_record: list[list[Annotated[int, between(-1, sys.maxsize)]]]


@dataclass(frozen=True)
class Balance:
    """The attributes and contexts of the training items, and their weights.

    Attributes:
      attribute, context: groups of words.
      cells: those that have items.
      cell_of_record: the cell of each record of each dataset; -1: it has no attribute.
    """

    attribute: WordGroups
    context: WordGroups
    cells: tuple[BalanceCell, ...]
    cell_of_record: tuple[Int[np.ndarray, " records"], ...]

    @classmethod
    def of(cls, sources: Sequence, shares: Sequence[float], mitigation, data) -> "Balance":
        """Reads the captions of all training items.

        Args:
          sources: the training datasets.
          shares: the weight of each in the mixture.
          mitigation, data: sections of a config.

        Raises:
          BalanceError: no item has a group.
        """
        attribute, context = WordGroups.of(mitigation.attribute), WordGroups.of(mitigation.context)
        numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        cell_of_record, drawn_of_record, total, done = [], [], sum(map(len, sources)), 0
        log.info("mitigation: reading the captions of %s items", f"{total:,}")
        for source, share in zip(sources, shares, strict=True):
            cells, usable = np.full(len(source), -1, np.int32), 0
            for index in range(len(source)):
                texts = [(caption.text, caption.lang) for caption in answers(source[index], data)]
                usable += bool(texts)
                group = attribute.only(texts)
                if group is not None:
                    key = group, tuple(sorted(context.in_texts(texts)))
                    cells[index] = numbers.setdefault(key, len(numbers))
                done += 1
                if done % _LOG_EVERY == 0:
                    log.info("mitigation: read the captions of %s of %s items", f"{done:,}", f"{total:,}")
            cell_of_record.append(cells)
            drawn_of_record.append(share / max(usable, 1))
        _check_found("attribute", attribute, {group for group, _ in numbers})
        _check_found("context", context, {group for _, groups in numbers for group in groups})
        counts = np.stack([np.bincount(cells[cells >= 0], minlength=len(numbers)) for cells in cell_of_record])
        drawn = np.array(drawn_of_record) @ counts
        drawn = drawn / drawn.sum()
        weights = cell_weights(list(numbers), drawn, mitigation.max_weight, uniform=not len(context))
        figures = zip(numbers, counts.sum(0).tolist(), drawn.tolist(), weights.tolist(), strict=True)
        balance = cls(
            attribute, context, tuple(BalanceCell(*key, *values) for key, *values in figures), tuple(cell_of_record)
        )
        balance.report()
        return balance

    def record_weights(self, number: int) -> Float[np.ndarray, " records"]:
        """Returns the weight of each record of a dataset."""
        weights = np.array([*(cell.weight for cell in self.cells), 1.0])
        return weights[self.cell_of_record[number]]  # the last is that of records without an attribute, -1

    def attribute_shares(self) -> Float[np.ndarray, "contexts attributes"]:
        """Returns the share of each attribute among the training items of each group of contexts; NaN where there are
        none. Without contexts, there is one row of all items."""
        shares = np.zeros((max(len(self.context), 1), len(self.attribute)))
        for cell in self.cells:
            for context in cell.context if len(self.context) else (0,):
                shares[context, cell.attribute] += cell.share
        with np.errstate(invalid="ignore"):
            return shares / shares.sum(1, keepdims=True)

    def report(self):
        """Logs the number of items and the weight of each attribute and context, and what could not be balanced."""
        without = sum(int((cells < 0).sum()) for cells in self.cell_of_record)
        items = sum(cell.items for cell in self.cells)
        log.info("mitigation: %s items with one attribute, %s others of weight 1", f"{items:,}", f"{without:,}")
        for cell in sorted(self.cells, key=lambda cell: -cell.items)[:_MAX_ROWS]:
            name = ", ".join(filter(None, [self.attribute.label(cell.attribute), self._context_label(cell.context)]))
            log.info("mitigation: %s: %s items, weight %.3f", name, f"{cell.items:,}", cell.weight)
        if len(self.cells) > _MAX_ROWS:
            log.info("mitigation: and %s rarer combinations", f"{len(self.cells) - _MAX_ROWS:,}")
        by_context: dict[tuple[int, ...], set[int]] = {}
        for cell in self.cells:
            by_context.setdefault(cell.context, set()).add(cell.attribute)
        unbalanced = {context: own for context, own in by_context.items() if len(own) < len(self.attribute)}
        for context, own in [*unbalanced.items()][:_MAX_ROWS]:
            missing = ", ".join(self.attribute.label(a) for a in range(len(self.attribute)) if a not in own)
            log.warning(
                "mitigation: no item of %s has %s: it cannot be balanced", self._context_label(context), missing
            )

    def _context_label(self, context: tuple[int, ...]) -> str:
        return " + ".join(map(self.context.label, context)) or ("no context" if len(self.context) else "")

    def save(self, path: Path):
        """Writes a JSON file."""
        value = {
            "attribute": self.attribute.groups, "context": self.context.groups,
            "cells": [asdict(cell) for cell in self.cells],
            "cell_of_record": [cells.tolist() for cells in self.cell_of_record],
        }  # fmt: skip
        write_with_digest(path, (json.dumps(value, ensure_ascii=False) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> "Balance":
        """Reads a file that `save` wrote.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: the file is damaged.
        """
        value = read_json(path, _REMEDY, _BalanceJson)
        attribute, context = WordGroups.of(value["attribute"]), WordGroups.of(value["context"])
        cells = tuple(BalanceCell(**cell | {"context": tuple(cell["context"])}) for cell in value["cells"])
        records = tuple(np.asarray(numbers, np.int64) for numbers in value["cell_of_record"])
        if not (
            all(numbers.max(initial=-1) < len(cells) for numbers in records)
            and all(cell.attribute < len(attribute) and max(cell.context, default=-1) < len(context) for cell in cells)
            and all(0 < value < math.inf for cell in cells for value in (cell.share, cell.weight))
        ):
            raise ValueError(f"{path} is damaged: it names groups or records that do not exist; {_REMEDY}")
        return cls(attribute, context, cells, records)


def cell_weights(
    cells: Sequence[tuple[int, tuple[int, ...]]], shares: Float[np.ndarray, " cells"], max_weight: float, *,
    uniform: bool = False,
) -> Float[np.ndarray, " cells"]:  # fmt: skip
    """Returns the weight of the items of each cell; the mean over the items is 1.

    Args:
      cells: (attribute, context) of each cell.
      shares: share of the items in each, with sum 1.
      max_weight: cap of a weight, before they are scaled to the mean of 1.
      uniform: attributes get the same weight in sum; else they are made independent of the context.
    """
    rows = np.unique([attribute for attribute, _ in cells], return_inverse=True)[1]
    if uniform:
        weights = 1 / (len(set(rows)) * np.bincount(rows, shares)[rows])
    else:
        numbers = {context: number for number, context in enumerate(dict.fromkeys(context for _, context in cells))}
        columns = np.array([numbers[context] for _, context in cells])
        weights = np.bincount(rows, shares)[rows] * np.bincount(columns, shares)[columns] / shares
    weights = np.minimum(weights, max_weight)
    return weights / (weights * shares).sum()


def _check_found(name: str, groups: WordGroups, present: set[int]):
    """Raises BalanceError if a group is not present in any item."""
    if missing := [group for number, group in enumerate(groups.groups) if number not in present]:
        which = "of this group alone" if name == "attribute" else "of this group and an attribute"
        raise BalanceError(
            f"mitigation.{name}: no training item has words {which}: {missing[0]}. Words match whole words: list each "
            "form (man, men), or leave the group out"
        )
