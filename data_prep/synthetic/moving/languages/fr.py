"""French."""

from data_prep.synthetic.moving.languages.romance import Romance
from data_prep.synthetic.shapes.languages.fr import FRENCH as STILL


class French(Romance):
    def known(self, thing):
        phrase = super().known(thing)
        return "l'" + phrase.split(" ", 1)[1] if phrase.split()[1][0] in "aeiouéè" else phrase


# No "avant que", which takes the subjunctive.
FRENCH = French(
    still=STILL,
    words={
        "left": {"way": "vers la gauche", "out": "par la gauche", "edge": "bord gauche"},
        "right": {"way": "vers la droite", "out": "par la droite", "edge": "bord droit"},
        "up": {"way": "vers le haut", "out": "par le haut", "edge": "bord supérieur"},
        "down": {"way": "vers le bas", "out": "par le bas", "edge": "bord inférieur"},
        "clockwise": {"turn": "dans le sens des aiguilles d'une montre"},
        "counterclockwise": {"turn": "dans le sens inverse des aiguilles d'une montre"},
    },
    clauses={
        "appear": (
            "{0} apparaît",
            "{0} surgit",
            "{0} se montre",
            "{0} devient visible",
            "{0} fait son apparition",
        ),
        "leave": (
            "{0} sort de l'image {out}",
            "{0} quitte l'image {out}",
            "{0} s'en va {out}",
            "{0} sort par le {edge}",
            "{0} disparaît par le {edge}",
        ),
        "move": (
            "{0} se déplace {way}",
            "{0} glisse {way}",
            "{0} avance {way}",
            "{0} bouge {way}",
            "{0} va {way}",
        ),
        "bounce": (
            "{0} rebondit sur place",
            "{0} sautille sur place",
            "{0} monte et redescend",
            "{0} saute en l'air et retombe",
            "{0} bondit vers le haut et retombe",
        ),
        "rebound": (
            "{0} rebondit sur le {edge}",
            "{0} rebondit contre le {edge}",
            "{0} va jusqu'au {edge} et revient",
            "{0} touche le {edge} et revient",
            "{0} heurte le {edge} et revient",
        ),
        "turn": (
            "{0} tourne {turn}",
            "{0} pivote {turn}",
            "{0} tourne sur place {turn}",
            "{0} pivote sur place {turn}",
            "{0} effectue une rotation {turn}",
        ),
        "grow": (
            "{0} grandit",
            "{0} grossit",
            "{0} s'agrandit",
            "{0} gagne en taille",
            "{0} augmente de taille",
        ),
        "shrink": (
            "{0} rétrécit",
            "{0} rapetisse",
            "{0} se contracte",
            "{0} diminue",
            "{0} diminue de taille",
        ),
        "color": (
            "{0} devient {new}",
            "{0} passe au {New}",
            "{0} vire au {New}",
            "{0} passe du {Old} au {New}",
            "{0} change de couleur et devient {new}",
        ),
    },
    before=(
        "d'abord {a}, puis {b}.",
        "{a}, puis {b}.",
        "{a}, et ensuite {b}.",
        "{b}, mais avant cela {a}.",
        "au début {a}, et plus tard {b}.",
        "pour commencer, {a} ; après cela, {b}.",
    ),
    summaries=(
        ("d'abord {0}.", ("puis {0}.", "ensuite {0}."), "enfin {0}."),
        ("au début {0}.", ("après cela, {0}.", "puis {0}."), "à la fin {0}."),
        ("{0}.", ("puis {0}.",), "pour finir, {0}."),
        ("pour commencer, {0}.", ("ensuite {0}.", "après cela, {0}."), "pour terminer, {0}."),
        ("en premier, {0}.", ("plus tard, {0}.", "ensuite {0}."), "en dernier, {0}."),
    ),
)
