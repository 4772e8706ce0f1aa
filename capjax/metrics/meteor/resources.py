"""The data of METEOR 1.5 for English: synonyms, paraphrases, function words, prefixes.

They are read from the package pycocoevalcap, which carries the program (its jar is a zip file, and read as one: no Java
is started) and its paraphrase table. Reading 5 million paraphrases takes a while, so they are kept in the user's cache
folder in a form that is memory-mapped.
"""

import gzip
import importlib.util
import itertools
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from capjax.metrics.cache import cache_dir
from capjax.metrics.meteor import text
from capjax.metrics.meteor.stemmer import stem
from capjax.metrics.ragged import ranges

_LAYOUT = 1  # of the cache; a change of it makes the cache anew
_JAR, _PARAPHRASES = "meteor-1.5.jar", "data/paraphrase-en.gz"
_MEMBERS = ("function/english.words", "nonbreaking/english.prefixes", "synonym/english.exceptions",
            "synonym/english.synsets")  # fmt: skip
_ARRAYS = ("set_offsets", "set_numbers", "edges", "heads", "offsets", "tails")  # of the cache
_BATCH = 1 << 16  # paraphrases read at a time

# Endings of inflected words and what stands for them in a base form: nouns, verbs, adjectives, as in WordNet's morphy.
_ENDINGS = [
    ("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
    ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""),
    ("er", ""), ("est", ""), ("er", "e"), ("est", "e"),
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Paraphrases:
    """Phrases as the nodes of a trie; 0 is the root.

    Attributes:
      words: {word: number}.
      edges: int64 [nodes - 1], ascending: parent * len(words) + word leads to the node of its place + 1.
      heads: int32, ascending: the nodes that have paraphrases.
      offsets: int64 [len(heads) + 1], where those of each begin and end in
      tails: int32, the nodes of the paraphrases, in the order of the table.
    """

    words: dict[str, int]
    edges: np.ndarray
    heads: np.ndarray
    offsets: np.ndarray
    tails: np.ndarray

    def children(self, nodes: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Where words lead from nodes; -1 where no phrase goes on so. Both int64 [n]; a word or node may be -1."""
        codes = nodes * len(self.words) + words
        found = np.minimum(np.searchsorted(self.edges, codes), len(self.edges) - 1)
        known = (self.edges[found] == codes) & (nodes >= 0) & (words >= 0)
        return np.where(known, found + 1, -1)

    def of(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Paraphrases of nodes: places in `nodes` and nodes of paraphrases, int64 [m] each, by place, then table."""
        rows = np.minimum(np.searchsorted(self.heads, nodes), len(self.heads) - 1)
        places = np.flatnonzero(self.heads[rows] == nodes)
        starts, ends = self.offsets[rows[places]], self.offsets[rows[places] + 1]
        counts = ends - starts
        return np.repeat(places, counts), self.tails[ranges(starts, counts)].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Resources:
    """Attributes:
    function_words: the most frequent words, which weigh less.
    prefixes: see `text.words`.
    bases: {irregular form: its base forms}.
    synsets: {word: place in `offsets`}, where its numbers of synonym sets begin and end in `numbers`.
    """

    function_words: frozenset[str]
    prefixes: dict[str, int]
    bases: dict[str, list[str]]
    synsets: dict[str, int]
    offsets: np.ndarray
    numbers: np.ndarray
    paraphrases: Paraphrases

    def meanings(self, word: str) -> frozenset[int]:
        """The synonym sets of a word and of its base forms."""
        sets = set(self._sets(word))
        for base in self.bases.get(word) or self._base(word):
            sets.update(self._sets(base))
        return frozenset(sets)

    def _sets(self, word: str) -> list[int]:
        place = self.synsets.get(word)
        return [] if place is None else self.numbers[self.offsets[place] : self.offsets[place + 1]].tolist()

    def _base(self, word: str) -> list[str]:
        """The first base form of a regular word that is known."""
        if word.endswith("ss") or len(word) <= 2:
            return [word]
        tail = "ful" if word.endswith("ful") else ""
        for ending, base in _ENDINGS:
            if word.endswith(ending) and word[: -len(ending)] + base in self.synsets:
                return [word[: -len(ending)] + base + tail]
        return []

    @cache  # noqa: B019  (there is one of these in a process)
    def word(self, word: str) -> tuple[str, frozenset[int], bool, int]:
        """Stem, meanings, whether it is a function word, number among the words of paraphrases or -1."""
        return stem(word), self.meanings(word), word in self.function_words, self.paraphrases.words.get(word, -1)


@lru_cache(maxsize=1)
def load() -> Resources:
    """The data; at first use it is gathered and kept in the cache folder, which takes some 20 seconds.

    Raises:
      ModuleNotFoundError: pycocoevalcap is not installed; the message says how to install it.
      ValueError: its files are not those of METEOR 1.5, or what is kept of them is damaged.
      OSError: the cache folder cannot be written.
    """
    package = _package()
    folder = cache_dir() / f"meteor-1.5-{_fingerprint(package)}"
    if not folder.is_dir():
        try:
            _gather(package, folder)
        except OSError as error:
            raise OSError(f"METEOR's data cannot be kept: {error}; $CAPJAX_CACHE may name a folder for it") from error
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
        texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is damaged ({error}); delete it, and it is made again") from error

    def numbered(name: str) -> dict[str, int]:
        return {word: number for number, word in enumerate(texts[name].split("\n"))}

    return Resources(
        frozenset(texts["function_words"]), texts["prefixes"], texts["bases"], numbered("synsets"),
        arrays["set_offsets"], arrays["set_numbers"],
        Paraphrases(numbered("words"), arrays["edges"], arrays["heads"], arrays["offsets"], arrays["tails"]),
    )  # fmt: skip


def is_installed() -> bool:
    """Whether the data is there to be read."""
    return importlib.util.find_spec("pycocoevalcap") is not None


def _package() -> Path:
    if not is_installed():
        raise ModuleNotFoundError(
            "METEOR's data is in the package pycocoevalcap, which is not installed: pip install 'capjax[meteor]'"
        )
    folder = Path(importlib.util.find_spec("pycocoevalcap").submodule_search_locations[0]) / "meteor"
    for name in (_JAR, _PARAPHRASES):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing: expected pycocoevalcap 1.2 or later; install it anew")
    return folder


def _fingerprint(package: Path) -> str:
    """What the files hold, by the check sums that they carry."""
    try:
        with zipfile.ZipFile(package / _JAR) as jar:
            sums = [jar.getinfo(name).CRC for name in _MEMBERS]
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{package / _JAR} is not METEOR 1.5: {error}; install pycocoevalcap anew") from None
    with (package / _PARAPHRASES).open("rb") as file:
        file.seek(-8, os.SEEK_END)
        sums.append(int.from_bytes(file.read(8), "little"))
    return f"{_LAYOUT}-" + "-".join(f"{value:x}" for value in sums)


def _gather(package: Path, folder: Path):
    """Reads the package's files and writes the cache: aside, then renamed."""
    print("METEOR: gathering 5 million paraphrases, once, for some 20 seconds, in", folder, file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".meteor-", dir=folder.parent))
    try:
        texts, arrays = _small(package / _JAR)
        words, trie = _trie(package / _PARAPHRASES)
        texts["words"] = "\n".join(words)
        for name, array in {**arrays, **trie}.items():
            np.save(aside / f"{name}.npy", array, allow_pickle=False)
        (aside / "texts.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
        try:
            aside.rename(folder)
        except OSError:
            # Another process was faster.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _small(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """All but the paraphrases, from the jar."""
    with zipfile.ZipFile(path) as jar:
        function, prefixes, exceptions, synsets = (jar.read(name).decode("utf-8").splitlines() for name in _MEMBERS)
    bases: dict[str, list[str]] = {}
    for base, forms in zip(exceptions[::2], exceptions[1::2], strict=True):
        for form in forms.split():
            bases.setdefault(form, []).append(base)
    sets = {word: sorted(set(map(int, line.split()))) for word, line in zip(synsets[::2], synsets[1::2], strict=True)}
    texts = {
        "function_words": function,
        "prefixes": dict(_prefix(line) for line in prefixes if line.strip() and not line.lstrip().startswith("#")),
        "bases": bases,
        "synsets": "\n".join(sets),
    }
    offsets = np.cumsum([0, *map(len, sets.values())])
    numbers = np.fromiter(itertools.chain.from_iterable(sets.values()), np.int32)
    return texts, {"set_offsets": offsets, "set_numbers": numbers}


def _prefix(line: str) -> tuple[str, int]:
    word, *rest = line.split()
    return word, text.BEFORE_NUMBERS if rest[:1] == ["#NUMERIC_ONLY#"] else text.ALWAYS


def _trie(path: Path) -> tuple[Iterable[str], dict[str, np.ndarray]]:
    """The paraphrase table: three lines an entry, which are a probability, a phrase and its paraphrase."""
    phrases: dict[bytes, int] = {}
    heads, tails = [], []
    with gzip.open(path) as file:
        while lines := [line.rstrip(b"\n") for line in itertools.islice(file, 3 * _BATCH)]:
            for side, into in ((lines[1::3], heads), (lines[2::3], tails)):
                into.append(np.fromiter((phrases.setdefault(phrase, len(phrases)) for phrase in side), np.int64))
    heads, tails = np.concatenate(heads), np.concatenate(tails)

    words: dict[bytes, int] = {}
    lengths, numbers = [], []
    remaining = iter(phrases)
    while split := [phrase.split() for phrase in itertools.islice(remaining, _BATCH)]:
        lengths.append(np.fromiter(map(len, split), np.int64))
        chained = itertools.chain.from_iterable(split)
        numbers.append(np.fromiter((words.setdefault(word, len(words)) for word in chained), np.int32))
    lengths, numbers = np.concatenate(lengths), np.concatenate(numbers)
    phrases.clear()
    starts = np.cumsum(lengths) - lengths
    # Level by level, so that a parent's number is less than its child's and all edges are in ascending order.
    nodes, edges, count = np.zeros(len(lengths), np.int64), [], 1
    for level in range(lengths.max()):
        longer = np.flatnonzero(lengths > level)
        codes, places = np.unique(nodes[longer] * len(words) + numbers[starts[longer] + level], return_inverse=True)
        nodes[longer] = count + places
        edges.append(codes)
        count += len(codes)
    order = np.argsort(nodes[heads], kind="stable")
    found, counts = np.unique(nodes[heads], return_counts=True)
    arrays = {
        "edges": np.concatenate(edges), "heads": found.astype(np.int32), "offsets": np.cumsum([0, *counts]),
        "tails": nodes[tails][order].astype(np.int32),
    }  # fmt: skip
    return [word.decode("utf-8") for word in words], arrays
