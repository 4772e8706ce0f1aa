"""Errors of ten kinds, planted into captions of drawn pictures and of everyday scenes: recall and precision per kind.

    python tests/benchmarks/measure_analyze.py [--seed 0] [--labels] [--references 5] [--without-periods] [--misses]

750 captions are of the `shapes` pictures, whose objects, attributes and relations are known exactly; 250 are
of everyday scenes with actions. Five paraphrases are the references of each; a sixth, true as well, gets one error of
one kind, or none. An error that was planted and is reported with its kind is found; whatever else is reported is a
false alarm.
"""

import argparse
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from capjax.analyze.caption_errors import find_errors
from capjax.analyze.findings import (
    ACTION,
    ATTRIBUTE,
    GENERIC,
    HALLUCINATED,
    KINDS,
    LANGUAGE,
    MISSING,
    NUMBER,
    RELATION,
    REPETITION,
    TRUNCATION,
)  # fmt: skip
from capjax.analyze.labels import LabeledObject
from data_prep.synthetic.shapes.grammar import captions
from data_prep.synthetic.shapes.scene import COLORS, SHAPES, Scene, make_scene

ITEMS, PLANTED = 1000, 70
GENERIC_CAPTIONS = (
    "A picture of something.", "There are some things here.", "An image.", "A picture of some shapes.",
    "We see several objects in this picture.", "A photo of a scene.", "This is a picture.", "Some objects are shown.",
)  # fmt: skip
# {subject: actions}; the words of an action are three paraphrases.
SUBJECTS = ("man", "woman", "boy", "girl", "dog", "cat", "horse")
DOINGS = {
    "run": ("is running", "runs", "is jogging"), "sit": ("is sitting", "sits", "is seated"),
    "swim": ("is swimming", "swims", "is paddling"), "jump": ("is jumping", "jumps", "is leaping"),
    "eat": ("is eating", "eats", "is chewing"), "lie": ("is lying", "lies", "is resting"),
    "climb": ("is climbing", "climbs", "is climbing"), "stand": ("is standing", "stands", "is standing"),
}  # fmt: skip
PLACES = ("on a table", "under a bridge", "in front of a house", "behind a fence", "near a tree", "next to a car")
OPPOSITE = {
    "left of": "right of", "above": "below", "to its right": "to its left", "below it": "above it",
    "at the top": "at the bottom", "at the bottom": "at the top", "on the left": "on the right",
    "on the right": "on the left", "in the middle": "at the top",
    "from left to right": "from right to left", "on a table": "under a table", "under a bridge": "on a bridge",
    "in front of a house": "behind a house", "behind a fence": "in front of a fence",
}  # fmt: skip


@dataclass
class Case:
    """A true caption with its references, and what is in the picture."""

    caption: str
    references: list[str]
    objects: list[LabeledObject]
    scene: Scene | None = None


def drawn(index: int, seed: int) -> Case:
    scene = make_scene(seed, index)
    caption, *references = captions(scene, "en", 6)
    return Case(caption, references, [LabeledObject(thing.shape, thing.box()) for thing in scene.things], scene)


def everyday(rng: random.Random) -> Case:
    subject, doing, place = rng.choice(SUBJECTS), rng.choice(list(DOINGS)), rng.choice(PLACES)
    color = rng.choice(("black", "white", "brown")) if subject in ("dog", "cat", "horse") else ""
    texts = []
    for number in range(6):
        words = DOINGS[doing][number % 3]
        noun = f"{color} {subject}".strip()
        texts.append(f"{'A' if number % 2 else 'There is a'} {noun} {'' if number % 2 else 'that '}{words} {place}.")
    rng.shuffle(texts)
    category = subject if subject in ("dog", "cat", "horse") else "person"
    things = [category, *{"table": ["dining table"], "car": ["car"]}.get(place.split()[-1], [])]
    return Case(texts[0], texts[1:], [LabeledObject(name) for name in things])


