"""Stems and words are those of the program that METEOR is."""

import random
import zipfile

import pytest

from capjax.metrics.meteor import resources, text
from capjax.metrics.meteor.stemmer import stem
from tests.helpers.java_meteor import JAR, java, needs_java

SYLLABLES = """
a e i o u y b c d s t l r n m p x w ' ing ed ly s es er y ies ation ful ness ative ize al ogi li eed gener commun arsen
ied bl at iz
"""


@needs_java
def test_stems_of_every_word_with_synonyms_and_of_made_up_ones_are_as_in_java():
    rng, syllables = random.Random(0), SYLLABLES.split()
    with zipfile.ZipFile(JAR) as jar:
        words = jar.read("synonym/english.synsets").decode().split("\n")[0:-1:2]
    words += ["".join(rng.choices(syllables, k=rng.randint(1, 6))) for _ in range(50_000)]
    expected = java("Stemmer", "en", lines=words)
    assert [pair for pair in zip(words, expected, strict=True) if stem(pair[0]) != pair[1]] == []


@pytest.mark.parametrize(
    ("word", "expected"),
    [("running", "run"), ("flies", "fli"), ("skies", "sky"), ("hoping", "hope"), ("hopping", "hop"), ("news", "news"),
     ("generously", "generous"), ("y", "y"), ("is", "is"), ("", "")],
)  # fmt: skip
def test_stems(word, expected):
    assert stem(word) == expected


PIECES = """
a man the Mr. U.S. u.s. it's don't dogs' 1990's 'tis ... .. . .... , 1,000 a,b 3,a b,4 - -- – — well-known a- -b " “ ”
'' `` ` ‘ ’ é Ž ж 中 😀 ! ? ( ) $5.00 p.m. no. St. Street. ' x' 'y 5's '5 & / # İ ΑΣ e.g. 3.5 3.
"""
SPACED = ["\xa0", "\u2003", "\x01", "\t", "No. 5", "Inc. the", "pp. 3", "pp. a"]


@needs_java
def test_words_of_hard_texts_are_as_in_java():
    rng, prefixes = random.Random(0), resources.load().prefixes
    pieces = [*PIECES.split(), *SPACED]
    lines = []
    for _ in range(20_000):
        lines.append("".join(rng.choice(pieces) + rng.choice(["", " ", " "]) for _ in range(rng.randint(0, 8))))
    java_lines = java("edu.cmu.meteor.util.Normalizer", "en", "true", lines=lines)
    different = [
        (line, text.words(line, prefixes), java_line)
        for line, java_line in zip(lines, java_lines, strict=True)
        if " ".join(text.words(line, prefixes)) != " ".join(java_line.lower().split(" ")).strip()
    ]
    assert different == []


def test_contractions_dashes_and_dots():
    prefixes = {"Mr": text.ALWAYS, "No": text.BEFORE_NUMBERS}
    assert text.words("It's Mr. O'Brien's well-known U.S. dog...", prefixes) == [
        "it", "'s", "mr.", "o", "'brien", "'s", "well", "known", "us", "dog", "...",
    ]  # fmt: skip
    assert text.words("No. 5, 1,000. No.", prefixes) == ["no.", "5", ",", "1,000", ".", "no", "."]
    assert text.words("", prefixes) == []
