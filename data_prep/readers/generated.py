"""Arguments, checks and splits that the readers of generated scenes share."""

from collections.abc import Collection, Sequence

from data_prep.readers.item import InputError


def add_arguments(parser, languages: Sequence[str], size: str = "width and height in pixels"):
    """Adds `--count`, `--seed`, `--size` and `--languages`.

    Args:
      languages: the languages that have a grammar.
      size: what `--size` is.
    """
    parser.add_argument(
        "--count",
        type=int,
        default=6000,
        help="number of scenes, of which 1/20 go to val and 1/20 to test (default: 6000)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64, help=f"{size} (default: 64)")
    parser.add_argument("--languages", type=lambda text: text.split(","), default=list(languages), metavar="A,B",
                        help=f"languages of the captions (default: {','.join(languages)})")  # fmt: skip


def check_arguments(
    count: int, seed: int, size: int, languages: Sequence[str], paraphrases: int,
    *, sizes: range, available: Collection[str], most: int,
):  # fmt: skip
    """Checks the arguments of a reader.

    Args:
      sizes: the possible sizes; those with a step are even.
      available: the languages that have a grammar.
      most: the largest number of paraphrases.

    Raises:
      InputError: a language is not available, or a size or number is out of range.
    """
    if unknown := [lang for lang in languages if lang not in available]:
        raise InputError(f"--languages {unknown[0]}: choose from {', '.join(available)}")
    if not 1 <= paraphrases <= most or size not in sizes or count < 1 or seed < 0:
        even = " and even" if sizes.step == 2 else ""
        raise InputError(
            f"expected --paraphrases 1 to {most}, --size {sizes[0]} to {sizes[-1]}{even}, --count 1 or more, "
            "--seed 0 or more"
        )


def split_of(index: int) -> str:
    """The split of a scene: of every twenty scenes one belongs to val and one to test."""
    return {18: "val", 19: "test"}.get(index % 20, "train")
