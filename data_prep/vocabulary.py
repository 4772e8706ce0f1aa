"""Trains a vocabulary on captions: `capjax prepare vocabulary --input DATASET --output vocabulary.model`."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from capjax.data.record import RecordSource
from capjax.files import local_path, make_folder, write_bytes
from capjax.registry import nearest
from capjax.text.vocabulary import Vocabulary, VocabularyError, check_arguments, train
from data_prep.arguments import checked
from data_prep.readers.item import language


def add_arguments(parser):
    parser.add_argument("--input", type=Path, nargs="+", action="extend", required=True, metavar="DATASET",
                        help="datasets that `capjax prepare` wrote; may be repeated")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the model file to write")
    parser.add_argument("--size", type=int, default=8192, help="largest number of tokens (default: 8192)")
    parser.add_argument("--split", default="train", help="the split whose captions are used (default: train)")
    parser.add_argument(
        "--lowercase", action="store_true", help="fold case: fewer tokens, but captions without capital letters"
    )
    parser.add_argument("--languages", type=checked(_languages), default=[], metavar="A,B",
                        help="use only these; a language without captions gets a reserved token")  # fmt: skip
    parser.add_argument("--temperature", type=float, default=10 / 3, metavar="T",
                        help="sample a language by its share of captions to the power 1/T (default: 3.33)")  # fmt: skip
    parser.add_argument(
        "--time-tokens",
        "--time-pieces",
        type=int,
        default=0,
        metavar="N",
        help="reserve N tokens for times (default 0)",
    )


def _languages(text: str) -> list[str]:
    return [language(code.strip()) for code in text.split(",")]


def captions_by_language(datasets: Sequence[Path], split: str) -> dict[str, list[str]]:
    """The texts of all captions of a split, by language."""
    sentences: dict[str, list[str]] = {}
    for dataset in datasets:
        source = RecordSource(dataset, split)
        for index in tqdm(range(len(source)), desc=f"captions of {dataset.name}", unit="record", disable=None):
            for caption in source[index].captions:
                sentences.setdefault(caption.lang, []).append(caption.text)
    return sentences


def choose(sentences: Mapping[str, list[str]], languages: Sequence[str], where: str) -> dict[str, list[str]]:
    """The sentences in `languages`, or all if no languages are given.

    Raises:
      VocabularyError: there are no captions, or none in these languages.
    """
    if not sentences:
        raise VocabularyError(f"{where}: no captions; choose another --split, or add captions and build it again")
    chosen = {lang: texts for lang, texts in sentences.items() if not languages or lang in languages}
    if not chosen:
        raise VocabularyError(
            f"{where}: no captions in --languages {','.join(languages)}; {nearest(languages[0], sentences)}"
        )
    return chosen


def run(args) -> int:
    """Writes the vocabulary and prints its size and languages.

    Raises:
      VocabularyError: the vocabulary cannot be trained.
      FileNotFoundError, ValueError: a dataset or split is missing.
    """
    args.output = local_path(args.output)
    check_arguments(args.size, args.temperature, args.languages, args.time_tokens)
    where = f"split {args.split!r} of {', '.join(map(str, args.input))}"
    sentences = choose(captions_by_language(args.input, args.split), args.languages, where)
    model = train(
        sentences, size=args.size, lowercase=args.lowercase, temperature=args.temperature, languages=args.languages,
        time_tokens=args.time_tokens,
    )  # fmt: skip
    make_folder(args.output.parent)
    write_bytes(args.output, model)
    vocabulary = Vocabulary(model)
    counts = Counter({lang: len(texts) for lang, texts in sentences.items()})
    by_language = ", ".join(f"{count:,} in {lang}" for lang, count in counts.most_common())
    print(f"{args.output}: {vocabulary.size:,} tokens from captions: {by_language}", file=sys.stderr)
    if vocabulary.size < args.size:
        print(f"fewer than --size {args.size}: the captions have no more distinct parts of words", file=sys.stderr)
    if reserved := sorted(set(args.languages) - set(sentences)):
        print(f"reserved, without captions: {', '.join(reserved)}", file=sys.stderr)
    return 0
