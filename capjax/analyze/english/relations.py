"""Phrases of spatial relations, directions, and function words."""

# {phrase: (relation, whether subject and object are exchanged)}; the relations are left (of), above, on, front (of),
# in, out (of), near, touch. The longest phrase counts.
RELATIONS = {
    "left of": ("left", False),
    "to the left of": ("left", False),
    "on the left of": ("left", False),
    "on the left side of": ("left", False),
    "to the left side of": ("left", False),
    "right of": ("left", True),
    "to the right of": ("left", True),
    "on the right of": ("left", True),
    "on the right side of": ("left", True),
    "to the right side of": ("left", True),
    "above": ("above", False),
    "over": ("above", False),
    "below": ("above", True),
    "under": ("above", True),
    "beneath": ("above", True),
    "underneath": ("above", True),
    "on": ("on", False),
    "on top of": ("on", False),
    "atop": ("on", False),
    "upon": ("on", False),
    "onto": ("on", False),
    "in front of": ("front", False),
    "behind": ("front", True),
    "in back of": ("front", True),
    "in": ("in", False),
    "inside": ("in", False),
    "inside of": ("in", False),
    "within": ("in", False),
    "into": ("in", False),
    "outside": ("out", False),
    "outside of": ("out", False),
    "out of": ("out", False),
    "next to": ("near", False),
    "beside": ("near", False),
    "near": ("near", False),
    "by": ("near", False),
    "close to": ("near", False),
    "alongside": ("near", False),
    "far from": ("far", False),
    "away from": ("far", False),
    "touching": ("touch", False),
    "touches": ("touch", False),
    "touch": ("touch", False),
    "touched": ("touch", False),
    "in contact with": ("touch", False),
}
# Phrases with a pronoun or without an object: (relation, exchanged), of the last noun to the one before.
CONVERSES = {
    "to its right": ("left", True),
    "to its left": ("left", False),
    "on its right": ("left", True),
    "on its left": ("left", False),
    "below it": ("above", True),
    "under it": ("above", True),
    "beneath it": ("above", True),
    "underneath it": ("above", True),
    "above it": ("above", False),
    "over it": ("above", False),
    "on it": ("on", False),
    "on top of it": ("on", False),
    "in front of it": ("front", False),
    "behind it": ("front", True),
    "inside it": ("in", False),
    "in it": ("in", False),
}
# {phrase: place or direction}.
DIRECTIONS = {
    "on the left": "left",
    "at the left": "left",
    "to the left": "left",
    "on the left side": "left",
    "leftwards": "left",
    "leftward": "left",
    "left edge": "left",
    "left side": "left",
    "from the left edge": "left",
    "from the right edge": "right",
    "from the left": "from left",
    "on the right": "right",
    "at the right": "right",
    "to the right": "right",
    "on the right side": "right",
    "rightwards": "right",
    "rightward": "right",
    "right edge": "right",
    "right side": "right",
    "from the right": "from right",
    "at the top": "top",
    "on the top": "top",
    "upwards": "top",
    "upward": "top",
    "top edge": "top",
    "at the bottom": "bottom",
    "on the bottom": "bottom",
    "downwards": "bottom",
    "downward": "bottom",
    "bottom edge": "bottom",
    "in the middle": "middle",
    "in the center": "middle",
    "in the centre": "middle",
    "at the center": "middle",
    "up and down": "vertical",
    "goes up and comes back down": "vertical",
    "back and forth": "horizontal",
    "clockwise": "clockwise",
    "counterclockwise": "counterclockwise",
    "counter-clockwise": "counterclockwise",
    "anticlockwise": "counterclockwise",
    "anti-clockwise": "counterclockwise",
    "uphill": "up hill",
    "downhill": "down hill",
    "upstairs": "up stairs",
    "downstairs": "down stairs",
}
# Directions that exclude each other.
OPPOSED = [
    "left, right, middle, top, bottom",
    "from left, from right",
    "clockwise, counterclockwise",
    "up hill, down hill",
    "up stairs, down stairs",
]
LEFT_TO_RIGHT = "from left to right"
RIGHT_TO_LEFT = "from right to left"

DETERMINERS = "the, this, that, these, those, his, her, its, their, my, our, your, each, every, any, no, a, an"
PRONOUNS = (
    "it, he, she, they, him, them, itself, himself, herself, themselves, who, which, we, i, you, us, what, "
    "others, each other, one another"
)
COPULAS = "is, are, was, were, be, been, being, 's, am"
CONJUNCTIONS = "and, or, but, as, while, when, then, before, after, because, than"
PREPOSITIONS = (
    "with, without, of, at, for, from, through, across, along, around, down, up, off, to, during, between, among, "
    "against, past, toward, towards, like, about, amongst, via"
)
ADVERBS = (
    "there, here, very, together, away, back, not, also, just, outside, inside, outdoors, indoors, high, fast, "
    "happily, quickly, slowly, gradually, first, finally, later, next, so, too, almost, apart, over, out, "
    "forward, backwards, alone, still, where, how, other"
)
# A caption does not end in these.
NOT_LAST = (
    "a, an, the, and, or, of, with, to, from, at, into, onto, his, her, their, its, is, are, was, were, be, very, "
    "while, as, than, but, because, for, that, which, who, whose, these, two, three, some, several, by, in front, "
    "next, between, during, among, against, toward, towards, beside, near, under, above, below, left of, right "
    "of, wearing, holding, has, have, we see, see, sees, shows, wears, holds"
)
# Words that say nothing about a particular picture.
UNSPECIFIC = (
    "picture, image, photo, photograph, scene, view, shot, close-up, closeup, close, snapshot, video, clip, "
    "thing, object, item, shape, figure, something, someone, somebody, person, people, human, group, bunch, "
    "number, lot, some, several, many, few, various, multiple, different, other, another, one, two, there, here, "
    "this, that, these, those, it, we, see, show, shows, showing, shown, seen, display, displays, displayed, "
    "contain, contains, is, are, be, being, was, were, do, doing, does, stand, standing, stands, pose, posing, "
    "around, together, something, nice, good, beautiful, interesting, kind, type, sort, place, area, background, "
    "front, camera, color, colors, colored, colorful, animal, animals, stuff, visible, appears, appear, can, "
    "depicts, depicting, depicted, featuring, features, shapes, things, objects, items, images, pictures, photos"
)
