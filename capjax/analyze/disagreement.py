"""How often people, describing the same picture, differ from each other in the way that a caption differs from them.

A difference between a caption and the references of its picture is evidence of an error only if people seldom differ
so: that no reference names a dog tells more than that none names grass. Each reference is compared with the others of
its picture as a caption would be, and the share of such differences among all references that say the same thing is
counted. Where there are few of them, the share of the whole category of evidence counts.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from capjax.analyze.content_errors import Comparison
from capjax.analyze.facts import ParsedCaption
from capjax.analyze.findings import Finding
from capjax.analyze.lexicon import Lexicon

# The largest share at which a difference still counts as an error.
MAX_SHARE = 0.05
# The weight of the share of the category, in references.
_PRIOR_WEIGHT = 5
# Pictures whose references are compared with each other.
_MAX_ITEMS = 5000


@dataclass
class Disagreement:
    """Differences of references from the others of their pictures.

    Attributes:
      differences: {(category, said, expected): number}.
      said: {(category, said): number of references that say it and could have differed}.
      compared: number of references that were compared.
      kinds: {kind: number of these references that would be reported for it}.
    """

    differences: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    said: Counter[tuple[str, str]] = field(default_factory=Counter)
    compared: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, references: Iterable[Sequence[ParsedCaption]], lexicon: Lexicon) -> "Disagreement":
        """Compares the references of each picture with each other. Pictures with fewer than three say nothing: of two,
        neither is right."""
        result = cls()
        sets = [captions for captions in references if len(captions) > 2]
        of_references = []
        for captions in sets[:: -(-len(sets) // _MAX_ITEMS) or 1]:
            for index, caption in enumerate(captions):
                comparison = Comparison(caption, [*captions[:index], *captions[index + 1 :]], lexicon)
                findings = comparison.findings()
                of_references.append(findings)
                result.differences.update({_key(finding) for finding in findings})
                result.said.update(set(comparison.said))
        result.compared = len(of_references)
        for findings in of_references:
            result.kinds.update({finding.kind for finding in findings if result.is_error(finding)})
        return result

    @cached_property
    def _category_shares(self) -> dict[str, float]:
        """{category: share of the differences among what is said}."""
        differing, total = Counter[str](), Counter[str]()
        for (category, _, _), count in self.differences.items():
            differing[category] += count
        for (category, _), count in self.said.items():
            total[category] += count
        return {category: differing[category] / count for category, count in total.items()}

    @cached_property
    def _expected_shares(self) -> dict[tuple[str, str], float]:
        """{(category, expected): share among the differences of the category}."""
        differing, expected = Counter[str](), Counter[tuple[str, str]]()
        for (category, _, wanted), count in self.differences.items():
            differing[category] += count
            expected[category, wanted] += count
        return {key: count / differing[key[0]] for key, count in expected.items()}

    def share(self, finding: Finding) -> float:
        """Returns the share of references with the same difference, among those that say the same thing."""
        category, said, expected = _key(finding)
        prior = self._category_shares.get(category, 0.0) * self._expected_shares.get((category, expected), 0.0)
        count = self.differences[_key(finding)]
        return (count + _PRIOR_WEIGHT * prior) / (self.said[(category, said)] + _PRIOR_WEIGHT)

    def is_error(self, finding: Finding) -> bool:
        """Whether people differ so seldom that a difference is an error."""
        return not finding.category or self.share(finding) <= MAX_SHARE


def _key(finding: Finding) -> tuple[str, str, str]:
    """What a difference is compared by; of a missing object, what is missing; of an added one, it alone."""
    expected = (
        "" if finding.category.startswith("object ") and finding.category != "object instead" else finding.expected
    )
    return finding.category, finding.said or expected, expected
