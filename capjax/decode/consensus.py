"""Reranking of hypotheses by their agreement with the captions of similar training pictures.

Consensus reranking (Devlin et al. 2015; Mao et al. 2015, section 8): the score of a hypothesis grows with its mean
similarity to the captions of the nearest training pictures. With few training pictures this helps more than a wider
beam, which alone drifts to short and general captions.

b: pictures, m: hypotheses, t: frames, n: positions, d: channels, s: sentences; pictures, neighbors: training pictures.
"""

import io
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int
from scipy.sparse import csr_array

from capjax.files import read_bytes, write_with_digest
from capjax.metrics import tokenizer_for
from capjax.metrics.json_types import check_type
from capjax.metrics.ngrams import ngrams
from capjax.metrics.tfidf import TfIdf, length_penalty

# Weights of the cosines of n-grams of one to four words. CIDEr weighs them equally; longer phrases select better
# captions (docs/results.md).
WEIGHTS = (0.1, 0.2, 0.3, 0.4)
# Captions and vectors shrink to a tenth at most when they are compressed; zeros to a thousandth.
_MAX_EXPANSION = 100


class _Captions:
    """The training captions of one language as tf-idf vectors of their n-grams."""

    def __init__(self, captions: Sequence[Sequence[str]], lang: str):
        self._tokenize = tokenizer_for(lang)
        groups = [[self._tokenize(text) for text in texts] for texts in captions]
        sentences = [words for group in groups for words in group]
        self.first = np.cumsum([0, *map(len, groups)])
        self._grams: list[dict[tuple, int]] = []
        self._idf: list[np.ndarray] = []
        pictures = max(sum(1 for group in groups if group), 1)
        for n in range(1, len(WEIGHTS) + 1):
            documents = Counter(gram for group in groups for gram in {g for words in group for g in ngrams(words, n)})
            self._grams.append({gram: number for number, gram in enumerate(documents)})
            # The last entry is for n-grams that no caption has.
            self._idf.append(np.log(pictures / np.array([*documents.values(), 1.0])))
        self.vectors = self.embed(sentences)

    def embed(self, sentences: Sequence[Sequence[str]]) -> tuple[list[csr_array], Float64[np.ndarray, " s"]]:
        """Returns for each n the unit tf-idf vectors [s, n-grams], and the lengths in words."""
        matrices = []
        for n, (numbers, idf) in enumerate(zip(self._grams, self._idf, strict=True), start=1):
            counters = [Counter(ngrams(words, n)) for words in sentences]
            ends = np.cumsum([0, *map(len, counters)])
            unknown = len(numbers)
            grams = np.fromiter((numbers.get(gram, unknown) for counter in counters for gram in counter), np.int64)
            counts = np.fromiter((count for counter in counters for count in counter.values()), np.float64)
            row = np.repeat(np.arange(len(counters)), np.diff(ends))
            weights = TfIdf.of(row, grams, counts, idf[grams], len(counters)).unit_weights()
            weights[grams == unknown] = 0.0  # two unknown n-grams may differ
            matrices.append(csr_array((weights, grams, ends), shape=(len(counters), unknown + 1)))
        return matrices, np.array([len(words) for words in sentences], np.float64)

    def agreement(
        self, hypotheses: Sequence[Sequence[str]], neighbors: Int[np.ndarray, "b neighbors"]
    ) -> Float64[np.ndarray, "b m"]:
        """Returns each hypothesis' mean similarity to the more similar half of its neighbors' captions; the other half
        describes something else. `neighbors` are indices of training pictures."""
        m = len(hypotheses[0])
        vectors, lengths = self.embed([self._tokenize(text) for texts in hypotheses for text in texts])
        caption_vectors, caption_lengths = self.vectors
        out = np.zeros((len(hypotheses), m))
        for i, pictures in enumerate(neighbors):
            rows = np.concatenate([np.arange(self.first[p], self.first[p + 1]) for p in pictures])
            if not len(rows):
                continue
            own = slice(i * m, (i + 1) * m)
            similarity = sum(
                weight * (a[own] @ b[rows].T).toarray()
                for weight, a, b in zip(WEIGHTS, vectors, caption_vectors, strict=True)
            )
            penalty = length_penalty(lengths[own, None] - caption_lengths[rows])
            similarity = np.sort(similarity * penalty, axis=1)
            out[i] = similarity[:, len(rows) // 2 :].mean(1)
        return out


@dataclass(frozen=True)
class Neighbors:
    """The training pictures, for reranking.

    Attributes:
      vectors: a vector of each picture.
      captions: {language: captions of each picture}, as many lists per language as pictures.
    """

    vectors: Float32[np.ndarray, "pictures d"]
    captions: Mapping[str, Sequence[Sequence[str]]]
    _scale: tuple[np.ndarray, np.ndarray] = field(init=False, repr=False, compare=False)
    _units: np.ndarray = field(init=False, repr=False, compare=False)
    _by_lang: dict[str, _Captions] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        mean, std = self.vectors.mean(0), self.vectors.std(0) + 1e-3
        object.__setattr__(self, "_scale", (mean, std))
        object.__setattr__(self, "_units", self._unit(self.vectors))
        object.__setattr__(self, "_by_lang", {})

    @classmethod
    def of(cls, records: Iterable, languages: Sequence[str]) -> "Neighbors":
        """Makes the neighbors from records with features. A picture's vector is the mean over the positions of its
        first view; a record with events instead of captions counts as one picture per event."""
        vectors: list[np.ndarray] = []
        captions: dict[str, list[list[str]]] = {lang: [] for lang in languages}
        for record in records:
            groups: dict[tuple | None, list] = {}
            for caption in record.captions:
                if caption.kind == "caption":
                    groups.setdefault(None, []).append(caption)
                elif caption.kind == "event":
                    groups.setdefault((caption.start, caption.end), []).append(caption)
            if None in groups:
                groups = {None: groups[None]}
            for span, sentences in groups.items():
                inside = np.ones(len(record.frame_times), bool)
                if span is not None:
                    inside = (record.frame_times >= span[0]) & (record.frame_times <= span[1])
                    if not inside.any():
                        continue
                vectors.append(picture_vectors(record.features[:1], inside[None])[0])
                for lang, texts in captions.items():
                    texts.append([c.text for c in sentences if c.lang == lang])
        return cls(np.stack(vectors), captions)

    def save(self, path: Path):
        """Writes a .npz file."""
        texts = np.frombuffer(json.dumps(self.captions, ensure_ascii=False).encode(), np.uint8)
        file = io.BytesIO()
        np.savez_compressed(file, vectors=self.vectors.astype(np.float16), captions=texts)
        write_with_digest(path, file.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Neighbors":
        """Reads a file that `save` wrote.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: the file is damaged.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing, and decode.num_neighbors needs it; training writes it")
        remedy = "remove it and resume training, which writes it again"
        data = read_bytes(path, remedy)
        try:
            arrays = _read_npz(data)
            captions = json.loads(arrays["captions"].tobytes())
            check_type(captions, dict[str, list[list[str]]], "captions")
            vectors = arrays["vectors"].astype(np.float32)
            if vectors.ndim != 2 or not len(vectors) or not np.isfinite(vectors).all():
                raise ValueError(f"vectors of shape {vectors.shape} and type {vectors.dtype}, or not finite")
            if wrong := [lang for lang, texts in captions.items() if len(texts) != len(vectors)]:
                raise ValueError(f"captions in {wrong[0]} of another number of pictures than the vectors")
        except (ValueError, KeyError, EOFError, zlib.error, BadZipFile, NotImplementedError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: {error!s:.120}; {remedy}") from error
        return cls(vectors, captions)

    def choose(
        self, vectors: Float32[np.ndarray, "b d"], hypotheses: Sequence[Sequence[str]],
        scores: Float[np.ndarray, "b m"], lang: str, *, neighbors: int, weight: float,
    ) -> Int[np.ndarray, " b"]:  # fmt: skip
        """Returns the index of each picture's best hypothesis by score + weight * agreement.

        Args:
          vectors: see `picture_vectors`.
          hypotheses: m texts per picture.
          scores: -inf for missing hypotheses.
          lang: language of the hypotheses.
          neighbors: number of training pictures to compare with.
          weight: weight of the agreement.
        """
        if lang not in self.captions or vectors.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"neighbors.npz has captions in {', '.join(self.captions)} and vectors of {self.vectors.shape[1]} "
                f"numbers; this model writes {lang} and has features of {vectors.shape[1]}. Copy the workdir again"
            )
        if lang not in self._by_lang:
            self._by_lang[lang] = _Captions(self.captions[lang], lang)
        closeness = self._unit(vectors) @ self._units.T
        count = min(neighbors, closeness.shape[1])
        near = np.argpartition(-closeness, count - 1, axis=1)[:, :count]
        return np.argmax(scores + weight * self._by_lang[lang].agreement(hypotheses, near), axis=1)

    def _unit(self, vectors: Float32[np.ndarray, "b d"]) -> Float32[np.ndarray, "b d"]:
        mean, std = self._scale
        scaled = (vectors - mean) / std
        return scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-6)


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a .npz file at a cost in proportion to its size, whatever its headers claim.

    Raises:
      ValueError, EOFError, BadZipFile, zlib.error: the file is damaged.
    """
    arrays = {}
    with ZipFile(io.BytesIO(data)) as archive:
        if sum(info.file_size for info in archive.infolist()) > max(_MAX_EXPANSION * len(data), 2**20):
            raise ValueError(f"its arrays claim more than {_MAX_EXPANSION} times the size of the file")
        for info in archive.infolist():
            with archive.open(info) as member:
                file = io.BytesIO(member.read(info.file_size))  # `read()` would inflate beyond that size
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError(f"{info.filename} is of another version of the format")
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(file.getbuffer()) - file.tell():
                raise ValueError(f"{info.filename} does not hold an array of shape {shape} and type {dtype}")
            flat = np.frombuffer(file.getbuffer()[file.tell() :], dtype)
            arrays[info.filename.removesuffix(".npy")] = flat.reshape(shape, order="F" if fortran_order else "C")
    return arrays


def picture_vectors(
    features: Float[np.ndarray, "b t n d"], mask: Bool[np.ndarray, "b *e t"] | None = None
) -> Float32[np.ndarray, "b *e d"]:
    """Returns the mean of features over positions and frames, one vector per picture or video.

    Args:
      mask: the frames to include; with an axis of e events, there are e vectors of each video; None: all frames.
    """
    frames = np.asarray(features, np.float32).mean(2)
    weights = np.ones(frames.shape[:2], np.float32) if mask is None else np.asarray(mask, np.float32)
    return np.einsum("b...t,btd->b...d", weights, frames) / np.maximum(weights.sum(-1, keepdims=True), 1)
