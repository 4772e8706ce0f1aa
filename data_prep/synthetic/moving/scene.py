"""Moving scenes, independent of language: things, and events with exact times.

The picture is the unit square, with x to the right and y down; times are seconds. One thing moves at a time, at
constant speed from the start to the end of an event; between events nothing moves. Things keep a distance, and no two
ever look alike, so that a caption of an event is true of that event only.

A scene is drawn from its own seed (dataset seed, index), so that a larger dataset begins with a smaller one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.synthetic.shapes.scene import COLORS, MARGIN, SHAPES, Thing, outline

KINDS = ("appear", "leave", "move", "bounce", "turn", "grow", "shrink", "color")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
TURNS = {"clockwise": 1, "counterclockwise": -1}
MAX_EVENTS = 6
# Seconds. Durations are multiples of STEP: whole frames at 5, 10, 12.5, 20 and 25 frames per second.
SHORTEST, LONGEST, STEP = 4.0, 20.0, 0.4
# Smallest and largest change, as a share of the picture's side or of the thing's size.
MOVE, BOUNCE, GROWTH = (0.25, 0.6), (0.15, 0.4), (1.6, 2.2)
SIZES = (0.18, 0.42)
# A slower move would have no visible start and end.
_SLOWEST = 0.08
# Shortest time in seconds of one hop there and back.
_HOP = 0.8
# Smallest distance of the circles around two things.
_GAP = 0.03
# Number of attempts at a plan before another is drawn.
_TRIES = 500
# Radius of the circle around a shape of size 1.
_REACH = {shape: float(np.sqrt((outline(shape) ** 2).sum(1)).max()) for shape in SHAPES}

# (start, end) of an event, in seconds.
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Drawn(Thing):
    """A thing at one time.

    Attributes:
      angle: clockwise rotation in degrees.
      opacity: from 0 (invisible) to 1.
      becoming: the color that it changes to.
      share: progress of the change of color, from 0 to 1.
      shade: factor on the color's brightness.
    """

    angle: float = 0.0
    opacity: float = 1.0
    becoming: str = ""
    share: float = 0.0
    shade: float = 1.0

    @property
    def look(self) -> tuple[str, str]:
        return self.shape, self.color

    @property
    def rgb(self) -> tuple[float, ...]:
        """Red, green and blue, 0 to 255."""
        one, other = COLORS[self.color], COLORS[self.becoming or self.color]
        return tuple(min(255.0, (a + self.share * (b - a)) * self.shade) for a, b in zip(one, other, strict=True))

    @property
    def radius(self) -> float:
        """Radius of the circle that contains it at any rotation."""
        return _REACH[self.shape] * self.size

    def corners(self) -> np.ndarray:
        """float [k, 2], x and y."""
        # y points down, so that a positive angle is clockwise.
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        return outline(self.shape) @ np.array([(cos, sin), (-sin, cos)]) * self.size + (self.x, self.y)


@dataclass(frozen=True, slots=True)
class MovingEvent:
    """The action of one thing from `start` to `end`, in seconds.

    Attributes:
      kind: one of KINDS.
      thing: number of the thing in the scene.
      before, after: the thing at the start and at the end; after `leave` it is out of the picture.
      direction: one of DIRECTIONS for `move`, `leave` and `bounce`, one of TURNS for `turn`. A bounce without a
        direction goes up and down; other bounces touch that edge of the picture and return.
      path: x and y of the farthest point of a bounce, relative to its start.
      hops: number of hops of a bounce.
    """

    kind: str
    thing: int
    start: float
    end: float
    before: Drawn
    after: Drawn
    direction: str = ""
    path: tuple[float, float] = (0.0, 0.0)
    hops: int = 0

    @property
    def message(self) -> tuple[str, ...]:
        """The content of its caption; no two events of a scene have the same."""
        return self.kind, *self.before.look, self.direction, self.after.color

    def at(self, time: float) -> Drawn:
        """The thing at a time between `start` and `end`."""
        share = (time - self.start) / (self.end - self.start)
        if self.kind == "color":
            return replace(self.before, becoming=self.after.color, share=share)
        if self.kind == "bounce":
            away = 1 - abs(1 - 2 * (share * self.hops % 1))
            return replace(self.before, x=self.before.x + away * self.path[0], y=self.before.y + away * self.path[1])
        mixed = {}
        for name in ("x", "y", "size", "angle", "opacity"):
            first, last = getattr(self.before, name), getattr(self.after, name)
            mixed[name] = first + share * (last - first)
        return replace(self.before, **mixed)


@dataclass(frozen=True, slots=True)
class MovingScene:
    """Things at their first appearance, their events in order, and the duration in seconds. `seed` also determines the
    background and the choice of sentences."""

    things: tuple[Drawn, ...]
    events: tuple[MovingEvent, ...]
    duration: float
    seed: tuple[int, int]

    @property
    def message(self) -> str:
        """The content of a caption of the whole video: `direction` (the only event) or `before` (the first and the
        last)."""
        return "direction" if len(self.events) == 1 else "before"

    def state(self, time: float) -> list[Drawn]:
        """The things in the picture at a time."""
        now: dict[int, Drawn | None] = dict(enumerate(self.things))
        now.update((event.thing, None) for event in self.events if event.kind == "appear")
        for event in self.events:
            if time <= event.start:
                break
            if time < event.end:
                now[event.thing] = event.at(time)
            else:
                now[event.thing] = None if event.kind == "leave" else event.after
        return [thing for thing in now.values() if thing is not None]


def make_moving_scene(seed: int, index: int) -> MovingScene:
    """The `index`-th scene of a dataset."""
    rng = np.random.default_rng([seed, index])
    count = int(rng.integers(1, MAX_EVENTS + 1))
    spans, duration = _times(rng, count)
    while True:
        # The plan is kept; only the things that perform it, and their positions, are drawn again.
        plan, casts = _plan(rng, count)
        for _ in range(_TRIES):
            if story := _Choreography(rng, int(rng.choice(casts)), plan).play(spans):
                return MovingScene(*story, duration, (seed, index))
        # A few plans never fit; then another is drawn.


def _times(rng, count: int) -> tuple[list[Span], float]:
    """(start, end) of each event, and the duration of the scene."""
    step = round(STEP * 100)
    while True:  # in hundredths of a second
        lengths = rng.integers(100, 401, count)
        pauses = rng.integers(20, 201, count + 1)
        pauses = pauses + (rng.random(count + 1) < 0.1) * rng.integers(100, 201, count + 1)
        total = int(-(-(lengths.sum() + pauses.sum()) // step) * step)
        if round(SHORTEST * 100) <= total <= round(LONGEST * 100):
            break
    starts = np.cumsum(pauses[:-1] + np.concatenate([[0], lengths[:-1]]))
    spans = [(int(start) / 100, int(start + length) / 100) for start, length in zip(starts, lengths, strict=True)]
    return spans, total / 100


def _plan(rng, count: int) -> tuple[list[tuple[str, str]], list[int]]:
    """(kind, direction) of each event, and the possible numbers of things, such that one is always in the picture.

    A kind occurs at most twice. All kinds are equally likely, and so are the directions of each.
    """
    while True:
        kinds = [KINDS[i % len(KINDS)] for i in rng.permutation(2 * len(KINDS))[:count]]
        shown = np.cumsum([0] + [(kind == "appear") - (kind == "leave") for kind in kinds])
        casts = [size for size in (2, 3, 4) if size - kinds.count("appear") + shown.min() >= 1]
        if casts:
            return [(kind, _direction(rng, kind)) for kind in kinds], casts


def _direction(rng, kind: str) -> str:
    if kind == "turn":
        return str(rng.choice(list(TURNS)))
    if kind in ("move", "leave") or (kind == "bounce" and rng.random() < 0.5):
        return str(rng.choice(list(DIRECTIONS)))
    return ""


class _Choreography:
    """Performs a plan of events with concrete things, as long as there is space for them."""

    def __init__(self, rng, size: int, plan: Sequence[tuple[str, str]]):
        self.rng, self.plan = rng, plan
        looks = rng.permutation(len(SHAPES) * len(COLORS))[:size]
        self.looks = [(SHAPES[i % len(SHAPES)], list(COLORS)[i // len(SHAPES)]) for i in looks.tolist()]
        # No two things ever have the same look, not even at different times.
        self.taken = set(self.looks)
        self.shades = rng.uniform(0.88, 1.1, size).tolist()
        self.hidden = list(range(size))[size - sum(kind == "appear" for kind, _ in plan) :]
        self.now: dict[int, Drawn] = {}

    def play(self, spans: Sequence[Span]) -> tuple[tuple[Drawn, ...], tuple[MovingEvent, ...]] | None:
        """(things, events), or None if there is not enough space."""
        for thing in range(len(self.looks) - len(self.hidden)):
            if (placed := self._place(thing)) is None:
                return None
            self.now[thing] = placed
        first = dict(self.now)
        events: list[MovingEvent] = []
        for (kind, direction), span in zip(self.plan, spans, strict=True):
            can = self.hidden[:1] if kind == "appear" else list(self.now)
            # "A red circle grows before a red circle turns" would leave open whether it is one circle or two.
            if events and len(events) == len(self.plan) - 1:
                can = [thing for thing in can if thing != events[0].thing]
            for thing in self.rng.permutation(can).tolist():
                event = getattr(self, f"_{kind}")(thing, span, direction)
                if event and event.message not in {other.message for other in events}:
                    break
            else:
                return None
            events.append(event)
            first.setdefault(thing, event.after)
            self.taken.add(event.after.look)
            self.now[thing] = event.after
            if kind == "appear":
                self.hidden.remove(thing)
            if kind == "leave":
                del self.now[thing]
        return tuple(first[thing] for thing in range(len(self.looks))), tuple(events)

    def _place(self, thing: int) -> Drawn | None:
        """The thing at a random position away from the others; None if none was found."""
        for _ in range(20):
            size = float(self.rng.uniform(SIZES[0], 0.34))
            x, y = self.rng.uniform(0, 1, 2).tolist()
            placed = Drawn(*self.looks[thing], x, y, size, shade=self.shades[thing])
            if self._room(placed, thing) >= placed.radius:
                return placed
        return None

    def _others(self, thing: int) -> list[Drawn]:
        return [other for number, other in self.now.items() if number != thing]

    def _room(self, drawn: Drawn, thing: int) -> float:
        """Largest radius that the thing may have at its position."""
        near = [math.dist((drawn.x, drawn.y), (o.x, o.y)) - o.radius - _GAP for o in self._others(thing)]
        return min(drawn.x - MARGIN, drawn.y - MARGIN, 1 - MARGIN - drawn.x, 1 - MARGIN - drawn.y, *near)

    def _way(self, thing: int, direction: str) -> float:
        """Distance that the thing may move before it comes near another."""
        me, (dx, dy), way = self.now[thing], DIRECTIONS[direction], math.inf
        for other in self._others(thing):
            x, y = other.x - me.x, other.y - me.y
            along, across, apart = x * dx + y * dy, abs(x * dy - y * dx), me.radius + other.radius + _GAP
            if along > 0 and across < apart:
                way = min(way, along - math.sqrt(apart**2 - across**2))
        return way

    def _edge(self, thing: int, direction: str, far: bool = False) -> float:
        """Distance from its front (`far`: its back) to that edge of the picture."""
        (dx, dy), box = DIRECTIONS[direction], self.now[thing].box()
        low, high = (box[0], box[2]) if dx else (box[1], box[3])
        ahead = (1 - high, 1 - low) if dx + dy > 0 else (low, high)
        return ahead[far]

    def _between(self, low: float, high: float) -> float | None:
        return float(self.rng.uniform(low, high)) if low <= high else None

    def _appear(self, thing: int, span: Span, direction: str) -> MovingEvent | None:
        if (after := self._place(thing)) is None:
            return None
        before = replace(after, opacity=0.0) if self.rng.random() < 0.5 else replace(after, size=0.0)
        return MovingEvent("appear", thing, *span, before, after)

    def _leave(self, thing: int, span: Span, direction: str) -> MovingEvent | None:
        if self._way(thing, direction) < math.inf:
            return None
        return self._go("leave", thing, span, direction, self._edge(thing, direction, far=True))

    def _move(self, thing: int, span: Span, direction: str) -> MovingEvent | None:
        me, (dx, dy) = self.now[thing], DIRECTIONS[direction]
        edge = (1 if dx + dy > 0 else 0) - (me.x if dx else me.y)
        room = min(self._way(thing, direction), abs(edge) - me.radius - MARGIN, MOVE[1])
        way = self._between(max(MOVE[0], _SLOWEST * (span[1] - span[0])), room)
        return None if way is None else self._go("move", thing, span, direction, way)

    def _go(self, kind: str, thing: int, span: Span, direction: str, way: float) -> MovingEvent:
        before, (dx, dy) = self.now[thing], DIRECTIONS[direction]
        after = replace(before, x=before.x + dx * way, y=before.y + dy * way)
        return MovingEvent(kind, thing, *span, before, after, direction)

    def _bounce(self, thing: int, span: Span, direction: str) -> MovingEvent | None:
        me, most = self.now[thing], int((span[1] - span[0]) / _HOP)
        if direction:
            way = self._edge(thing, direction)
            if way < BOUNCE[0] or way > MOVE[1] or self._way(thing, direction) < way:
                return None
            hops = 1
        else:
            height = self._between(BOUNCE[0], min(self._way(thing, "up"), me.y - me.radius - MARGIN, BOUNCE[1]))
            if height is None:
                return None
            way = height
            hops = int(self.rng.integers(1, min(most, 3) + 1))
        dx, dy = DIRECTIONS[direction or "up"]
        return MovingEvent("bounce", thing, *span, me, me, direction, (dx * way, dy * way), hops)

    def _turn(self, thing: int, span: Span, direction: str) -> MovingEvent | None:
        """Quarter turns, so that a resting square does not look like a diamond; at most one per second, because a
        faster star
        would seem to turn back."""
        me = self.now[thing]
        if me.shape == "circle":
            return None
        quarters = int(self.rng.integers(1, min(3, round(100 * (span[1] - span[0])) // 100) + 1))
        after = replace(me, angle=me.angle + 90.0 * quarters * TURNS[direction])
        return MovingEvent("turn", thing, *span, me, after, direction)

    def _grow(self, thing: int, span: Span, direction: str) -> MovingEvent | None:
        me = self.now[thing]
        room = min(self._room(me, thing) / me.radius, SIZES[1] / me.size, GROWTH[1])
        factor = self._between(GROWTH[0], room)
        return None if factor is None else MovingEvent("grow", thing, *span, me, replace(me, size=me.size * factor))

    def _shrink(self, thing: int, span: Span, direction: str) -> MovingEvent | None:
        me = self.now[thing]
        factor = self._between(GROWTH[0], min(me.size / SIZES[0], GROWTH[1]))
        return None if factor is None else MovingEvent("shrink", thing, *span, me, replace(me, size=me.size / factor))

    def _color(self, thing: int, span: Span, direction: str) -> MovingEvent | None:
        me = self.now[thing]
        free = [color for color in COLORS if (me.shape, color) not in self.taken]
        if not free:
            return None
        return MovingEvent("color", thing, *span, me, replace(me, color=str(self.rng.choice(free))))
