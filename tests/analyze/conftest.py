"""Parts that several tests of analyze use."""

import pytest

from capjax.analyze.lexicon import Lexicon
from capjax.analyze.parser import Parser


@pytest.fixture(scope="session")
def lexicon() -> Lexicon:
    return Lexicon.of()


@pytest.fixture(scope="session")
def parse(lexicon):
    return Parser(lexicon).parse
