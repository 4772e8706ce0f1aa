"""Finds what an English caption says wrongly: objects, attributes, numbers, relations, actions.

A caption is compared with the reference captions of its picture and, where there are labels, with them. What two
people say of one picture differs too; `Disagreement` in capjax.analyze.disagreement tells such differences from errors.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from capjax.analyze import labels as labels_lib
from capjax.analyze.english import actions, attributes
from capjax.analyze.facts import Action, Mention, ParsedCaption
from capjax.analyze.findings import ACTION, ATTRIBUTE, HALLUCINATED, MISSING, NUMBER, Finding
from capjax.analyze.labels import LabeledObject
from capjax.analyze.lexicon import Lexicon, split
from capjax.analyze.spatial_errors import find_spatial_errors

# After these a caption is about more things than it names.
_OTHERS = frozenset(("another", "others"))
_WITH_ANY = frozenset(split(actions.WITH_ANY))
_TOGETHER = [frozenset(split(line)) for line in actions.TOGETHER]
_SIMILAR = {kind: [frozenset(split(line)) for line in lines] for kind, lines in attributes.SIMILAR.items()}


@dataclass
class Comparison:
    """A caption beside the references of its picture.

    Attributes:
      labels: objects in the picture; None where there are no labels.
      scores: if the labels are those of a detector, which misses objects, its highest score for each category; None of
        labels of people, which are complete.
      said: (category of evidence, what is said) of everything that could have been an error, found or not.
    """

    caption: ParsedCaption
    references: Sequence[ParsedCaption]
    lexicon: Lexicon
    labels: list[LabeledObject] | None = None
    scores: Mapping[str, float] | None = None
    said: list[tuple[str, str]] = field(default_factory=list)

    @property
    def agreeing(self) -> int:
        """The fewest references that must agree: two, or all where there are fewer."""
        return min(2, len(self.references))

    def findings(self) -> list[Finding]:
        """Returns the errors of what the caption says."""
        findings = [
            *self._objects(), *self._attributes(), *self._numbers(), *self._actions(),
            *find_spatial_errors(
                self.caption, self.references, self.labels, self.agreeing, self.said, complete=self.scores is None
            ),
        ]  # fmt: skip
        return self._substitutions_joined(findings)

    def _substitutions_joined(self, findings: list[Finding]) -> list[Finding]:
        """Joins an object that is not there with one of its group that is said too few times: `a star and a circle` for
        two circles."""
        joined = list(findings)
        for finding in findings:
            if finding.kind != HALLUCINATED or finding.expected:
                continue
            for other in joined:
                same_group = self.lexicon.group(finding.said) == self.lexicon.group(other.expected) != ""
                if other.kind == MISSING and other.category.startswith("number") and same_group:
                    joined.remove(other)
                    joined[joined.index(finding)] = replace(finding, expected=other.expected, boxes=other.boxes)
                    break
        return joined

    # Objects.

    def _objects(self) -> Iterator[Finding]:
        mentions = {mention.concept: mention for mention in reversed(things(self.caption.mentions))}
        unsupported = [concept for concept in mentions if not self._is_supported(concept)][::-1]
        missing = list(self._missing(mentions))
        for concept in mentions:
            if self._labeled(concept) is None:
                self.said += [(f"object {self.lexicon.group(concept)}", concept), ("object instead", concept)]
        for concept in unsupported:
            labeled = self._labeled(concept)
            replaced = next((other for other in missing if self._same_role(mentions[concept], other)), "")
            if replaced:
                missing.remove(replaced)
            instead = f", they name {replaced}" if replaced else ""
            if labeled is not None:
                shown = ", ".join(sorted({item.category for item in self.labels or ()})) or "no object"
                source, category = "labels", ""
                reason = f"neither labels ({shown}) nor references have {concept}"
            else:
                same_group = replaced and self.lexicon.group(concept) == self.lexicon.group(replaced) != ""
                source, category = (
                    "references",
                    "object instead" if same_group else f"object {self.lexicon.group(concept)}",
                )
                reason = f"none of {len(self.references)} references names {concept}{instead}{self._score_of(concept)}"
            boxes = labels_lib.boxes(self.labels or [], replaced)
            yield Finding(
                HALLUCINATED, mentions[concept].words, concept, replaced, source, reason, boxes, category
            )  # fmt: skip
        for concept in missing:
            count = sum(concept in concepts(reference) for reference in self.references)
            boxes = labels_lib.boxes(self.labels or [], concept)
            reason = f"{count} of {len(self.references)} references name {concept}{self._score_of(concept)}"
            source = self._labels_source if self._labeled(concept) else "references"
            yield Finding(MISSING, "", "", concept, source, reason, boxes, "missing object")

    def _labeled(self, concept: str) -> bool | None:
        """Whether the labels have a category; None where labels say nothing about it, as those of a detector do about
        what it did not find."""
        if self.labels is None or concept not in self.lexicon.categories:
            return None
        if any(item.category == concept for item in self.labels):
            return True
        return False if self.scores is None else None

    @property
    def _labels_source(self) -> str:
        return "labels" if self.scores is None else "detector"

    def _score_of(self, concept: str) -> str:
        """Returns the detector's score for a concept in words; empty where there is none."""
        if self.scores is None or concept not in self.lexicon.categories:
            return ""
        score = self.scores.get(concept, 0.0)
        return f"; the detector's score for it is {f'{score:.2f}' if score else f'below {labels_lib.LEAST_SCORE}'}"

    def _is_supported(self, concept: str) -> bool:
        if self._labeled(concept) or (self.scores or {}).get(concept, 0.0) >= labels_lib.POSSIBLE:
            return True
        group = self.lexicon.group(concept)
        return any(
            mention.concept == concept or (mention.general and mention.general == group)
            for reference in self.references
            for mention in reference.mentions
        )

    def _missing(self, mentions: dict[str, Mention]) -> Iterator[str]:
        """Yields the objects that most references name, and the caption does not."""
        named = Counter(concept for reference in self.references for concept in concepts(reference))
        general = {mention.general for mention in self.caption.mentions} - {""}
        for concept, count in named.items():
            if 2 * count <= len(self.references) or count < self.agreeing or self._labeled(concept) is False:
                continue
            self.said.append(("missing object", concept))
            if concept not in mentions and not general & {self.lexicon.group(concept), "*"}:
                yield concept

    def _same_role(self, mention: Mention, missing: str) -> bool:
        """Whether a thing is said instead of another: both are of a group, or the same is said of them."""
        if (group := self.lexicon.group(mention.concept)) and group == self.lexicon.group(missing):
            return True
        own = _said_of(self.caption, mention.concept)
        return any(own & _said_of(reference, missing) for reference in self.references)

    # Attributes.

    def _attributes(self) -> Iterator[Finding]:
        said: dict[tuple[str, str], list[tuple[str, Mention]]] = {}
        for mention in things(self.caption.mentions):
            for kind, value in mention.attributes:
                said.setdefault((mention.concept, kind), []).append((value, mention))
        for (concept, kind), values in said.items():
            lists = [list(_values(reference, concept, kind)) for reference in self.references]
            lists = [values_of_one for values_of_one in lists if values_of_one]
            if len(lists) < self.agreeing:
                continue
            for value, mention in _unsupported(values, lists):
                counts = Counter(other for values_of_one in lists for other in set(values_of_one))
                left = Counter(other for other, _ in values)
                expected = next((other for other, _ in counts.most_common() if not left[other]), "")
                if counts[expected] >= self.agreeing:
                    alike = any({value, expected} <= line for line in _SIMILAR[kind])
                    reason = f"{counts[expected]} of {len(lists)} references that say it have {expected} {concept}"
                    yield Finding(
                        ATTRIBUTE, mention.words, f"{value} {concept}", f"{expected} {concept}", "references", reason,
                        labels_lib.boxes(self.labels or [], concept), f"similar {kind}" if alike else kind,
                    )  # fmt: skip
            self.said += [(name, f"{value} {concept}") for value, _ in values for name in (kind, f"similar {kind}")]

    # Numbers.

    def _numbers(self) -> Iterator[Finding]:
        for concept in concepts(self.caption):
            own = _distinct(self.caption, concept)
            low, high = _total(own)
            if high is None or not all(mention.exact for mention in own) or _OTHERS & set(self.caption.words):
                continue
            if low > 1 and len(own) > 1:  # several things of a kind, each by itself
                continue
            sets = [mentions for reference in self.references if (mentions := _distinct(reference, concept))]
            intervals = [_total(mentions) for mentions in sets]
            exact = [interval for interval in intervals if interval[0] == interval[1]]
            category = "number" if low > 1 else "number one"
            if len(exact) < self.agreeing:
                continue
            self.said += [("number", f"{low} {concept}"), ("number one", f"{low} {concept}")]
            compatible = any(a <= low and (b is None or low <= b) for a, b in intervals)
            labeled = [item for item in self.labels or () if item.category == concept]
            (expected, _), count = Counter(exact).most_common(1)[0]
            # A detector finds too few things more often than too many.
            confirmed = len(labeled) == low and (self.scores is None or low > expected)
            if compatible or confirmed or any(item.crowd for item in labeled):
                continue
            if count < self.agreeing:
                continue
            boxes = labels_lib.boxes(self.labels or [], concept)
            if low < expected and all(len(mentions) > len(own) for mentions in sets):
                reason = f"{count} of {len(sets)} references that name {concept} name {expected}, the caption {low}"
                yield Finding(MISSING, "", "", concept, "references", reason, boxes, category)
                continue
            counted = (
                f"; {'labels have' if self.scores is None else 'the detector finds'} {len(labeled)}" if labeled else ""
            )
            reason = f"{count} of {len(intervals)} references that name {concept} have {expected}{counted}"
            words = ", ".join(mention.words for mention in own)
            yield Finding(
                NUMBER, words, f"{low} {concept}", f"{expected} {concept}", "references", reason, boxes, category
            )

    # Actions.

    def _actions(self) -> Iterator[Finding]:
        all_said = frozenset().union(*(action.actions for action in self.caption.actions))
        for action in self.caption.actions:
            if action.actions & _WITH_ANY:
                continue
            subject = _subject(self.caption, action)
            agreed = self._agreed_actions(subject)
            if not agreed:
                continue
            expected, count = agreed.most_common(1)[0]
            together = any(action.actions & line and expected in line for line in _TOGETHER)
            category = "action that goes with it" if together else "action"
            name = sorted(action.actions)[0]
            self.said += [("action", name), ("action that goes with it", name)]
            support = any(
                action.actions & other.actions for reference in self.references for other in reference.actions
            )
            if support or expected in all_said:
                continue
            who = subject or "what is shown"
            reason = f"{count} of {len(self.references)} references have {who} {expected}, and none {name}"
            yield Finding(
                ACTION, action.words, name, expected, "references", reason,
                labels_lib.boxes(self.labels or [], subject), category,
            )  # fmt: skip

    def _agreed_actions(self, subject: str) -> Counter[str]:
        """Returns the actions that most references name, with their number."""
        named: Counter[str] = Counter()
        for reference in self.references:
            own = [a for a in reference.actions if not subject or _subject(reference, a) in (subject, "")]
            named.update({name for action in own for name in action.actions} - _WITH_ANY)
        least = max(self.agreeing, math.ceil(0.6 * len(self.references)))
        return Counter({name: count for name, count in named.items() if count >= least})


