"""Bias of a model beyond that of its data: amplification of gender associations, and leakage of gender.

Amplification (Zhao et al. 2017, "Men also like shopping"): b(o, g) is the share of gender g among the captions that
name o and one gender. Of all objects and actions that go with a gender in the data, b* > 1/2, the mean of
b(o, g) - b*(o, g) in the predictions is the amplification: 0.05 means five points more.

Leakage (LIC, Hirota et al. 2022, "Quantifying societal bias amplification in image captioning"): a classifier guesses
the gender of the people in the picture from captions in which words for gender are masked. The mean confidence of
right guesses, on captions of the model less that on captions by people, is LIC. Captions by people lose the words that
the model never says. Published figures use an LSTM or BERT; here it is a logistic regression on word counts, so that
figures compare with each other and not with those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capjax.analyze.terms import Id, Term, gender, without_gender
from capjax.metrics.significance import Comparison, Interval, comparisons, confidences

GENDERS = ("male", "female")
# A term counts where this many captions of the data, and one of the predictions, name it and one gender.
_MIN_CAPTIONS = 10
_FOLDS, _MIN_PER_GENDER = 5, 20
_WORD = r"[^\s.,;:!?]+"


@dataclass(frozen=True)
class Amplification:
    """Gender associations of predictions beside those of the data.

    Attributes:
      value: mean amplification over the terms; None: the reason is in `problem`.
      interval: 95 % confidence interval over the predictions.
      terms: (term, gender that it goes with in the data, share in the data, share in the predictions, captions).
    """

    value: float | None
    interval: Interval | None = None
    terms: tuple[tuple[Term, str, float, float, int], ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Leakage:
    """Leakage of gender: the confidence of a classifier that guesses it from captions without words for gender.

    Attributes:
      model, people: mean confidence of right guesses on the captions of the model and of people, from 0 to 1; half of
        it is chance.
      lic: their difference, with confidence interval and p-value; None: the reason is in `problem`.
      items: number of captions of each.
    """

    model: float = 0.0
    people: float = 0.0
    lic: Comparison | None = None
    items: int = 0
    problem: str = ""


def _shares(counts: np.ndarray) -> np.ndarray:
    """Returns the share of each gender, [terms, 2] -> [terms, 2]; NaN without captions."""
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(1, keepdims=True)


def _counts_by_item(terms: Mapping[Id, set[Term]], genders: Mapping[Id, str], counted: Sequence[Term]) -> np.ndarray:
    """Returns for each item whether it has a term and a gender, float64 [terms, 2, items]."""
    row = {term: number for number, term in enumerate(counted)}
    counts = np.zeros((len(counted), 2, len(terms)))
    for column, (id, own) in enumerate(terms.items()):
        if genders[id]:
            for term in own:
                if term in row:
                    counts[row[term], GENDERS.index(genders[id]), column] = 1
    return counts


class AmplificationMeasure:
    """Amplification of predictions relative to a set of data.

    Args:
      data: {id: terms} of the data, or of the references.
      genders: {id: gender that the captions of the item name, or empty}.
    """

    def __init__(self, data: Mapping[Id, set[Term]], genders: Mapping[Id, str]):
        counted = sorted({t for own in data.values() for t in own if t[0] in ("object", "action")})
        counts = _counts_by_item(data, genders, counted).sum(2)
        kept = counts.sum(1) >= _MIN_CAPTIONS
        self.terms = [term for term, keep in zip(counted, kept, strict=True) if keep]
        self.shares = _shares(counts[kept])
        self.goes_with = self.shares.argmax(1) if len(self.terms) else np.zeros(0, int)
        self.biased = self.shares.max(1, initial=0.0) > 0.5

    def statistics(self, terms: Mapping[Id, set[Term]], genders: Mapping[Id, str]) -> np.ndarray:
        """Returns what adds up over items, float64 [2 * terms, items]."""
        return _counts_by_item(terms, genders, self.terms).reshape(2 * len(self.terms), -1)

    def aggregate(self, sums: np.ndarray) -> np.ndarray:
        """Returns the mean amplification of sums of statistics, [2 * terms, ...] -> [...]; 0 without any term."""
        sums = np.asarray(sums, float)
        counts = sums.reshape(len(self.terms), 2, *sums.shape[1:])
        rows = np.arange(len(self.terms))
        total = counts.sum(1)
        said = np.divide(counts[rows, self.goes_with], total, out=np.zeros_like(total), where=total > 0)
        data = self.shares[rows, self.goes_with].reshape(-1, *[1] * (sums.ndim - 1))
        counted = (total > 0) & self.biased.reshape(-1, *[1] * (sums.ndim - 1))
        number = counted.sum(0)
        return np.where(counted, said - data, 0.0).sum(0) / np.maximum(number, 1)

    def measure(self, terms: Mapping[Id, set[Term]], genders: Mapping[Id, str], *, seed: int = 0) -> Amplification:
        """Returns the amplification of predictions."""
        if not self.biased.any():
            return Amplification(
                None, problem=f"no object or action has {_MIN_CAPTIONS} captions with a gender in the data"
            )
        statistics = self.statistics(terms, genders)
        counts = statistics.sum(1).reshape(len(self.terms), 2)
        if not counts[self.biased].any():
            return Amplification(None, problem="no prediction names a gender and an object or action of the data")
        shares = _shares(counts)
        rows = tuple(
            (term, GENDERS[g], float(self.shares[row, g]), float(shares[row, g]), int(counts[row].sum()))
            for row, (term, g) in enumerate(zip(self.terms, self.goes_with, strict=True))
            if self.biased[row] and counts[row].sum()
        )
        value = float(self.aggregate(statistics.sum(1)))
        interval = None
        if statistics.shape[1] > 1:
            interval = confidences({"amplification": (statistics, self.aggregate)}, seed=seed)["amplification"]
        return Amplification(value, interval, tuple(sorted(rows, key=lambda row: row[2] - row[3])))

    def compare(self, first: tuple[Mapping, Mapping], second: tuple[Mapping, Mapping], *, seed: int = 0) -> Comparison:
        """Returns the difference between two systems, each as (terms, genders), of the same items."""
        statistics = [self.statistics(*system) for system in (first, second)]
        name = "amplification"
        return comparisons(
            {name: (statistics[0], self.aggregate)}, {name: (statistics[1], self.aggregate)}, seed=seed
        )[name]  # fmt: skip


class LeakageMeasure:
    """Leakage of gender from captions of the same pictures, by one or several systems.

    Args:
      references: {id: captions by people}, in English.
      words: {id: words of all references}, which decide on the gender of the people in the picture.
      seed: draws one reference of each item, and as many items of one gender as of the other.
    """

    def __init__(self, references: Mapping[Id, Sequence[str]], words: Mapping[Id, Sequence[str]], *, seed: int = 0):
        self._seed, self.problem = seed, ""
        rng = np.random.default_rng(seed)
        by_gender: dict[str, list[Id]] = {name: [] for name in GENDERS}
        for id in references:
            if name := gender(words[id]):
                by_gender[name].append(id)
        least = min(map(len, by_gender.values()))
        if least < _MIN_PER_GENDER:
            numbers = " and ".join(f"{len(ids)} of {name}s" for name, ids in by_gender.items())
            self.problem = f"it takes {_MIN_PER_GENDER} pictures of each gender; the references name {numbers}"
        self.ids = [ids[i] for ids in by_gender.values() for i in sorted(rng.permutation(len(ids))[:least])]
        self._is_female = np.repeat([0, 1], least)
        self._people = [without_gender(references[id][int(rng.integers(len(references[id])))]) for id in self.ids]

    def _confidences(self, predictions: Mapping[Id, str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns for each item the confidence of a right guess, from the caption of the system and from that of people
        without the words that the system never says; 0 where the guess is wrong."""
        said = [without_gender(predictions[id]) for id in self.ids]
        vocabulary = {word for text in said for word in text.split()}
        human = [
            " ".join(word if word in vocabulary else "_unknown_" for word in text.split()) for text in self._people
        ]
        model, people = (_confidence_of_right_guesses(texts, self._is_female, self._seed) for texts in (said, human))
        return model, people

    def _compare(self, first: np.ndarray, second: np.ndarray) -> Comparison:
        """Returns the difference of the means of two values of each item."""
        ones = np.ones(len(first))
        return comparisons(
            {"LIC": (np.stack([first, ones]), _mean)}, {"LIC": (np.stack([second, ones]), _mean)}, seed=self._seed
        )["LIC"]

    def measure(self, predictions: Mapping[Id, str]) -> Leakage:
        """Returns the leakage of a system's {id: caption}."""
        if self.problem:
            return Leakage(problem=self.problem)
        model, people = self._confidences(predictions)
        return Leakage(float(model.mean()), float(people.mean()), self._compare(model, people), len(self.ids))

    def compare(self, first: Mapping[Id, str], second: Mapping[Id, str]) -> Comparison | None:
        """Returns the difference of LIC between two systems; None if it cannot be measured."""
        if self.problem:
            return None
        differences = [model - people for model, people in map(self._confidences, (first, second))]
        return self._compare(*differences)


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[0] / sums[1]


def _confidence_of_right_guesses(texts: Sequence[str], is_female: np.ndarray, seed: int) -> np.ndarray:
    """Returns for each text the confidence of the guess by a classifier of the other folds; 0 where it is wrong."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    classifier = make_pipeline(CountVectorizer(binary=True, token_pattern=_WORD), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    female = cross_val_predict(classifier, list(texts), is_female, cv=folds, method="predict_proba")[:, 1]
    confidence = np.where(is_female == 1, female, 1 - female)
    return np.where(confidence > 0.5, confidence, 0.0)
