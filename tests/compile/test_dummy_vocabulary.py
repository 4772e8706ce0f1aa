import pytest

from capjax.compile.dummy_vocabulary import dummy_vocabulary
from capjax.text.vocabulary import VocabularyError


def test_a_dummy_vocabulary_has_the_size_and_the_reserved_tokens_of_a_vocabulary():
    vocabulary = dummy_vocabulary(1000, languages=("en", "pt-BR"), times=11)
    assert vocabulary.size == 1000
    assert vocabulary.languages == ["en", "pt-BR"]
    assert vocabulary.num_time_tokens == 11
    assert len(vocabulary.prefix("en")) == 2
    assert vocabulary.decode(vocabulary.encode("any text")) == "any text"


def test_a_dummy_vocabulary_too_small_for_its_reserved_tokens_is_an_error():
    with pytest.raises(VocabularyError, match=r"compile\.vocabulary = 200: at least \d+ tokens are reserved"):
        dummy_vocabulary(200, languages=("en",))
