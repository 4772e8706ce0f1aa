"""Messages to sentences in five languages.

A language is a table of nouns with their gender, of adjectives with their forms, and of sentence patterns for each kind of
message. A pattern's slot is a thing's number, with the grammatical case where the language has cases: `{0:dat}`.
More to tell, such as motion, is another kind of message and its patterns.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.shapes.scene import Message, Scene, Thing


class Phrase:
    """A thing in a language; formatting gives the noun phrase in the case of the format's spec."""

    def __init__(self, language: "Language", thing: Thing, sized: bool):
        self.language, self.thing, self.sized = language, thing, sized

    def __format__(self, case: str) -> str:
        return self.language.noun_phrase(self.thing, case, self.sized)


@dataclass(frozen=True)
class Language:
    """Nouns, adjectives and sentence patterns. `places` are the adverbials of message kind `at`."""

    patterns: dict[str, tuple[str, ...]]
    places: dict[str, str]
    nouns: dict[str, str]
    adjectives: dict[str, str]
    sizes: tuple[str, str]  # small, large

    def noun_phrase(self, thing: Thing, case: str, sized: bool) -> str:
        raise TypeError("a language says how it forms a noun phrase")

    def sentences(self, message: Message) -> list[str]:
        """All true sentences of the message, in the order of the patterns."""
        # Size is told of a thing that is alone; beside another it would go without saying.
        phrases = [Phrase(self, thing, sized=len(message.things) == 1) for thing in message.things]
        place = self.places.get(message.place, "")
        filled = [pattern.format(*phrases, place=place) for pattern in self.patterns[message.kind]]
        return [text[0].upper() + text[1:] for text in filled]


class English(Language):
    def noun_phrase(self, thing, case, sized):
        size = f"{self.sizes[thing.large]} " if sized else ""
        return f"a {size}{self.adjectives[thing.colour]} {self.nouns[thing.shape]}"


class German(Language):
    """Mixed declension after "ein"; a noun is written with its gender: `Kreis/m`."""

    _ARTICLES = {"m": {"nom": "ein", "dat": "einem", "acc": "einen"}, "f": {"nom": "eine", "dat": "einer", "acc": "eine"},
                 "n": {"nom": "ein", "dat": "einem", "acc": "ein"}}  # fmt: skip
    _ENDINGS = {"m": {"nom": "er", "dat": "en", "acc": "en"}, "f": {"nom": "e", "dat": "en", "acc": "e"},
                "n": {"nom": "es", "dat": "en", "acc": "es"}}  # fmt: skip

    def noun_phrase(self, thing, case, sized):
        case = case or "nom"
        noun, gender = self.nouns[thing.shape].split("/")
        ending = self._ENDINGS[gender][case]
        adjectives = [self.sizes[thing.large]] if sized else []
        adjectives.append(self.adjectives[thing.colour])
        return " ".join([self._ARTICLES[gender][case], *(a + ending for a in adjectives), noun])


class Romance(Language):
    """French and Spanish: adjectives agree in gender, written `masculine/feminine`, and colours follow the noun."""

    size_follows: bool = False
    articles = ("un", "une")

    def noun_phrase(self, thing, case, sized):
        noun, gender = self.nouns[thing.shape].split("/")
        form = int(gender == "f")
        colour = self.adjectives[thing.colour].split("/")[form]
        size = self.sizes[thing.large].split("/")[form] if sized else ""
        words = [self.articles[form], noun, colour]
        if size:
            words.insert(3 if self.size_follows else 1, size)
        return " ".join(words)


class French(Romance):
    pass


class Spanish(Romance):
    size_follows = True
    articles = ("un", "una")


class Chinese(Language):
    """A noun is written with its measure word: `圆形/个`."""

    def noun_phrase(self, thing, case, sized):
        noun, measure = self.nouns[thing.shape].split("/")
        size = self.sizes[thing.large] if sized else ""
        return f"一{measure}{self.adjectives[thing.colour]}{size}{noun}"


