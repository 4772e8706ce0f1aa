"""Adjectives of captions by type and value, and numbers."""

# {type: {value: its words}}. Values of one type exclude each other, but for those of one line of SIMILAR.
ATTRIBUTES = {
    "color": {
        "red": "red, crimson, scarlet",
        "blue": "blue, navy",
        "green": "green",
        "yellow": "yellow",
        "black": "black",
        "white": "white",
        "purple": "purple, violet",
        "orange": "orange",
        "pink": "pink",
        "brown": "brown",
        "gray": "gray, grey",
        "tan": "tan, beige, cream",
        "gold": "gold, golden, blond, blonde",
        "silver": "silver",
        "turquoise": "turquoise, teal, aqua",
        "maroon": "maroon, burgundy",
    },
    "size": {
        "small": "small, little, tiny, short",
        "large": "large, big, huge, giant, enormous, tall",
        "medium": "medium, medium-sized",
    },
    "material": {
        "wooden": "wooden",
        "metal": "metal, metallic, steel, iron",
        "plastic": "plastic",
        "glass": "glass",
        "stone": "concrete, brick, stone, marble",
        "paper": "cardboard",
        "leather": "leather",
        "rubber": "rubber",
        "cloth": "cloth, fabric, woolen, cotton",
    },
}
# Values that people use of the same thing.
SIMILAR = {
    "color": [
        "brown, tan, gold, orange",
        "gold, yellow, orange, tan, white",
        "gray, silver, black",
        "gray, white, tan",
        "pink, purple, red",
        "blue, turquoise, green",
        "maroon, red, brown, purple",
    ],
    "size": ["medium, small", "medium, large"],
    "material": ["wooden, paper", "stone, metal", "cloth, leather", "plastic, rubber"],
}
# Words of a material or color that are also nouns: adjectives only before a noun.
ALSO_NOUNS = {
    "brick",
    "cardboard",
    "cloth",
    "concrete",
    "cotton",
    "cream",
    "fabric",
    "glass",
    "gold",
    "iron",
    "leather",
    "marble",
    "metal",
    "orange",
    "paper",
    "plastic",
    "rubber",
    "silver",
    "steel",
    "stone",
}

NUMBERS = {
    "a": 1,
    "an": 1,
    "one": 1,
    "single": 1,
    "lone": 1,
    "another": 1,
    "two": 2,
    "both": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "dozen": 12,
}
# Words for an unknown number, with the smallest that they may mean.
VAGUE_NUMBERS = {
    "several": 2,
    "many": 2,
    "some": 1,
    "few": 2,
    "multiple": 2,
    "various": 2,
    "numerous": 2,
    "all": 1,
    "lots": 2,
}
# NOUN of NOUN: the second is the head; the first is its number.
COLLECTIVES = {
    "group": (2, None),
    "bunch": (2, None),
    "crowd": (3, None),
    "herd": (2, None),
    "flock": (2, None),
    "pack": (2, None),
    "team": (2, None),
    "number": (2, None),
    "lot": (2, None),
    "set": (1, None),
    "row": (2, None),
    "pile": (1, None),
    "line": (2, None),
    "pair": (2, 2),
    "couple": (2, 2),
    "trio": (3, 3),
    "variety": (2, None),
    "collection": (2, None),
    "stack": (1, None),
    "bundle": (2, None),
}
# NOUN of NOUN: the second is the head, and its number is that of the first.
PORTIONS = (
    "piece, slice, bit, part, kind, type, sort, plate, bowl, bottle, glass, cup, box, bag, body, side, top, back, "
    "edge, picture, image, photo, photograph, view, close-up, closeup, shot, painting"
)

# Other adjectives; they carry no fact, but belong to noun phrases.
OTHER_ADJECTIVES = (
    "young, old, older, elderly, new, happy, sad, beautiful, pretty, cute, dirty, clean, wet, dry, hot, cold, "
    "snowy, sandy, grassy, rocky, sunny, cloudy, crowded, empty, full, open, closed, long, high, low, deep, "
    "shallow, dark, light, bright, colorful, striped, spotted, plaid, fluffy, furry, hairy, bald, shirtless, "
    "bare, barefoot, asian, african, american, middle-aged, different, same, other, first, second, third, next, "
    "last, busy, quiet, public, indoor, outdoor, soft, hard, flat, round, steep, narrow, wide, thick, thin, fat, "
    "skinny, large-breasted, professional, electric, modern, ancient, vintage, fancy, formal, casual, muddy, "
    "frozen, icy, rough, smooth, shiny, blurry, broken, torn, nice, lovely, great, good, bad, whole, half, fresh, "
    "delicious, wild, domestic, stuffed, pale, plain, solid, tiny-looking, multicolored, multi-colored, pregnant, "
    "homeless, male, female, teenage"
)
