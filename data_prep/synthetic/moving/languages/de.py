"""German."""

from data_prep.synthetic.moving.languages.base import MovingLanguage
from data_prep.synthetic.shapes.languages.de import GERMAN as STILL


class German(MovingLanguage):
    """A clause is written `verb|rest|prefix`, since the verb's place depends on what stands before it.

    ein Stern taucht auf · `inv`: dann taucht ein Stern auf · `sub`: bevor ein Stern auftaucht
    """

    _ARTICLES = {"m": "der", "f": "die", "n": "das"}

    def known(self, thing):
        noun, gender = self.still.nouns[thing.shape].split("/")
        return f"{self._ARTICLES[gender]} {self.still.adjectives[thing.color]}e {noun}"

    def colors(self, event):
        colors = super().colors(event)
        # "Von Blau zu Gelb": colors as nouns.
        return {**colors, "Old": colors["old"].capitalize(), "New": colors["new"].capitalize()}

    def clause(self, pattern, subject, form):
        verb, rest, prefix = pattern.split("|")
        verb, _, reflexive = verb.partition(" ")
        words = {
            "": (subject, verb, reflexive, rest, prefix),
            "inv": (verb, reflexive, subject, rest, prefix),
            "sub": (reflexive, subject, rest, prefix + verb),
        }[form]
        return " ".join(filter(None, words))


GERMAN = German(
    still=STILL,
    words={
        "left": {"way": "nach links", "edge": "linken Rand"},
        "right": {"way": "nach rechts", "edge": "rechten Rand"},
        "up": {"way": "nach oben", "edge": "oberen Rand"},
        "down": {"way": "nach unten", "edge": "unteren Rand"},
        "clockwise": {"turn": "im Uhrzeigersinn"},
        "counterclockwise": {"turn": "gegen den Uhrzeigersinn"},
    },
    clauses={
        "appear": (
            "erscheint||",
            "taucht||auf",
            "wird|sichtbar|",
            "zeigt sich||",
            "kommt|zum Vorschein|",
        ),
        "leave": (
            "verlässt|das Bild {way}|",
            "wandert|{way} aus dem Bild|",
            "bewegt sich|{way} aus dem Bild|",
            "verschwindet|über den {edge}|",
            "geht|über den {edge}|hinaus",
        ),
        "move": (
            "bewegt sich|{way}|",
            "wandert|{way}|",
            "gleitet|{way}|",
            "rückt|{way}|",
            "verschiebt sich|{way}|",
        ),
        "bounce": (
            "hüpft|auf und ab|",
            "springt|auf und ab|",
            "hopst|auf und ab|",
            "bewegt sich|auf und ab|",
            "hüpft|nach oben und wieder zurück|",
        ),
        "rebound": (
            "prallt|vom {edge}|ab",
            "prallt|am {edge}|ab",
            "springt|vom {edge}|zurück",
            "läuft|bis zum {edge} und zurück|",
            "bewegt sich|zum {edge} und zurück|",
        ),
        "turn": (
            "dreht sich|{turn}|",
            "rotiert|{turn}|",
            "dreht sich|auf der Stelle {turn}|",
            "rotiert|auf der Stelle {turn}|",
            "dreht sich|{turn} um sich selbst|",
        ),
        "grow": (
            "wächst||",
            "wird|größer|",
            "vergrößert sich||",
            "dehnt sich||aus",
            "nimmt|an Größe|zu",
        ),
        "shrink": (
            "schrumpft||",
            "wird|kleiner|",
            "verkleinert sich||",
            "zieht sich||zusammen",
            "nimmt|an Größe|ab",
        ),
        "color": (
            "wird|{new}|",
            "färbt sich|{new}|",
            "verfärbt sich|{new}|",
            "nimmt|die Farbe {New}|an",
            "wechselt|von {Old} zu {New}|",
        ),
    },
    before=(
        "{a}, bevor {b:sub}.",
        "bevor {b:sub}, {a:inv}.",
        "zuerst {a:inv}, dann {b:inv}.",
        "{a}, danach {b:inv}.",
        "erst {a:inv}, später {b:inv}.",
        "{b}, aber vorher {a:inv}.",
    ),
    summaries=(
        ("zuerst {0:inv}.", ("dann {0:inv}.", "danach {0:inv}."), "zum Schluss {0:inv}."),
        ("anfangs {0:inv}.", ("anschließend {0:inv}.", "dann {0:inv}."), "am Ende {0:inv}."),
        ("{0}.", ("dann {0:inv}.",), "zuletzt {0:inv}."),
        ("erst {0:inv}.", ("darauf {0:inv}.", "danach {0:inv}."), "schließlich {0:inv}."),
        ("als Erstes {0:inv}.", ("als Nächstes {0:inv}.", "danach {0:inv}."), "als Letztes {0:inv}."),
    ),
)
