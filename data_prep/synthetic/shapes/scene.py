"""Scenes, independent of language: things in a picture, and a message that is true of them.

The picture is the unit square, with x to the right and y down. A scene is drawn from its own seed (dataset seed,
index), so that a larger dataset begins with a smaller one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "diamond")
COLORS = {
    "red": (214, 40, 40), "blue": (30, 80, 220), "green": (34, 150, 60), "yellow": (245, 205, 30),
    "black": (25, 25, 25), "purple": (140, 50, 170),
}  # fmt: skip
PLACES = {"middle": (0.5, 0.5), "top": (0.5, 0.22), "bottom": (0.5, 0.78), "left": (0.22, 0.5), "right": (0.78, 0.5)}
# Smallest distance of things that do not touch, so that relations are unambiguous.
GAP = 0.08
# Width of the empty border of the picture.
MARGIN = 0.02


# (shape, color) of each thing of a scene.
Looks = Sequence[tuple[str, str]]


def outline(shape: str) -> np.ndarray:
    """Corners of a shape as float [k, 2], within a box of side 1 around the origin."""
    if shape == "circle":
        angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        return np.stack([np.cos(angle), np.sin(angle)], 1) / 2
    if shape == "square":
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.44
    if shape == "triangle":
        return np.array([(0, -0.5), (0.5, 0.42), (-0.5, 0.42)])
    if shape == "diamond":
        return np.array([(0, -0.5), (0.32, 0), (0, 0.5), (-0.32, 0)])
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2, 0.2, 0.5)
    return np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]


@dataclass(frozen=True, slots=True)
class Thing:
    """A colored shape centered at (x, y). All lengths are fractions of the picture's side.

    `size` is the side of the square in which `outline` is drawn. A circle fills it; a diamond is 0.64 of it wide and as
    high. `box()` is the bounding box of the shape itself.
    """

    shape: str
    color: str
    x: float
    y: float
    size: float

    @property
    def large(self) -> bool:
        return self.size > 0.3

    def corners(self) -> np.ndarray:
        """float [k, 2], x and y."""
        return outline(self.shape) * self.size + (self.x, self.y)

    def box(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1)."""
        (x0, y0), (x1, y1) = self.corners().min(0).tolist(), self.corners().max(0).tolist()
        return x0, y0, x1, y1


@dataclass(frozen=True, slots=True)
class Message:
    """The content of a caption.

    Attributes:
      kind: the sentence patterns: `at` (one thing, at `place`), `left`, `above`, `touch` (two things), `row` (three
        things, from left to right).
      things: the things that fill the slots of a pattern, in order.
      place: a key of PLACES, for `at`.
    """

    kind: str
    things: tuple[Thing, ...]
    place: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """Things and the message about them. `seed` also determines the background and the choice of sentences."""

    message: Message
    seed: tuple[int, int]

    @property
    def things(self) -> tuple[Thing, ...]:
        return self.message.things


def contact_distance(first: Thing, second: Thing) -> float:
    """Distance of the centers when `second` touches `first` from the right at the same height."""
    rows = np.linspace(-0.5, 0.5, 201)
    reach = [_reach(thing, rows * 0.5) for thing in (first, second)]
    return float(np.nanmax(reach[0][:, 1] - reach[1][:, 0]))


