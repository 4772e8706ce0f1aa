"""Finds wrong relations and directions: left for right, under for on, at the top for at the bottom."""

from collections import Counter
from collections.abc import Iterator, Sequence

from capjax.analyze import labels as labels_lib
from capjax.analyze.english import relations
from capjax.analyze.facts import Mention, ParsedCaption, Relation
from capjax.analyze.findings import RELATION, Box, Finding
from capjax.analyze.labels import LabeledObject
from capjax.analyze.lexicon import split

# (kind, whether subject and object are exchanged)
Oriented = tuple[str, bool]

_SYMMETRIC = frozenset(("near", "far", "touch"))
# Relations that may be said of the same two things.
_SAME = [frozenset(line) for line in (("on", "in"), ("on", "above"))]
# Relations of which at most one is said of two things in a drawing.
_EXCLUSIVE = frozenset(("left", "above", "touch"))
_OPPOSITES = [frozenset(line) for line in (("in", "out"), ("near", "far"))]
_OPPOSED = [frozenset(split(line)) for line in relations.OPPOSED]
_NAMES = {
    ("left", False): "left of", ("left", True): "right of", ("above", False): "above", ("above", True): "below",
    ("on", True): "under", ("front", False): "in front of", ("front", True): "behind", ("out", False): "outside",
    ("touch", False): "touching", ("near", False): "next to", ("far", False): "far from",
}  # fmt: skip


def find_spatial_errors(
    caption: ParsedCaption, references: Sequence[ParsedCaption], labels: list[LabeledObject] | None, agreeing: int,
    said: list[tuple[str, str]], *, complete: bool = True,
) -> Iterator[Finding]:  # fmt: skip
    """Yields the wrong relations and directions of a caption.

    Args:
      labels: objects in the picture, if it has labels; boxes decide between left and right, above and below.
      agreeing: the fewest references that must agree.
      said: gets (category of evidence, what is said) of everything that could have been an error.
      complete: the labels have every object of their categories; else boxes confirm relations, and contradict none.
    """
    yield from _relations(caption, references, labels, agreeing, said, complete)
    yield from _directions(caption, references, agreeing, said)


def _relations(caption, references, labels, agreeing, said, complete) -> Iterator[Finding]:
    for relation in caption.relations:
        subject, target = caption.mentions[relation.subject], caption.mentions[relation.object]
        if subject.general or target.general or relation.subject == relation.object:
            continue
        own: Oriented = (relation.kind, False)
        by_reference = [kinds for reference in references if (kinds := set(_of_pair(reference, subject, target)))]
        counts = Counter(oriented for kinds in by_reference for oriented in kinds)
        by_boxes = _by_boxes(relation.kind, subject.concept, target.concept, labels)
        name = _name(own, relation, subject.concept, target.concept)
        if counts:
            said.append(("relation", name))
        supported = any(_agree(own, other) for other in counts)
        against = [other for other in counts if _contradict(own, other)]
        number = sum(bool(kinds & set(against)) for kinds in by_reference)
        boxes = (*labels_lib.boxes(labels or [], subject.concept), *labels_lib.boxes(labels or [], target.concept))
        if against and not supported and by_boxes is not True and number >= agreeing and 2 * number > len(by_reference):
            expected = _name(max(against, key=lambda other: counts[other]), relation, subject.concept, target.concept)
            reason = f"{number} of {len(by_reference)} references that relate the two have {expected}"
            yield Finding(RELATION, relation.words, name, expected, "references", reason, boxes, "relation")
        elif by_boxes is False and complete and not supported:
            expected = _name((relation.kind, True), relation, subject.concept, target.concept)
            yield Finding(RELATION, relation.words, name, expected, "boxes", f"by the boxes, {expected}", boxes)


def _name(oriented: Oriented, relation: Relation, subject: str, target: str) -> str:
    """Returns a relation in words, in the order in which the caption names the two things."""
    kind, turned = oriented
    if relation.exchanged:
        subject, target, turned = target, subject, not turned and kind not in _SYMMETRIC
    return f"{subject} {_NAMES.get((kind, turned), kind)} {target}"


