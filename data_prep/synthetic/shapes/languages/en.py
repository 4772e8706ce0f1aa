"""English."""

from data_prep.synthetic.shapes.languages.base import Language, either_order, side_by_side


class English(Language):
    def noun_phrase(self, thing, case, sized):
        size = f"{self.sizes[thing.large]} " if sized else ""
        return f"a {size}{self.adjectives[thing.color]} {self.nouns[thing.shape]}"


ENGLISH = English(
    nouns={s: s for s in ("circle", "square", "triangle", "star", "diamond")},
    adjectives={c: c for c in ("red", "blue", "green", "yellow", "black", "purple")},
    sizes=("small", "large"),
    places={
        "middle": "in the middle",
        "top": "at the top",
        "bottom": "at the bottom",
        "left": "on the left",
        "right": "on the right",
    },
    patterns={
        "at": (
            "{0} {place}.",
            "{0} is {place}.",
            "there is {0} {place}.",
            "we see {0} {place}.",
            "here is {0} {place}.",
            "here we see {0} {place}.",
            "the picture shows {0} {place}.",
            "{place} is {0}.",
            "{place} there is {0}.",
            "{place} we see {0}.",
        ),
        **side_by_side(
            {"left": ("left of", "to its right"), "above": ("above", "below it")},
            "{0} {relation} {1}.",
            "{0} is {relation} {1}.",
            "there is {0} {relation} {1}.",
            "we see {0} {relation} {1}.",
            "here is {0} {relation} {1}.",
            "here we see {0} {relation} {1}.",
            "the picture shows {0} {relation} {1}.",
            "{0} with {1} {converse}.",
            "there is {0} with {1} {converse}.",
            "we see {0} with {1} {converse}.",
        ),
        "touch": either_order(
            "{0} touches {1}.",
            "{0} and {1} touch each other.",
            "there is {0} touching {1}.",
            "we see {0} touching {1}.",
            "the picture shows {0} touching {1}.",
        ),
        "row": (
            "{0}, {1} and {2} from left to right.",
            "{0}, {1} and {2} in a row from left to right.",
            "we see {0}, {1} and {2} from left to right.",
            "here we see {0}, {1} and {2} from left to right.",
            "the picture shows {0}, {1} and {2} from left to right.",
            "from left to right: {0}, {1} and {2}.",
            "from left to right we see {0}, {1} and {2}.",
            "from left to right the picture shows {0}, {1} and {2}.",
            "in a row from left to right: {0}, {1} and {2}.",
            "{0} on the left, {1} in the middle and {2} on the right.",
        ),
    },
)