def _reach(thing: Thing, rows: np.ndarray) -> np.ndarray:
    """float [r, 2]: leftmost and rightmost x of the outline, relative to its center, at each y in `rows` [r]; NaN
    where the row does not meet it."""
    corners = outline(thing.shape) * thing.size
    step = np.roll(corners, -1, axis=0) - corners
    # Intersection of the line through each edge [k] with each row [r]; an edge along a row meets it in its neighbors.
    along = rows[:, None] - corners[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = along / step[:, 1]
    met = (step[:, 1] != 0) & (share >= 0) & (share <= 1)
    x = corners[:, 0] + np.where(met, share, 0) * step[:, 0]
    spans = np.stack([np.where(met, x, np.inf).min(1), np.where(met, x, -np.inf).max(1)], 1)
    return np.where(met.any(1)[:, None], spans, np.nan)


def make_scene(seed: int, index: int) -> Scene:
    """The `index`-th scene of a dataset."""
    rng = np.random.default_rng([seed, index])
    kind = rng.choice(["at", "left", "above", "touch", "row"], p=[0.2, 0.25, 0.25, 0.2, 0.1])
    count = {"at": 1, "row": 3}.get(str(kind), 2)
    while True:
        looks = [(str(rng.choice(SHAPES)), str(rng.choice(list(COLORS)))) for _ in range(count)]
        if len(set(looks)) == count:
            break
    return Scene(_LAYOUTS[str(kind)](rng, looks), (seed, index))


def _jitter(rng, amount: float) -> float:
    return float(rng.uniform(-amount, amount))


def _at(rng, looks: Looks) -> Message:
    place = str(rng.choice(list(PLACES)))
    x, y = PLACES[place]
    size = float(rng.uniform(0.36, 0.42) if rng.random() < 0.5 else rng.uniform(0.2, 0.24))
    x, y = (_inside(middle + _jitter(rng, 0.04), size) for middle in (x, y))
    return Message("at", (Thing(*looks[0], x, y, size),), place)


def _inside(middle: float, size: float) -> float:
    """The nearest position at which a thing of that size is completely in the picture."""
    return min(max(middle, size / 2 + MARGIN), 1 - size / 2 - MARGIN)


def _apart(rng, looks: Looks, kind: str) -> Message:
    """Two things next to each other along an axis, with a small shift across it."""
    sizes = [float(rng.uniform(0.24, 0.34)) for _ in looks]
    free = 1 - 2 * MARGIN - sum(sizes) - GAP
    start = MARGIN + float(rng.uniform(0, 0.5)) * free
    first = start + sizes[0] / 2
    second = first + sum(sizes) / 2 + GAP + float(rng.uniform(0, 1)) * (1 - MARGIN - (start + sum(sizes) + GAP))
    across = 0.5 + _jitter(rng, 0.2)
    positions = [(first, across + _jitter(rng, 0.05)), (second, across + _jitter(rng, 0.05))]
    if kind == "above":
        positions = [(y, x) for x, y in positions]
    things = (Thing(*look, *xy, size) for look, xy, size in zip(looks, positions, sizes, strict=True))
    return Message(kind, tuple(things))


def _touch(rng, looks: Looks) -> Message:
    sizes = [float(rng.uniform(0.26, 0.34)) for _ in looks]
    left, right = (Thing(*look, 0.0, 0.0, size) for look, size in zip(looks, sizes, strict=True))
    # A slight overlap, so that no pixel of background remains between them.
    distance = contact_distance(left, right) - 0.01
    middle, y = 0.5 + _jitter(rng, 0.12), 0.5 + _jitter(rng, 0.25)
    things = (
        Thing(*looks[0], middle - distance / 2, y, sizes[0]),
        Thing(*looks[1], middle + distance / 2, y, sizes[1]),
    )
    return Message("touch", things)


def _row(rng, looks: Looks) -> Message:
    y = 0.5 + _jitter(rng, 0.25)
    things = (
        Thing(*look, x + _jitter(rng, 0.015), y + _jitter(rng, 0.03), float(rng.uniform(0.2, 0.23)))
        for look, x in zip(looks, (0.16, 0.5, 0.84), strict=True)
    )
    return Message("row", tuple(things))


_LAYOUTS: dict[str, Callable[[np.random.Generator, Looks], Message]] = {
    "at": _at,
    "left": lambda rng, looks: _apart(rng, looks, "left"),
    "above": lambda rng, looks: _apart(rng, looks, "above"),
    "touch": _touch,
    "row": _row,
}
