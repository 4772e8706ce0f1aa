"""Spanish."""

from data_prep.synthetic.shapes.languages.base import either_order, side_by_side
from data_prep.synthetic.shapes.languages.romance import Romance


class Spanish(Romance):
    articles = ("un", "una")
    size_follows = True


SPANISH = Spanish(
    nouns={
        "circle": "círculo/m",
        "square": "cuadrado/m",
        "triangle": "triángulo/m",
        "star": "estrella/f",
        "diamond": "rombo/m",
    },
    adjectives={
        "red": "rojo/roja",
        "blue": "azul/azul",
        "green": "verde/verde",
        "yellow": "amarillo/amarilla",
        "black": "negro/negra",
        "purple": "morado/morada",
    },
    sizes=("pequeño/pequeña", "grande/grande"),
    places={
        "middle": "en el centro",
        "top": "arriba",
        "bottom": "abajo",
        "left": "a la izquierda",
        "right": "a la derecha",
    },
    patterns={
        "at": (
            "{0} {place}.",
            "{0} está {place}.",
            "hay {0} {place}.",
            "vemos {0} {place}.",
            "se ve {0} {place}.",
            "aquí hay {0} {place}.",
            "la imagen muestra {0} {place}.",
            "{place} hay {0}.",
            "{place} vemos {0}.",
            "{place} se ve {0}.",
        ),
        **side_by_side(
            {"left": ("a la izquierda de", "al lado derecho"), "above": ("por encima de", "debajo")},
            "{0} {relation} {1}.",
            "{0} está {relation} {1}.",
            "hay {0} {relation} {1}.",
            "vemos {0} {relation} {1}.",
            "se ve {0} {relation} {1}.",
            "aquí hay {0} {relation} {1}.",
            "la imagen muestra {0} {relation} {1}.",
            "{0} con {1} {converse}.",
            "hay {0} con {1} {converse}.",
            "vemos {0} con {1} {converse}.",
        ),
        "touch": either_order(
            "{0} toca {1}.",
            "{0} y {1} se tocan.",
            "hay {0} que toca {1}.",
            "vemos {0} que toca {1}.",
            "aquí hay {0} que toca {1}.",
        ),
        "row": (
            "{0}, {1} y {2} de izquierda a derecha.",
            "hay {0}, {1} y {2} de izquierda a derecha.",
            "vemos {0}, {1} y {2} de izquierda a derecha.",
            "aquí hay {0}, {1} y {2} de izquierda a derecha.",
            "la imagen muestra {0}, {1} y {2} de izquierda a derecha.",
            "de izquierda a derecha: {0}, {1} y {2}.",
            "de izquierda a derecha hay {0}, {1} y {2}.",
            "de izquierda a derecha vemos {0}, {1} y {2}.",
            "en fila de izquierda a derecha: {0}, {1} y {2}.",
            "{0} a la izquierda, {1} en el centro y {2} a la derecha.",
        ),
    },
)