def _of_pair(reference: ParsedCaption, subject: Mention, target: Mention) -> Iterator[Oriented]:
    """Yields the relations of a reference between the same two things, as seen from `subject`. Where attributes match
    none, because one of them is wrong, concepts decide."""
    pairs = [
        (relation, reference.mentions[relation.subject], reference.mentions[relation.object])
        for relation in reference.relations
    ]
    pairs = [pair for pair in pairs if {pair[1].concept, pair[2].concept} == {subject.concept, target.concept}]
    matches = [
        (relation, exchanged)
        for relation, first, second in pairs
        for exchanged, (one, other) in ((False, (first, second)), (True, (second, first)))
        if _same_thing(subject, one) and _same_thing(target, other)
    ] or [
        (relation, exchanged)
        for relation, first, second in pairs
        for exchanged, concept in ((False, first.concept), (True, second.concept))
        if subject.concept == concept
    ]
    for relation, exchanged in matches:
        yield _oriented(relation, exchanged)


def _oriented(relation: Relation, exchanged: bool) -> Oriented:
    return relation.kind, exchanged and relation.kind not in _SYMMETRIC


def _same_thing(first: Mention, second: Mention) -> bool:
    """Whether two mentions have one concept and no contradicting attributes."""
    if first.concept != second.concept:
        return False
    for kind in {kind for kind, _ in first.attributes} & {kind for kind, _ in second.attributes}:
        one, other = ({value for k, value in mention.attributes if k == kind} for mention in (first, second))
        if not one & other:
            return False
    return True


def _agree(own: Oriented, other: Oriented) -> bool:
    kinds = {own[0], other[0]}
    if "near" in kinds and "far" not in kinds:
        return True
    return own[1] == other[1] and (len(kinds) == 1 or any(kinds <= line for line in _SAME))


def _contradict(own: Oriented, other: Oriented) -> bool:
    kinds = {own[0], other[0]}
    if any(kinds == line for line in _OPPOSITES):
        return True
    if own[1] != other[1] and (len(kinds) == 1 or kinds == {"on", "above"}):
        return True
    return len(kinds) == 2 and kinds <= _EXCLUSIVE


def _by_boxes(kind: str, subject: str, target: str, labels: list[LabeledObject] | None) -> bool | None:
    """Whether boxes show a relation; None where they do not decide."""
    if kind not in ("left", "above", "on") or not labels or subject == target:
        return None
    pairs = [(a, b) for a in labels_lib.boxes(labels, subject) for b in labels_lib.boxes(labels, target)]
    if not pairs:
        return None
    axis = 0 if kind == "left" else 1
    if any(_center(b, axis) - _center(a, axis) >= _extent(a, axis) / 4 + _extent(b, axis) / 4 for a, b in pairs):
        return True
    # Clear of each other, the wrong way round.
    return False if kind != "on" and all(a[axis] >= b[axis + 2] for a, b in pairs) else None


def _center(box: Box, axis: int) -> float:
    return (box[axis] + box[axis + 2]) / 2


def _extent(box: Box, axis: int) -> float:
    return box[axis + 2] - box[axis]


def _directions(caption, references, agreeing, said) -> Iterator[Finding]:
    for direction in caption.directions:
        subject = caption.mentions[direction.subject]
        lines = [line for line in _OPPOSED if direction.value in line]
        values = [
            {
                other.value
                for other in reference.directions
                if _same_thing(subject, reference.mentions[other.subject])
                and any(other.value in line for line in lines)
            }
            for reference in references
        ]
        values = [own for own in values if own]
        counts = Counter(value for own in values for value in own)
        if not counts:
            continue
        said.append(("direction", direction.value))
        expected, number = counts.most_common(1)[0]
        if direction.value not in counts and number >= agreeing:
            yield Finding(
                RELATION, direction.words, f"{subject.concept}: {direction.value}", f"{subject.concept}: {expected}",
                "references", f"{number} of {len(values)} references that say it have {expected}", (), "direction",
            )  # fmt: skip
