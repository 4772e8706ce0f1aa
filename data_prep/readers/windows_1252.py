"""Recognizes text in Windows-1252, the encoding of "CSV" as spreadsheets write it in Western Europe and America."""

import re
from collections.abc import Iterable

# Text of other encodings, decoded as Windows-1252: an upper-case letter with an accent or a typographic mark amid
# lower-case letters, as in Mac OS Roman and the code pages of DOS; or nearly all letters with accents, as in those of
# Cyrillic, Greek and Asian scripts.
_FOREIGN = re.compile("[a-zß-öø-ÿ][À-ÖØ-ÞŠŽŒŸ‘‚“”ƒ„…†‡ˆ‰‹•˜›¢¤¥¦§¨¬¯±µ¶¹º»¿][a-zß-öø-ÿ]")
_LETTERS = re.compile(r"[^\W\d_]")
_MAX_ACCENTED = 0.3


def is_windows_1252(lines: Iterable[bytes]) -> bool:
    """Whether the lines of a file are text in Windows-1252 and cannot be in UTF-8 or, probably, another encoding."""
    letters = accented = 0
    for line in lines:
        if line.isascii():
            continue
        try:
            line.decode()
            return False  # UTF-8
        except UnicodeDecodeError:
            pass
        try:
            text = line.decode("cp1252")
        except UnicodeDecodeError:
            return False
        if _FOREIGN.search(text):
            return False
        letters_of_line = _LETTERS.findall(text)
        letters += len(letters_of_line)
        accented += sum(not letter.isascii() for letter in letters_of_line)
    return letters > 0 and accented <= _MAX_ACCENTED * letters