def things(mentions: Iterable[Mention]) -> list[Mention]:
    """Returns the mentions of proper concepts."""
    return [mention for mention in mentions if not mention.general]


def concepts(caption: ParsedCaption) -> list[str]:
    """Returns the proper concepts of a caption, each once."""
    return list(dict.fromkeys(mention.concept for mention in things(caption.mentions)))


def _subject(caption: ParsedCaption, action: Action) -> str:
    return "" if action.subject is None else caption.mentions[action.subject].concept


def _said_of(caption: ParsedCaption, concept: str) -> set[tuple[str, ...]]:
    """Returns the relations and directions of a concept, with what it is related to."""
    mentions = caption.mentions
    said: set[tuple[str, ...]] = set()
    for relation in caption.relations:
        first, second = mentions[relation.subject].concept, mentions[relation.object].concept
        if concept in (first, second):
            said.add((relation.kind, *("" if other == concept else other for other in (first, second))))
    said |= {(d.value,) for d in caption.directions if mentions[d.subject].concept == concept}
    return said


def _values(caption: ParsedCaption, concept: str, kind: str) -> Iterator[str]:
    """Yields the values of a type that a caption gives to a concept."""
    for mention in things(caption.mentions):
        if mention.concept == concept:
            yield from (value for other, value in mention.attributes if other == kind)


def _unsupported(said: list[tuple[str, Mention]], lists: list[list[str]]) -> Iterator[tuple[str, Mention]]:
    """Yields the values that no reference gives; and one that is said more often than any reference has it, if it
    names as many values."""
    for value, mention in said:
        if not any(value in values for values in lists):
            yield value, mention
    most = Counter[str]()
    for values in lists:
        most |= Counter(values)
    if all(len(values) == len(said) for values in lists):
        for value, count in Counter(value for value, _ in said).items():
            if count > most[value] > 0:
                yield value, next(mention for other, mention in reversed(said) if other == value)


def _distinct(caption: ParsedCaption, concept: str) -> list[Mention]:
    """Returns the mentions of a concept; one with `the` after another is of the same things."""
    mentions = [mention for mention in things(caption.mentions) if mention.concept == concept]
    return [mention for number, mention in enumerate(mentions) if not (number and mention.definite)]


def _total(mentions: Sequence[Mention]) -> tuple[int, int | None]:
    """Returns the smallest and largest number of things that mentions of a concept may mean together."""
    highs = [mention.high for mention in mentions]
    high = None if None in highs else sum(value or 0 for value in highs)
    return sum(mention.low for mention in mentions), high