# Each returns the caption with an error, or None where it cannot have one of this kind.


def hallucinate(case: Case, rng: random.Random) -> str | None:
    if case.scene is None:
        present = re.search(r"\b(dog|cat|horse)\b", case.caption)
        if present and rng.random() < 0.5:
            return case.caption.replace(present[1], rng.choice(sorted({"dog", "cat", "horse", "cow"} - {present[1]})))
        return case.caption[:-1] + f" with a {rng.choice(('kite', 'pizza', 'bicycle', 'umbrella'))}."
    present_shapes = {thing.shape for thing in case.scene.things}
    other = rng.choice(sorted(set(SHAPES) - present_shapes))
    if rng.random() < 0.5:
        return re.sub(rf"\b{rng.choice(sorted(present_shapes))}\b", other, case.caption, count=1)
    return case.caption[:-1] + f" and a {rng.choice(list(COLORS))} {other}."


def omit(case: Case, rng: random.Random) -> str | None:
    if case.scene is None or len(case.scene.things) < 2:
        return None
    kept = case.scene.things[0]
    if any(thing.shape == kept.shape for thing in case.scene.things[1:]):
        return None
    return f"There is a {kept.color} {kept.shape}."


def recolor(case: Case, rng: random.Random) -> str | None:
    words = [word for word in COLORS if re.search(rf"\b{word}\b", case.caption)] or re.findall(
        "white|brown", case.caption
    )
    sizes = re.findall("small|large", case.caption)
    if sizes and rng.random() < 0.5:
        return case.caption.replace(sizes[0], {"small": "large", "large": "small"}[sizes[0]])
    if not words:
        return None
    present = {thing.color for thing in case.scene.things} if case.scene else set(words)
    word = rng.choice(words)
    return re.sub(rf"\b{word}\b", rng.choice(sorted(set(COLORS) - present)), case.caption, count=1)


def miscount(case: Case, rng: random.Random) -> str | None:
    noun = rng.choice(
        re.findall(
            r"\ban? (?:\w+ )*?(circle|square|triangle|star|diamond|man|woman|boy|girl|dog|cat|horse)\b", case.caption
        )
        or [""]
    )
    if not noun or case.caption.count(noun) > 1:
        return None
    plural = {"man": "men", "woman": "women"}.get(noun, noun + "s")
    count = rng.choice(("two", "three", "four"))
    match = re.search(rf"\b([Aa])n? ((?:\w+ )?(?:\w+ )??){noun}\b", case.caption)
    if not match or re.search(r"\b(of|a)\b", match[2]):
        return None
    text = case.caption[: match.start()] + f"{count} {match[2]}{plural}" + case.caption[match.end() :]
    for one, many in (
        (f"{plural} is ", f"{plural} are "),
        (f"{plural} that is ", f"{plural} that are "),
        ("is two", "are two"),
    ):
        text = text.replace(one, many)
    return text[0].upper() + text[1:]


def misplace(case: Case, rng: random.Random) -> str | None:
    fits = [phrase for phrase in OPPOSITE if phrase in case.caption.lower()]
    if not fits or (case.scene and case.scene.message.kind == "row" and "from left" not in case.caption.lower()):
        return None
    phrase = max(fits, key=len)
    text = re.sub(phrase, OPPOSITE[phrase], case.caption, flags=re.IGNORECASE)
    return text[0].upper() + text[1:]


def act(case: Case, rng: random.Random) -> str | None:
    if case.scene is not None:
        return None
    for doing, words in DOINGS.items():
        for number, word in sorted(enumerate(words), key=lambda pair: -len(pair[1])):
            if f" {word} " in case.caption:
                other = rng.choice(sorted(set(DOINGS) - {doing}))
                return case.caption.replace(word, DOINGS[other][number])
    return None


def repeat(case: Case, rng: random.Random) -> str | None:
    words = case.caption[:-1].split()
    length = rng.choice((1, 2, 3, 4))
    start = rng.randrange(max(1, len(words) - length))
    return " ".join([*words[: start + length], *words[start:]]) + "."


