"""The data of METEOR 1.5 for English: synonyms, paraphrases, function words, prefixes.

The package pycocoevalcap has the program (a jar, which is read as a zip file: no Java is started) and its paraphrase
table. Reading its 5 million paraphrases is slow; they are converted once to memory-mapped arrays in the cache folder.
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
from capjax.metrics.ragged import look_up, match, ranges

_CACHE_VERSION = 1  # increase it when the arrays change
_JAR, _PARAPHRASES = "meteor-1.5.jar", "data/paraphrase-en.gz"
_MEMBERS = ("function/english.words", "nonbreaking/english.prefixes", "synonym/english.exceptions",
            "synonym/english.synsets")  # fmt: skip
_ARRAYS = ("set_offsets", "set_numbers", "edges", "heads", "offsets", "tails")  # of the cache
_BATCH = 1 << 16  # paraphrases read at a time

# (ending of an inflected word, ending of its base form): nouns, verbs, adjectives, as in WordNet's morphy.
_ENDINGS = [
    ("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
    ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""),
    ("er", ""), ("est", ""), ("er", "e"), ("est", "e"),
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Paraphrases:
    """The paraphrase table. Phrases are the nodes of a trie; node 0 is the root.

    Attributes:
      words: {word: number}.
      edges: int64 [nodes - 1], ascending: edges[i] = parent * len(words) + word leads to node i + 1.
      heads: int32 [heads], ascending: the nodes that have paraphrases.
      offsets: int64 [heads + 1], the range of each head's paraphrases in `tails`.
      tails: int32, the nodes of the paraphrases, in the order of the table.
    """

    words: dict[str, int]
    edges: np.ndarray
    heads: np.ndarray
    offsets: np.ndarray
    tails: np.ndarray

    def children(self, nodes: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Returns the node that each word leads to from each node, int64 [n], or -1. Nodes and words may be -1."""
        has_child, edge = match(nodes * len(self.words) + words, self.edges)
        return np.where(has_child & (nodes >= 0) & (words >= 0), edge + 1, -1)

    def of(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the paraphrases of nodes: indices into `nodes`, and nodes, int64 [m] each, in the table's order."""
        indices, rows = look_up(nodes, self.heads)
        starts = self.offsets[rows]
        counts = self.offsets[rows + 1] - starts
        return np.repeat(indices, counts), self.tails[ranges(starts, counts)].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Resources:
    """METEOR's data.

    Attributes:
      function_words: the most frequent words, which weigh less.
      prefixes: words with a dot of their own; see `text.words`.
      bases: {irregular form: its base forms}.
      synsets: {word: row}.
      offsets: int64 [rows + 1], the range of each row's synonym sets in `numbers`.
      numbers: numbers of synonym sets.
      paraphrases: the paraphrase table.
    """

    function_words: frozenset[str]
    prefixes: dict[str, int]
    bases: dict[str, list[str]]
    synsets: dict[str, int]
    offsets: np.ndarray
    numbers: np.ndarray
    paraphrases: Paraphrases

    def meanings(self, word: str) -> frozenset[int]:
        """Returns the synonym sets of a word and of its base forms."""
        sets = set(self._sets(word))
        for base in self.bases.get(word) or self._base(word):
            sets.update(self._sets(base))
        return frozenset(sets)

    def _sets(self, word: str) -> list[int]:
        row = self.synsets.get(word)
        return [] if row is None else self.numbers[self.offsets[row] : self.offsets[row + 1]].tolist()

    def _base(self, word: str) -> list[str]:
        """Returns the first base form of a regular word that has synonym sets."""
        if word.endswith("ss") or len(word) <= 2:
            return [word]
        tail = "ful" if word.endswith("ful") else ""
        for ending, base in _ENDINGS:
            if word.endswith(ending) and word[: -len(ending)] + base in self.synsets:
                return [word[: -len(ending)] + base + tail]
        return []

    @cache  # noqa: B019  (a process has one instance)
    def word(self, word: str) -> tuple[str, frozenset[int], bool, int]:
        """Returns stem, synonym sets, whether a function word, and number in the paraphrase table (or -1) of a word."""
        return stem(word), self.meanings(word), word in self.function_words, self.paraphrases.words.get(word, -1)


@lru_cache(maxsize=1)
def load() -> Resources:
    """Loads the data. The first call converts it and keeps it in the cache folder.

    Raises:
      ModuleNotFoundError: pycocoevalcap is not installed; the message says how to install it.
      ValueError: its files are not METEOR 1.5's, or the cached arrays are damaged.
      OSError: the cache folder cannot be written.
    """
    package = _package()
    folder = cache_dir() / f"meteor-1.5-{_fingerprint(package)}"
    if not folder.is_dir():
        try:
            _convert(package, folder)
        except OSError as error:
            raise OSError(f"METEOR's data cannot be cached: {error}; set $CAPJAX_CACHE to a folder for it") from error
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
        texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is damaged ({error}); delete it to have it made again") from error

    def numbered(name: str) -> dict[str, int]:
        return {word: number for number, word in enumerate(texts[name].split("\n"))}

    return Resources(
        frozenset(texts["function_words"]), texts["prefixes"], texts["bases"], numbered("synsets"),
        arrays["set_offsets"], arrays["set_numbers"],
        Paraphrases(numbered("words"), arrays["edges"], arrays["heads"], arrays["offsets"], arrays["tails"]),
    )  # fmt: skip


def is_installed() -> bool:
    """Whether the package with the data is installed."""
    return importlib.util.find_spec("pycocoevalcap") is not None


def _package() -> Path:
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "METEOR's data is in the package pycocoevalcap, which is not installed: pip install 'capjax[meteor]'"
        )
    folder = Path(spec.submodule_search_locations[0]) / "meteor"
    for name in (_JAR, _PARAPHRASES):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing: expected pycocoevalcap 1.2 or later; reinstall it")
    return folder


