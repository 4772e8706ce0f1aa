"""One file a language: how it tells what happens. Things are called as in data_prep.synthetic.shapes."""

from data_prep.synthetic.moving.languages.base import MovingLanguage, Parts, join
from data_prep.synthetic.moving.languages.de import GERMAN
from data_prep.synthetic.moving.languages.en import ENGLISH
from data_prep.synthetic.moving.languages.es import SPANISH
from data_prep.synthetic.moving.languages.fr import FRENCH
from data_prep.synthetic.moving.languages.zh import CHINESE

__all__ = ["LANGUAGES", "MovingLanguage", "Parts", "join"]

LANGUAGES: dict[str, MovingLanguage] = {
    "en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH, "zh": CHINESE,
}  # fmt: skip
