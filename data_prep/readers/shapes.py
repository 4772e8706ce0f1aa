"""Generated photos: drawn scenes of colored shapes with captions in several languages."""

from collections.abc import Sequence
from pathlib import Path

from capjax.data.record import Label, RecordCaption
from capjax.files import write_bytes
from data_prep.readers.item import InputError, Item, ItemStream
from data_prep.readers.registry import READERS
from data_prep.synthetic.shapes.draw import SceneImage
from data_prep.synthetic.shapes.grammar import LANGUAGES, PARAPHRASES, captions
from data_prep.synthetic.shapes.scene import make_scene

# Of every twenty scenes one belongs to val and one to test.
_SPLITS = {18: "val", 19: "test"}


def add_arguments(parser):
    parser.add_argument(
        "--count",
        type=int,
        default=6000,
        help="number of scenes, of which 1/20 go to val and 1/20 to test (default: 6000)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=64, help="width and height in pixels (default: 64)")
    parser.add_argument("--languages", type=lambda text: text.split(","), default=list(LANGUAGES), metavar="A,B",
                        help=f"languages of the captions (default: {','.join(LANGUAGES)})")  # fmt: skip
    parser.add_argument("--paraphrases", type=int, default=5, metavar="N",
                        help=f"captions in each language, 1 to {PARAPHRASES} (default 5)")  # fmt: skip
    parser.add_argument("--images", type=Path, metavar="DIR", help="also write the pictures of val and test as files")


@READERS.register("shapes")
def read(
    count: int = 6000, seed: int = 0, size: int = 64, languages: Sequence[str] = tuple(LANGUAGES), paraphrases: int = 5,
    images: Path | None = None,
) -> ItemStream:  # fmt: skip
    """Yields `count` scenes. With a larger count the first scenes are the same.

    Raises:
      InputError: a language is not available, or a size or number is out of range.
    """
    if unknown := [lang for lang in languages if lang not in LANGUAGES]:
        raise InputError(f"--languages {unknown[0]}: choose from {', '.join(LANGUAGES)}")
    if not 1 <= paraphrases <= PARAPHRASES or not 16 <= size <= 4096 or count < 1 or seed < 0:
        raise InputError(
            f"expected --paraphrases 1 to {PARAPHRASES}, --size 16 to 4096, --count 1 or more, --seed 0 or more"
        )
    if images:
        images.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        scene = make_scene(seed, index)
        name, split = f"shapes-{index:07d}", _SPLITS.get(index % 20, "train")
        image = SceneImage(scene, size)
        if images and split != "train":
            write_bytes(images / f"{name}.jpg", image())
        yield Item(
            id=name,
            media=image,
            split=split,
            captions=tuple(
                RecordCaption(text, lang) for lang in languages for text in captions(scene, lang, paraphrases)
            ),
            labels=tuple(Label(f"{thing.colour} {thing.shape}", thing.box()) for thing in scene.things),
            where=f"scene {index}",
            name=f"{name}.jpg",
        )