def truncate(case: Case, rng: random.Random) -> str | None:
    words = case.caption[:-1].split()
    return " ".join(words[: rng.randrange(2, len(words))])


def generalize(case: Case, rng: random.Random) -> str | None:
    return rng.choice(GENERIC_CAPTIONS)


def translate(case: Case, rng: random.Random) -> str | None:
    return captions(case.scene, rng.choice(("de", "fr", "es", "zh")), 1)[0] if case.scene else None


PLANT: dict[str, Callable[[Case, random.Random], str | None]] = {
    HALLUCINATED: hallucinate, MISSING: omit, ATTRIBUTE: recolor, NUMBER: miscount, RELATION: misplace, ACTION: act,
    REPETITION: repeat, TRUNCATION: truncate, GENERIC: generalize, LANGUAGE: translate,
}  # fmt: skip


def planted_captions(seed: int) -> tuple[list[Case], list[str], list[str]]:
    """Returns the cases, their captions, and the kind of the error of each; empty where there is none."""
    rng = random.Random(seed)
    cases = [drawn(index, seed) for index in range(ITEMS * 3 // 4)]
    cases += [everyday(rng) for _ in range(ITEMS - len(cases))]
    rng.shuffle(cases)
    texts, kinds = [case.caption for case in cases], [""] * len(cases)
    for kind, plant in PLANT.items():
        free = [index for index, other in enumerate(kinds) if not other]
        rng.shuffle(free)
        planted = 0
        for index in free:
            if planted == PLANTED:
                break
            text = plant(cases[index], rng)
            if text and text not in (cases[index].caption, *cases[index].references):
                texts[index], kinds[index], planted = text, kind, planted + 1
    return cases, texts, kinds


def bare(text: str) -> str:
    """A caption as many models write it: lower case, no period."""
    return text.lower().rstrip(".。")


def measure(
    seed: int, *, labels: bool = False, references: int = 5, without_periods: bool = False
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Returns {kind: (recall, precision)}, and a line on every miss and false alarm.

    Args:
      labels: compare objects with labels too.
      references: number of references of each picture, up to five.
      without_periods: captions and references are in lower case, without periods.
    """
    cases, texts, kinds = planted_captions(seed)
    write = bare if without_periods else str
    texts = [write(text) for text in texts]
    sets = {number: [write(text) for text in case.references[:references]] for number, case in enumerate(cases)}
    objects = {number: case.objects for number, case in enumerate(cases)} if labels else None
    errors = find_errors(dict(enumerate(texts)), sets, labels=objects)
    planted, reported, right, lines = Counter(kinds), Counter[str](), Counter[str](), []
    for number, kind in enumerate(kinds):
        named = {finding.kind for finding in errors.findings[number]}
        reported.update(named)
        right[kind] += kind in named
        if (kind and kind not in named) or named - {kind}:
            reasons = "; ".join(f"{f.kind}: {f.reason}" for f in errors.findings[number])
            lines.append(f"{kind or 'none'} | {texts[number]} | was: {cases[number].caption} | {reasons}")
    rates = {kind: (right[kind] / max(planted[kind], 1), right[kind] / max(reported[kind], 1)) for kind in KINDS}
    return rates, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", action="store_true", help="compare objects with labels, not with references alone")
    parser.add_argument("--references", type=int, default=5, help="references of each picture (default: 5)")
    parser.add_argument("--without-periods", action="store_true", help="lower case, and no final periods")
    parser.add_argument("--misses", action="store_true", help="list misses and false alarms")
    options = parser.parse_args()
    rates, lines = measure(
        options.seed, labels=options.labels, references=options.references, without_periods=options.without_periods
    )
    print("kind                  recall  precision")
    for kind, (recall, precision) in rates.items():
        print(f"{kind:<20}  {recall:6.1%}  {precision:9.1%}")
    if options.misses:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
