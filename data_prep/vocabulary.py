"""Captions to a vocabulary: `python -m data_prep vocabulary --input DATASET --output vocabulary.model`."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from capjax.data.record import RecordSource
from capjax.files import write_bytes
from capjax.text.vocabulary import Vocabulary, VocabularyError, train


def add_arguments(parser):
    parser.add_argument("--input", type=Path, nargs="+", required=True, metavar="DATASET", help="datasets of data_prep")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the model file to write")
    parser.add_argument("--size", type=int, default=8192, help="pieces at most (default 8192)")
    parser.add_argument("--split", default="train", help="whose captions count (default: train)")
    parser.add_argument(
        "--lowercase", action="store_true", help="fold case: fewer pieces, but captions without capitals"
    )
    parser.add_argument("--languages", type=lambda text: text.split(","), default=[], metavar="A,B",
                        help="keep only these; a language without captions is reserved")  # fmt: skip
    parser.add_argument("--temperature", type=float, default=10 / 3, metavar="T",
                        help="a language counts as its share of captions to the power 1/T; 1: as it is (3.33)")  # fmt: skip
    parser.add_argument(
        "--time-pieces", type=int, default=0, metavar="N", help="reserve N pieces for times (default 0)"
    )


def captions_by_language(datasets: Sequence[Path], split: str, languages: Sequence[str]) -> dict[str, list[str]]:
    """Texts of all captions of a split; with `languages`, of those alone."""
    sentences: dict[str, list[str]] = {}
    for dataset in datasets:
        source = RecordSource(dataset, split)
        for index in tqdm(range(len(source)), desc=f"captions of {dataset.name}", unit="record", disable=None):
            for caption in source[index].captions:
                if not languages or caption.lang in languages:
                    sentences.setdefault(caption.lang, []).append(caption.text)
    return sentences


def run(args) -> int:
    """Writes the vocabulary and says what is in it.

    Raises:
      VocabularyError: it cannot be made; FileNotFoundError, ValueError: a dataset or split is missing.
    """
    if args.temperature < 1 or args.time_pieces < 0 or args.size < 1:
        raise VocabularyError("expected --temperature 1 or more, --time-pieces 0 or more, --size 1 or more")
    sentences = captions_by_language(args.input, args.split, args.languages)
    model = train(
        sentences, size=args.size, lowercase=args.lowercase, temperature=args.temperature, languages=args.languages,
        time_pieces=args.time_pieces,
    )  # fmt: skip
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(args.output, model)
    vocabulary = Vocabulary(model)
    counts = Counter({lang: len(texts) for lang, texts in sentences.items()})
    told = ", ".join(f"{lang} {count}" for lang, count in counts.most_common())
    print(f"{args.output}: {vocabulary.size} pieces from captions in {told}", file=sys.stderr)
    return 0
