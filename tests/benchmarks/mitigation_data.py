"""Pictures with a planted co-occurrence: a figure beside a shape, where the shape tells whether it is a man or a woman.

In the training pictures, 90 % of the figures beside a star are men, and 90 % of those beside a square are women. In a
quarter of the pictures the body of the figure shows what it is (a dark box, or a light skirt); in the others it hardly
does, and people who describe it write *person* in two of five cases.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data_prep.synthetic.shapes.scene import COLORS, outline

# The gender that 90 % of the figures beside a shape have in the training pictures.
CONTEXTS = {"star": "man", "square": "woman"}
SHARE, CLEAR, PERSON = 0.9, 0.25, 0.4
SIZE, _OVERSAMPLE = 64, 3
_SENTENCES = (
    "A {figure} is to the left of a {color} {shape}.",
    "There is a {figure} on the left and a {color} {shape} on the right.",
    "A {color} {shape} is to the right of a {figure}.",
    "On the left is a {figure}, and on the right is a {color} {shape}.",
    "A {figure} on the left of a {color} {shape}.",
)


def write_data(folder: Path, *, seed: int = 0, train: int = 4000, test: int = 600):
    """Writes pictures and `captions.jsonl` for `capjax prepare jsonl`.

    Splits: `train`; `val`, with the co-occurrence of the training pictures; `test`, with as many men as women beside
    each shape.
    """
    (folder / "images").mkdir(parents=True)
    lines = []
    for split, count, share in (("train", train, SHARE), ("val", test, SHARE), ("test", test, 0.5)):
        # The numbers of men and women beside each shape are exact, not drawn.
        shapes = [shape for shape in CONTEXTS for _ in range(count // len(CONTEXTS))]
        for number, shape in enumerate(shapes):
            rng = np.random.default_rng([seed, len(lines)])
            follows = (number * share) % 1 + share >= 1 - 1e-9
            gender = CONTEXTS[shape] if follows else ({"man", "woman"} - {CONTEXTS[shape]}).pop()
            clear = rng.random() < CLEAR
            color = str(rng.choice(list(COLORS)))
            path = f"images/{split}-{number:05}.png"
            _draw(rng, gender, clear, shape, color).save(folder / path)
            figures = [gender if clear or rng.random() >= PERSON else "person" for _ in _SENTENCES]
            captions = [
                sentence.format(figure=figure, color=color, shape=shape)
                for sentence, figure in zip(_SENTENCES, figures, strict=True)
            ]
            lines.append({"image": path, "captions": captions, "split": split, "id": f"{split}-{number:05}"})
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _draw(rng: np.random.Generator, gender: str, clear: bool, shape: str, color: str) -> Image.Image:
    sign = 1 if gender == "woman" else -1
    skirt = sign + rng.normal(0, 0.15) if clear else 0.15 * sign + rng.normal(0, 0.3)
    side = SIZE * _OVERSAMPLE
    picture = Image.new("RGB", (side, side), tuple(rng.integers(205, 256, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    # The figure: a head, and a body whose hem is wider than its shoulders if it is a skirt.
    x, y, size = rng.uniform(0.22, 0.3), rng.uniform(0.42, 0.58), rng.uniform(0.85, 1.1)
    gray = tuple([int(np.clip(100 + 60 * skirt, 0, 200))] * 3)
    shoulder, hem = (0.09 - 0.03 * skirt) * size, (0.12 + 0.06 * skirt) * size
    top, bottom, radius = y - 0.1 * size, y + 0.25 * size, 0.07 * size
    body = [(x - shoulder, top), (x + shoulder, top), (x + hem, bottom), (x - hem, bottom)]
    pen.polygon([(a * side, b * side) for a, b in body], fill=gray)
    head = (x - radius, top - 2 * radius, x + radius, top)
    pen.ellipse([value * side for value in head], fill=gray)
    corners = outline(shape) * rng.uniform(0.38, 0.46) + (rng.uniform(0.68, 0.75), rng.uniform(0.3, 0.7))
    pen.polygon([tuple(corner) for corner in (corners * side).tolist()], fill=COLORS[color])
    return picture.resize((SIZE, SIZE), Image.Resampling.BOX)
