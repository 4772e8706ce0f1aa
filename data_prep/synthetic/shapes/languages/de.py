"""German."""

from data_prep.synthetic.shapes.languages.base import Language, either_order, side_by_side


class German(Language):
    """Mixed declension after "ein"; a noun is written with its gender: `Kreis/m`."""

    _ARTICLES = {
        "m": {"nom": "ein", "dat": "einem", "acc": "einen"},
        "f": {"nom": "eine", "dat": "einer", "acc": "eine"},
        "n": {"nom": "ein", "dat": "einem", "acc": "ein"},
    }
    _ENDINGS = {
        "m": {"nom": "er", "dat": "en", "acc": "en"},
        "f": {"nom": "e", "dat": "en", "acc": "e"},
        "n": {"nom": "es", "dat": "en", "acc": "es"},
    }

    def noun_phrase(self, thing, case, sized):
        case = case or "nom"
        noun, gender = self.nouns[thing.shape].split("/")
        ending = self._ENDINGS[gender][case]
        adjectives = [self.sizes[thing.large]] if sized else []
        adjectives.append(self.adjectives[thing.color])
        return " ".join([self._ARTICLES[gender][case], *(a + ending for a in adjectives), noun])


GERMAN = German(
    nouns={
        "circle": "Kreis/m",
        "square": "Quadrat/n",
        "triangle": "Dreieck/n",
        "star": "Stern/m",
        "diamond": "Raute/f",
    },
    adjectives={
        "red": "rot",
        "blue": "blau",
        "green": "grün",
        "yellow": "gelb",
        "black": "schwarz",
        "purple": "violett",
    },
    sizes=("klein", "groß"),
    places={"middle": "in der Mitte", "top": "oben", "bottom": "unten", "left": "links", "right": "rechts"},
    patterns={
        "at": (
            "{0} {place}.",
            "{0} ist {place}.",
            "hier ist {0} {place}.",
            "zu sehen ist {0} {place}.",
            "man sieht {0:acc} {place}.",
            "wir sehen {0:acc} {place}.",
            "das Bild zeigt {0:acc} {place}.",
            "{place} ist {0}.",
            "{place} ist {0} zu sehen.",
            "{place} sieht man {0:acc}.",
        ),
        **side_by_side(
            {"left": ("links von", "rechts daneben"), "above": ("über", "darunter")},
            "{0} {relation} {1:dat}.",
            "{0} ist {relation} {1:dat}.",
            "hier ist {0} {relation} {1:dat}.",
            "zu sehen ist {0} {relation} {1:dat}.",
            "man sieht {0:acc} {relation} {1:dat}.",
            "wir sehen {0:acc} {relation} {1:dat}.",
            "das Bild zeigt {0:acc} {relation} {1:dat}.",
            "{0} mit {1:dat} {converse}.",
            "hier ist {0} mit {1:dat} {converse}.",
            "man sieht {0:acc} mit {1:dat} {converse}.",
        ),
        "touch": either_order(
            "{0} berührt {1:acc}.",
            "hier berührt {0} {1:acc}.",
            "{0} und {1} berühren sich.",
            "hier berühren sich {0} und {1}.",
            "{0} stößt an {1:acc}.",
        ),
        "row": (
            "{0}, {1} und {2} von links nach rechts.",
            "von links nach rechts: {0}, {1} und {2}.",
            "von links nach rechts stehen {0}, {1} und {2}.",
            "hier stehen von links nach rechts {0}, {1} und {2}.",
            "zu sehen sind von links nach rechts {0}, {1} und {2}.",
            "in einer Reihe von links nach rechts: {0}, {1} und {2}.",
            "man sieht von links nach rechts {0:acc}, {1:acc} und {2:acc}.",
            "wir sehen von links nach rechts {0:acc}, {1:acc} und {2:acc}.",
            "das Bild zeigt von links nach rechts {0:acc}, {1:acc} und {2:acc}.",
            "{0} links, {1} in der Mitte und {2} rechts.",
        ),
    },
)
