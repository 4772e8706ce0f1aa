"""One file a language. More to tell, such as motion, is another kind of message and its patterns in each."""

from data_prep.synthetic.shapes.languages.base import Language
from data_prep.synthetic.shapes.languages.de import GERMAN
from data_prep.synthetic.shapes.languages.en import ENGLISH
from data_prep.synthetic.shapes.languages.es import SPANISH
from data_prep.synthetic.shapes.languages.fr import FRENCH
from data_prep.synthetic.shapes.languages.zh import CHINESE

LANGUAGES: dict[str, Language] = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH, "zh": CHINESE}
