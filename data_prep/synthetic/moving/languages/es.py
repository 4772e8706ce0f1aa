"""Spanish."""

from data_prep.synthetic.moving.languages.romance import Romance
from data_prep.synthetic.shapes.languages.es import SPANISH as STILL


class Spanish(Romance):
    articles = ("el", "la")


# No "antes de que", which takes the subjunctive.
SPANISH = Spanish(
    still=STILL,
    words={
        "left": {"way": "hacia la izquierda", "out": "por la izquierda", "edge": "el borde izquierdo"},
        "right": {"way": "hacia la derecha", "out": "por la derecha", "edge": "el borde derecho"},
        "up": {"way": "hacia arriba", "out": "por arriba", "edge": "el borde superior"},
        "down": {"way": "hacia abajo", "out": "por abajo", "edge": "el borde inferior"},
        "clockwise": {"turn": "en el sentido de las agujas del reloj"},
        "counterclockwise": {"turn": "en sentido contrario a las agujas del reloj"},
    },
    clauses={
        "appear": (
            "{0} aparece",
            "{0} surge",
            "{0} se deja ver",
            "{0} se hace visible",
            "{0} empieza a verse",
        ),
        "leave": (
            "{0} sale de la imagen {out}",
            "{0} abandona la imagen {out}",
            "{0} se va {out}",
            "{0} sale por {edge}",
            "{0} desaparece por {edge}",
        ),
        "move": (
            "{0} se mueve {way}",
            "{0} se desplaza {way}",
            "{0} se desliza {way}",
            "{0} avanza {way}",
            "{0} va {way}",
        ),
        "bounce": (
            "{0} rebota arriba y abajo",
            "{0} salta arriba y abajo",
            "{0} brinca arriba y abajo",
            "{0} se mueve arriba y abajo",
            "{0} sube y vuelve a bajar",
        ),
        "rebound": (
            "{0} rebota en {edge}",
            "{0} rebota contra {edge}",
            "{0} va hasta {edge} y vuelve",
            "{0} toca {edge} y regresa",
            "{0} choca con {edge} y vuelve",
        ),
        "turn": (
            "{0} gira {turn}",
            "{0} rota {turn}",
            "{0} hace un giro {turn}",
            "{0} rota en el sitio {turn}",
            "{0} gira en el sitio {turn}",
        ),
        "grow": (
            "{0} crece",
            "{0} se agranda",
            "{0} se hace más grande",
            "{0} se vuelve más grande",
            "{0} aumenta de tamaño",
        ),
        "shrink": (
            "{0} se encoge",
            "{0} se achica",
            "{0} se reduce",
            "{0} reduce su tamaño",
            "{0} disminuye de tamaño",
        ),
        "color": (
            "{0} se vuelve {new}",
            "{0} se pone {new}",
            "{0} pasa a ser {new}",
            "{0} pasa del {Old} al {New}",
            "{0} cambia del {Old} al {New}",
        ),
    },
    before=(
        "primero {a} y luego {b}.",
        "primero {a}, después {b}.",
        "{a} y después {b}.",
        "{b}, pero antes {a}.",
        "al principio {a}; más tarde {b}.",
        "{a}; a continuación, {b}.",
    ),
    summaries=(
        ("primero {0}.", ("luego {0}.", "después {0}."), "al final {0}."),
        ("al principio {0}.", ("a continuación, {0}.", "luego {0}."), "por último, {0}."),
        ("{0}.", ("luego {0}.",), "finalmente {0}."),
        ("para empezar, {0}.", ("después {0}.", "más tarde {0}."), "para terminar, {0}."),
        ("en primer lugar, {0}.", ("después {0}.", "acto seguido {0}."), "en último lugar, {0}."),
    ),
)
