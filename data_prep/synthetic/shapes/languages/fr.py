"""French."""

from data_prep.synthetic.shapes.languages.romance import Romance


class French(Romance):
    pass


FRENCH = French(
    nouns={
        "circle": "cercle/m",
        "square": "carré/m",
        "triangle": "triangle/m",
        "star": "étoile/f",
        "diamond": "losange/m",
    },
    adjectives={
        "red": "rouge/rouge",
        "blue": "bleu/bleue",
        "green": "vert/verte",
        "yellow": "jaune/jaune",
        "black": "noir/noire",
        "purple": "violet/violette",
    },
    sizes=("petit/petite", "grand/grande"),
    places={"middle": "au milieu", "top": "en haut", "bottom": "en bas", "left": "à gauche", "right": "à droite"},
    patterns={
        "at": (
            "{0} {place}.",
            "{0} est {place}.",
            "il y a {0} {place}.",
            "on voit {0} {place}.",
            "voici {0} {place}.",
            "ici, on voit {0} {place}.",
            "l'image montre {0} {place}.",
            "{place}, il y a {0}.",
            "{place}, on voit {0}.",
            "{place} se trouve {0}.",
        ),
        "left": (
            "{0} à gauche d'{1}.",
            "{0} est à gauche d'{1}.",
            "il y a {0} à gauche d'{1}.",
            "on voit {0} à gauche d'{1}.",
            "voici {0} à gauche d'{1}.",
            "ici, on voit {0} à gauche d'{1}.",
            "l'image montre {0} à gauche d'{1}.",
            "{0} avec {1} sur sa droite.",
            "il y a {0} avec {1} sur sa droite.",
            "on voit {0} avec {1} sur sa droite.",
        ),
        "above": (
            "{0} au-dessus d'{1}.",
            "{0} est au-dessus d'{1}.",
            "il y a {0} au-dessus d'{1}.",
            "on voit {0} au-dessus d'{1}.",
            "voici {0} au-dessus d'{1}.",
            "ici, on voit {0} au-dessus d'{1}.",
            "l'image montre {0} au-dessus d'{1}.",
            "{0} avec {1} en dessous.",
            "il y a {0} avec {1} en dessous.",
            "on voit {0} avec {1} en dessous.",
        ),
        "touch": (
            "{0} touche {1}.",
            "{1} touche {0}.",
            "{0} et {1} se touchent.",
            "{1} et {0} se touchent.",
            "il y a {0} qui touche {1}.",
            "il y a {1} qui touche {0}.",
            "on voit {0} qui touche {1}.",
            "on voit {1} qui touche {0}.",
            "voici {0} qui touche {1}.",
            "voici {1} qui touche {0}.",
        ),
        "row": (
            "{0}, {1} et {2} de gauche à droite.",
            "il y a {0}, {1} et {2} de gauche à droite.",
            "on voit {0}, {1} et {2} de gauche à droite.",
            "voici {0}, {1} et {2} de gauche à droite.",
            "ici, on voit {0}, {1} et {2} de gauche à droite.",
            "l'image montre {0}, {1} et {2} de gauche à droite.",
            "de gauche à droite : {0}, {1} et {2}.",
            "de gauche à droite, il y a {0}, {1} et {2}.",
            "de gauche à droite, on voit {0}, {1} et {2}.",
            "{0} à gauche, {1} au milieu et {2} à droite.",
        ),
    },
)