LANGUAGES: dict[str, Language] = {
    "en": English(
        nouns={s: s for s in ("circle", "square", "triangle", "star", "diamond")},
        adjectives={c: c for c in ("red", "blue", "green", "yellow", "black", "purple")},
        sizes=("small", "large"),
        places={"middle": "in the middle", "top": "at the top", "bottom": "at the bottom", "left": "on the left",
                "right": "on the right"},
        patterns={
            "at": ("{0} lies {place}.", "there is {0} {place}.", "{0} is {place}.", "{place} there is {0}.",
                   "{0} can be seen {place}."),
            "left": ("{0} is to the left of {1}.", "{0} stands to the left of {1}.", "{1} is to the right of {0}.",
                     "there is {0} to the left of {1}.", "to the left of {1} there is {0}."),
            "above": ("{0} is above {1}.", "{0} stands above {1}.", "{1} is below {0}.", "there is {0} above {1}.",
                      "above {1} there is {0}."),
            "touch": ("{0} touches {1}.", "{0} is touching {1}.", "{1} touches {0}.", "{0} and {1} touch each other.",
                      "there is {0} that touches {1}."),
            "row": ("{0}, {1} and {2} stand in a row.", "from left to right there are {0}, {1} and {2}.",
                    "{1} is between {0} and {2}.", "there are {0}, {1} and {2} in a row.",
                    "{0}, {1} and {2} stand side by side."),
        },
    ),
    "de": German(
        nouns={"circle": "Kreis/m", "square": "Quadrat/n", "triangle": "Dreieck/n", "star": "Stern/m",
               "diamond": "Raute/f"},
        adjectives={"red": "rot", "blue": "blau", "green": "grün", "yellow": "gelb", "black": "schwarz",
                    "purple": "violett"},
        sizes=("klein", "groß"),
        places={"middle": "in der Mitte", "top": "oben", "bottom": "unten", "left": "links", "right": "rechts"},
        patterns={
            "at": ("{0} liegt {place}.", "{place} ist {0}.", "{0} ist {place} zu sehen.", "es gibt {place} {0:acc}.",
                   "man sieht {place} {0:acc}."),
            "left": ("{0} liegt links von {1:dat}.", "{0} steht links neben {1:dat}.", "{1} liegt rechts von {0:dat}.",
                     "links von {1:dat} ist {0}.", "es gibt {0:acc} links von {1:dat}."),
            "above": ("{0} ist über {1:dat}.", "{0} steht über {1:dat}.", "{1} ist unter {0:dat}.",
                      "über {1:dat} ist {0}.", "es gibt {0:acc} über {1:dat}."),
            "touch": ("{0} berührt {1:acc}.", "{1} berührt {0:acc}.", "{0} und {1} berühren sich.",
                      "{0} stößt an {1:acc}.", "es gibt {0:acc} direkt an {1:dat}."),
            "row": ("{0}, {1} und {2} stehen in einer Reihe.", "von links nach rechts sind {0}, {1} und {2} zu sehen.",
                    "{1} ist zwischen {0:dat} und {2:dat}.", "es gibt {0:acc}, {1:acc} und {2:acc} in einer Reihe.",
                    "{0}, {1} und {2} stehen nebeneinander."),
        },
    ),
    "fr": French(
        nouns={"circle": "cercle/m", "square": "carré/m", "triangle": "triangle/m", "star": "étoile/f",
               "diamond": "losange/m"},
        adjectives={"red": "rouge/rouge", "blue": "bleu/bleue", "green": "vert/verte", "yellow": "jaune/jaune",
                    "black": "noir/noire", "purple": "violet/violette"},
        sizes=("petit/petite", "grand/grande"),
        places={"middle": "au milieu", "top": "en haut", "bottom": "en bas", "left": "à gauche", "right": "à droite"},
        patterns={
            "at": ("{0} est {place}.", "il y a {0} {place}.", "{place} se trouve {0}.", "{0} se trouve {place}.",
                   "on voit {0} {place}."),
            "left": ("{0} est à gauche d'{1}.", "{0} se trouve à gauche d'{1}.", "{1} est à droite d'{0}.",
                     "il y a {0} à gauche d'{1}.", "à gauche d'{1} se trouve {0}."),
            "above": ("{0} est au-dessus d'{1}.", "{0} se trouve au-dessus d'{1}.", "{1} est au-dessous d'{0}.",
                      "il y a {0} au-dessus d'{1}.", "au-dessus d'{1} se trouve {0}."),
            "touch": ("{0} touche {1}.", "{1} touche {0}.", "{0} et {1} se touchent.", "on voit {0} qui touche {1}.",
                      "il y a {0} contre {1}."),
            "row": ("{0}, {1} et {2} forment une rangée.", "de gauche à droite, il y a {0}, {1} et {2}.",
                    "{1} est entre {0} et {2}.", "il y a {0}, {1} et {2} côte à côte.",
                    "{0}, {1} et {2} se trouvent côte à côte."),
        },
    ),
    "es": Spanish(
        nouns={"circle": "círculo/m", "square": "cuadrado/m", "triangle": "triángulo/m", "star": "estrella/f",
               "diamond": "rombo/m"},
        adjectives={"red": "rojo/roja", "blue": "azul/azul", "green": "verde/verde", "yellow": "amarillo/amarilla",
                    "black": "negro/negra", "purple": "morado/morada"},
        sizes=("pequeño/pequeña", "grande/grande"),
        places={"middle": "en el centro", "top": "arriba", "bottom": "abajo", "left": "a la izquierda",
                "right": "a la derecha"},
        patterns={
            "at": ("{0} está {place}.", "hay {0} {place}.", "{place} hay {0}.", "{0} se encuentra {place}.",
                   "se ve {0} {place}."),
            "left": ("{0} está a la izquierda de {1}.", "{0} se encuentra a la izquierda de {1}.",
                     "{1} está a la derecha de {0}.", "hay {0} a la izquierda de {1}.",
                     "a la izquierda de {1} hay {0}."),
            "above": ("{0} está encima de {1}.", "{0} se encuentra encima de {1}.", "{1} está debajo de {0}.",
                      "hay {0} encima de {1}.", "encima de {1} hay {0}."),
            "touch": ("{0} toca {1}.", "{1} toca {0}.", "{0} y {1} se tocan.", "se ve {0} que toca {1}.",
                      "{0} está en contacto con {1}."),
            "row": ("{0}, {1} y {2} forman una fila.", "de izquierda a derecha hay {0}, {1} y {2}.",
                    "{1} está entre {0} y {2}.", "hay {0}, {1} y {2} en fila.", "{0}, {1} y {2} están en fila."),
        },
    ),
    "zh": Chinese(
        nouns={"circle": "圆形/个", "square": "正方形/个", "triangle": "三角形/个", "star": "星星/颗", "diamond": "菱形/个"},
        adjectives={"red": "红色的", "blue": "蓝色的", "green": "绿色的", "yellow": "黄色的", "black": "黑色的",
                    "purple": "紫色的"},
        sizes=("小", "大"),
        places={"middle": "中间", "top": "上方", "bottom": "下方", "left": "左边", "right": "右边"},
        patterns={
            "at": ("{0}在{place}。", "{place}有{0}。", "图的{place}有{0}。", "可以看到{0}在{place}。", "{0}位于{place}。"),
            "left": ("{0}在{1}的左边。", "{0}位于{1}的左边。", "{1}在{0}的右边。", "{1}的左边有{0}。", "可以看到{0}在{1}的左边。"),
            "above": ("{0}在{1}的上方。", "{0}位于{1}的上方。", "{1}在{0}的下方。", "{1}的上方有{0}。", "可以看到{0}在{1}的上方。"),
            "touch": ("{0}碰到{1}。", "{1}碰到{0}。", "{0}和{1}碰在一起。", "{0}紧挨着{1}。", "可以看到{0}碰到{1}。"),
            "row": ("{0}、{1}和{2}排成一行。", "从左到右是{0}、{1}和{2}。", "{1}在{0}和{2}之间。", "图中有{0}、{1}和{2}排成一行。",
                    "{0}、{1}和{2}并排放着。"),
        },
    ),
}  # fmt: skip


def captions(scene: Scene, lang: str, count: int) -> list[str]:
    """`count` different sentences about the scene, chosen and ordered by its seed.

    Raises:
      ValueError: the language has no grammar here, or not so many sentences.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"no grammar for {lang!r}; there is one for {', '.join(LANGUAGES)}")
    sentences = LANGUAGES[lang].sentences(scene.message)
    if count > len(sentences):
        raise ValueError(f"{count} paraphrases asked for; there are {len(sentences)} for each picture")
    rng = np.random.default_rng([*scene.seed, 2])
    return [sentences[i] for i in rng.permutation(len(sentences))[:count]]