def _fingerprint(package: Path) -> str:
    """Returns an identifier of the files' contents, from the checksums stored in them."""
    try:
        with zipfile.ZipFile(package / _JAR) as jar:
            sums = [jar.getinfo(name).CRC for name in _MEMBERS]
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{package / _JAR} is not METEOR 1.5: {error}; reinstall pycocoevalcap") from None
    with (package / _PARAPHRASES).open("rb") as file:
        file.seek(-8, os.SEEK_END)
        sums.append(int.from_bytes(file.read(8), "little"))
    return f"{_CACHE_VERSION}-" + "-".join(f"{value:x}" for value in sums)


def _convert(package: Path, folder: Path):
    """Converts the package's files to the arrays of the cache, in a temporary folder that is renamed at the end."""
    print(
        f"METEOR: converting its paraphrase table, once, to {folder}; this takes under a minute",
        file=sys.stderr,
        flush=True,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".meteor-", dir=folder.parent))
    try:
        texts, arrays = _read_jar(package / _JAR)
        words, trie = _read_paraphrases(package / _PARAPHRASES)
        texts["words"] = "\n".join(words)
        for name, array in {**arrays, **trie}.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        (temporary / "texts.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
        try:
            temporary.rename(folder)
        except OSError:
            # Another process may have finished first.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_jar(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Reads everything except the paraphrases from the jar: (texts, arrays)."""
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


def _read_paraphrases(path: Path) -> tuple[Iterable[str], dict[str, np.ndarray]]:
    """Reads the paraphrase table, (words, arrays). An entry has three lines: probability, phrase, paraphrase."""
    phrases: dict[bytes, int] = {}
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    with gzip.open(path) as file:
        while lines := [line.rstrip(b"\n") for line in itertools.islice(file, 3 * _BATCH)]:
            for side, batches in zip((lines[1::3], lines[2::3]), parts, strict=True):
                batches.append(np.fromiter((phrases.setdefault(phrase, len(phrases)) for phrase in side), np.int64))
    heads, tails = map(np.concatenate, parts)

    words: dict[bytes, int] = {}
    parts = ([], [])
    remaining = iter(phrases)
    while split := [phrase.split() for phrase in itertools.islice(remaining, _BATCH)]:
        parts[0].append(np.fromiter(map(len, split), np.int64))
        chained = itertools.chain.from_iterable(split)
        parts[1].append(np.fromiter((words.setdefault(word, len(words)) for word in chained), np.int32))
    lengths, numbers = map(np.concatenate, parts)
    phrases.clear()
    starts = np.cumsum(lengths) - lengths
    # Nodes are numbered level by level: a parent's number is less than its child's, and edges are in ascending order.
    nodes, edges, count = np.zeros(len(lengths), np.int64), [], 1
    for level in range(lengths.max()):
        longer = np.flatnonzero(lengths > level)
        codes, index = np.unique(nodes[longer] * len(words) + numbers[starts[longer] + level], return_inverse=True)
        nodes[longer] = count + index
        edges.append(codes)
        count += len(codes)
    order = np.argsort(nodes[heads], kind="stable")
    nodes_of_heads, counts = np.unique(nodes[heads], return_counts=True)
    arrays = {
        "edges": np.concatenate(edges), "heads": nodes_of_heads.astype(np.int32), "offsets": np.cumsum([0, *counts]),
        "tails": nodes[tails][order].astype(np.int32),
    }  # fmt: skip
    return [word.decode("utf-8") for word in words], arrays
