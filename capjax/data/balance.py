"""Weights of training items, by words of their captions, under which an attribute is independent of the context.

Kamiran & Calders 2012, "Data preprocessing techniques for classification without discrimination": an item of attribute
a and context c has the weight P(a) P(c) / P(a, c). Without contexts, all attributes get the same weight in sum.

An item has an attribute if its captions have words of one group of `mitigation.attribute` alone. Its context are all
groups of `mitigation.context` of which its captions have words, none included. Items without an attribute keep the
weight 1, and so does the mean of all items.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from jaxtyping import Float, Int

from capjax.data.record import Record
from capjax.data.targets import KINDS
from capjax.files import read_json, write_with_digest
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


class _BalanceJson(TypedDict):
    attribute: list[list[str]]
    context: list[list[str]]
    max_weight: float
    cells: list[dict]
    cell_of_record: list[list[int]]


@dataclass(frozen=True)
class Balance:
    """The attributes and contexts of the training items, and their weights.

    Attributes:
      attribute, context: groups of words.
      max_weight: cap of a weight.
      cells: those that have items.
      cell_of_record: the cell of each record of each dataset; -1: it has no attribute.
    """

    attribute: WordGroups
    context: WordGroups
    max_weight: float
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
          BalanceError: no caption names a group.
        """
        attribute, context = WordGroups.of(mitigation.attribute), WordGroups.of(mitigation.context)
        numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        cell_of_record, total, done = [], sum(map(len, sources)), 0
        log.info("mitigation: reading the captions of %s items", f"{total:,}")
        for source in sources:
            cells = np.full(len(source), -1, np.int32)
            for index in range(len(source)):
                texts = answers(source[index], data)
                group = attribute.only(texts)
                if group is not None:
                    key = group, tuple(sorted(context.in_texts(texts)))
                    cells[index] = numbers.setdefault(key, len(numbers))
                done += 1
                if done % _LOG_EVERY == 0:
                    log.info("mitigation: read the captions of %s of %s items", f"{done:,}", f"{total:,}")
            cell_of_record.append(cells)
        _check_found("attribute", attribute, {group for group, _ in numbers})
        _check_found("context", context, {group for _, groups in numbers for group in groups})
        counts = np.zeros(len(numbers), int)
        drawn = np.zeros(len(numbers))
        for cells, share in zip(cell_of_record, shares, strict=True):
            own = np.bincount(cells[cells >= 0], minlength=len(numbers))
            counts += own
            drawn += own * share / len(cells)
        drawn /= drawn.sum()
        weights = cell_weights(list(numbers), drawn, mitigation.max_weight, uniform=not len(context))
        cells_ = tuple(
            BalanceCell(*key, int(count), float(share), float(weight))
            for key, count, share, weight in zip(numbers, counts, drawn, weights, strict=True)
        )
        balance = cls(attribute, context, mitigation.max_weight, cells_, tuple(cell_of_record))
        for line in balance.describe():
            log.info("mitigation: %s", line)
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

    def describe(self) -> list[str]:
        """Returns lines with the number of items and the weight of each attribute and context, and what could not be
        balanced."""
        none = sum(int((cells < 0).sum()) for cells in self.cell_of_record)
        lines = [f"{sum(cell.items for cell in self.cells):,} items with one attribute, {none:,} others of weight 1"]
        for cell in sorted(self.cells, key=lambda cell: -cell.items)[:_MAX_ROWS]:
            context = " + ".join(map(self.context.label, cell.context)) or ("no context" if len(self.context) else "")
            name = ", ".join(filter(None, [self.attribute.label(cell.attribute), context]))
            lines.append(f"{name}: {cell.items:,} items, weight {cell.weight:.3f}")
        if len(self.cells) > _MAX_ROWS:
            lines.append(f"and {len(self.cells) - _MAX_ROWS:,} rarer combinations")
        by_context: dict[tuple[int, ...], set[int]] = {}
        for cell in self.cells:
            by_context.setdefault(cell.context, set()).add(cell.attribute)
        for context_groups, present in by_context.items():
            if missing := [self.attribute.label(a) for a in range(len(self.attribute)) if a not in present]:
                name = " + ".join(map(self.context.label, context_groups)) or "no context"
                lines.append(f"warning: no item of {name} names {', '.join(missing)}: it cannot be balanced")
        return lines

    def save(self, path: Path):
        """Writes a JSON file."""
        value = {
            "attribute": self.attribute.groups, "context": self.context.groups, "max_weight": self.max_weight,
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
        try:
            cells = tuple(BalanceCell(**cell | {"context": tuple(cell["context"])}) for cell in value["cells"])
            records = tuple(np.asarray(numbers, np.int32) for numbers in value["cell_of_record"])
            if any(len(numbers) and not -1 <= numbers.min() <= numbers.max() < len(cells) for numbers in records):
                raise ValueError("a record is in a cell that does not exist")
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ValueError(f"{path} is damaged: {error!s:.120}; {_REMEDY}") from error
        attribute, context = WordGroups.of(value["attribute"]), WordGroups.of(value["context"])
        return cls(attribute, context, value["max_weight"], cells, records)


def answers(record: Record, data) -> list[tuple[str, str]]:
    """Returns (text, language) of the captions of a record that the task of a config's `data` section learns."""
    kind = KINDS[data.task]
    return [(c.text, c.lang) for c in record.captions if c.kind == kind and c.lang in data.languages]


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
    if missing := [number for number in range(len(groups)) if number not in present]:
        raise BalanceError(
            f"mitigation.{name}: no training item {'with an attribute ' if name == 'context' else ''}has a word of the "
            f"group {groups.groups[missing[0]]}"
            f"{' and of no other group' if name == 'attribute' else ''}; words match whole words, so list each form "
            "(man, men), or leave the group out"
        )
