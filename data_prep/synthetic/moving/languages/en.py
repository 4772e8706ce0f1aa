"""English."""

from data_prep.synthetic.moving.languages.base import MovingLanguage
from data_prep.synthetic.shapes.languages.en import ENGLISH as STILL


class English(MovingLanguage):
    def known(self, thing):
        return "the" + self.still.noun_phrase(thing, "", False).removeprefix("a")


# "Turns" is said of nothing: what rotates turns, and what becomes red turns red.
ENGLISH = English(
    still=STILL,
    words={
        "left": {"way": "to the left", "out": "on the left", "edge": "left edge"},
        "right": {"way": "to the right", "out": "on the right", "edge": "right edge"},
        "up": {"way": "upwards", "out": "at the top", "edge": "top edge"},
        "down": {"way": "downwards", "out": "at the bottom", "edge": "bottom edge"},
        "clockwise": {"turn": "clockwise"},
        "counterclockwise": {"turn": "counterclockwise"},
    },
    clauses={
        "appear": (
            "{0} appears",
            "{0} emerges",
            "{0} shows up",
            "{0} becomes visible",
            "{0} comes into view",
        ),
        "leave": (
            "{0} leaves the picture {out}",
            "{0} goes out of the picture {out}",
            "{0} leaves over the {edge}",
            "{0} moves out over the {edge}",
            "{0} disappears over the {edge}",
        ),
        "move": (
            "{0} moves {way}",
            "{0} goes {way}",
            "{0} slides {way}",
            "{0} glides {way}",
            "{0} travels {way}",
        ),
        "bounce": (
            "{0} bounces up and down",
            "{0} hops up and down",
            "{0} jumps up and down",
            "{0} moves up and down",
            "{0} goes up and comes back down",
        ),
        "rebound": (
            "{0} bounces off the {edge}",
            "{0} rebounds from the {edge}",
            "{0} goes to the {edge} and back",
            "{0} touches the {edge} and returns",
            "{0} hits the {edge} and comes back",
        ),
        "turn": (
            "{0} rotates {turn}",
            "{0} spins {turn}",
            "{0} revolves {turn}",
            "{0} spins {turn} on the spot",
            "{0} rotates {turn} on the spot",
        ),
        "grow": (
            "{0} grows",
            "{0} gets bigger",
            "{0} gets larger",
            "{0} becomes larger",
            "{0} increases in size",
        ),
        "shrink": (
            "{0} shrinks",
            "{0} gets smaller",
            "{0} becomes smaller",
            "{0} contracts",
            "{0} decreases in size",
        ),
        "color": (
            "{0} becomes {new}",
            "{0} changes to {new}",
            "{0} gradually becomes {new}",
            "{0} changes from {old} to {new}",
            "{0} fades from {old} to {new}",
        ),
    },
    before=(
        "{a} before {b}.",
        "{b} after {a}.",
        "before {b}, {a}.",
        "first {a}, then {b}.",
        "{a}, and after that {b}.",
        "{a}, and later {b}.",
    ),
    summaries=(
        ("first {0}.", ("then {0}.", "after that, {0}."), "finally {0}."),
        ("at first {0}.", ("next, {0}.", "then {0}."), "in the end {0}."),
        ("{0}.", ("then {0}.",), "last, {0}."),
        ("to begin with, {0}.", ("after that, {0}.", "afterwards {0}."), "at the end {0}."),
        ("in the beginning {0}.", ("later {0}.", "next, {0}."), "lastly, {0}."),
    ),
)
