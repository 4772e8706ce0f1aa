"""Confusion matrices of objects, attributes and actions: what was said where something else was to be said."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from capjax.analyze.caption_errors import CaptionErrors
from capjax.analyze.content_errors import concepts
from capjax.analyze.facts import ParsedCaption
from capjax.analyze.findings import ACTION, ATTRIBUTE, HALLUCINATED, MISSING, Finding

Id = int | str
NOTHING = "(nothing)"
# Rows and columns of a matrix, and items that are kept behind a cell.
_MAX_NAMES, _MAX_ITEMS = 20, 24


@dataclass
class ConfusionMatrix:
    """Counts of pairs: the concept that was present, or meant, and the one that was said instead.

    Attributes:
      name: `objects`, `actions`, or a type of attributes.
      cells: {(present, said): ids of the items}.
    """

    name: str
    cells: dict[tuple[str, str], list[Id]] = field(default_factory=dict)

    def add(self, present: str, said: str, id: Id):
        """Adds an item to a cell, once."""
        ids = self.cells.setdefault((present, said), [])
        if not ids or ids[-1] != id:
            ids.append(id)

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """The rows and columns with the most confusions, which are shown, the most frequent first."""
        wrong = [Counter[str](), Counter[str]()]
        for (present, said), ids in self.cells.items():
            if present != said:
                wrong[0][present] += len(ids)
                wrong[1][said] += len(ids)
        rows, columns = ([name for name, _ in counter.most_common(_MAX_NAMES)] for counter in wrong)
        both = [name for name in columns if name != NOTHING]
        columns = list(dict.fromkeys([*(row for row in rows if row != NOTHING), *both, NOTHING]))
        return rows, columns

    def table(self) -> Iterator[tuple[str, int, list[tuple[str, int, float, list[Id]]]]]:
        """Yields (present, number of items, [(said, items, share of the row, first ids)])."""
        rows, columns = self.names
        totals = Counter[str]()
        for (present, _), ids in self.cells.items():
            totals[present] += len(ids)
        for row in rows:
            cells = []
            for column in columns:
                ids = self.cells.get((row, column), [])
                cells.append((column, len(ids), len(ids) / max(totals[row], 1), ids[:_MAX_ITEMS]))
            yield row, totals[row], cells


def confusion_matrices(errors: CaptionErrors, findings: Mapping[Id, Sequence[Finding]]) -> list[ConfusionMatrix]:
    """Returns the matrices that have a confusion: objects, types of attributes, actions.

    Args:
      errors: of English captions.
      findings: {id: errors}; those of `errors`, or a part of them.
    """
    matrices: dict[str, ConfusionMatrix] = {}

    def add(name: str, present: str, said: str, id: Id):
        matrices.setdefault(name, ConfusionMatrix(name)).add(present, said, id)

    for id, caption in errors.captions.items():
        references = errors.references[id]
        wrong = {finding.said for finding in findings.get(id, ())}
        for concept in concepts(caption):
            if concept not in wrong and _is_named(references, concept):
                add("objects", concept, concept, id)
        for mention in caption.mentions:
            for kind, value in mention.attributes:
                if not mention.general and _have(references, mention.concept, (kind, value)):
                    add(kind, value, value, id)
        for name in {name for action in caption.actions for name in action.actions}:
            if any(name in action.actions for reference in references for action in reference.actions):
                add("actions", name, name, id)
        for finding in findings.get(id, ()):
            if finding.kind in (HALLUCINATED, MISSING):
                add("objects", finding.expected or NOTHING, finding.said or NOTHING, id)
            elif finding.kind == ACTION:
                add("actions", finding.expected, finding.said, id)
            elif finding.kind == ATTRIBUTE:
                name = finding.category.removeprefix("similar ")
                add(name, finding.expected.split(" ")[0], finding.said.split(" ")[0], id)
    order = {name: number for number, name in enumerate(("objects", "actions"))}
    has_confusion = (m for m in matrices.values() if any(present != said for present, said in m.cells))
    return sorted(has_confusion, key=lambda matrix: order.get(matrix.name, len(order)))


def _is_named(references: Sequence[ParsedCaption], concept: str) -> bool:
    return any(concept in concepts(reference) for reference in references)


def _have(references: Sequence[ParsedCaption], concept: str, attribute: tuple[str, str]) -> bool:
    return any(
        mention.concept == concept and attribute in mention.attributes
        for reference in references
        for mention in reference.mentions
    )
