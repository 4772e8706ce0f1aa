"""Types of captions and ids in the scorer's files; see `json_types`."""

import re
from typing import Annotated

from capjax.metrics.json_types import Rule, Text

# Longer texts and words are not those of captions. The time of tokenization grows with the square of a word's length.
_MAX_CHARACTERS = 20_000
_LONG_WORD = re.compile("[!-~]{2001}")

CaptionText = Annotated[
    Text,
    Rule(f"text of at most {_MAX_CHARACTERS:,} characters", lambda text: len(text) <= _MAX_CHARACTERS),
    Rule("text in words of at most 2,000 characters", lambda text: not _LONG_WORD.search(text)),
]
Id = Annotated[CaptionText | int, Rule("text or a whole number", lambda id: id != "")]
