"""French."""

from data_prep.synthetic.shapes.languages.base import either_order, side_by_side
from data_prep.synthetic.shapes.languages.romance import Romance

FRENCH = Romance(
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
        **side_by_side(
            {"left": ("à gauche d'", "sur sa droite"), "above": ("au-dessus d'", "en dessous")},
            "{0} {relation}{1}.",
            "{0} est {relation}{1}.",
            "il y a {0} {relation}{1}.",
            "on voit {0} {relation}{1}.",
            "voici {0} {relation}{1}.",
            "ici, on voit {0} {relation}{1}.",
            "l'image montre {0} {relation}{1}.",
            "{0} avec {1} {converse}.",
            "il y a {0} avec {1} {converse}.",
            "on voit {0} avec {1} {converse}.",
        ),
        "touch": either_order(
            "{0} touche {1}.",
            "{0} et {1} se touchent.",
            "il y a {0} qui touche {1}.",
            "on voit {0} qui touche {1}.",
            "voici {0} qui touche {1}.",
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
