"""Generated photos: drawn scenes of colored shapes with captions in several languages."""

from collections.abc import Sequence
from pathlib import Path

from capjax.data.record import Label, RecordCaption
from capjax.files import write_bytes
from data_prep.readers import generated
from data_prep.readers.item import Item, ItemStream
from data_prep.readers.registry import READERS
from data_prep.synthetic.shapes.draw import SceneImage
from data_prep.synthetic.shapes.grammar import LANGUAGES, PARAPHRASES, captions
from data_prep.synthetic.shapes.scene import make_scene


def add_arguments(parser):
    generated.add_arguments(parser, list(LANGUAGES))
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
    generated.check_arguments(
        count, seed, size, languages, paraphrases, sizes=range(16, 4097), available=LANGUAGES, most=PARAPHRASES
    )
    if images:
        images.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        scene = make_scene(seed, index)
        name, split = f"shapes-{index:07d}", generated.split_of(index)
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
            labels=tuple(Label(f"{thing.color} {thing.shape}", thing.box()) for thing in scene.things),
            where=f"scene {index}",
            name=f"{name}.jpg",
        )
