"""Rows of delimited text, as spreadsheets and careless programs write them.

A field may be in double quotes, where two quotes, or a quote after a backslash, stand for one and separators and line
ends are text. Quotes that are not escaped are text as well (`A 12" pizza`), in quoted and in other fields. A field
continues on the next lines only if they close its quote and none of them is a row by itself.
"""

import functools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from data_prep.readers.item import Problem

# Limits of a field on several lines, so that an unclosed quote does not consume the rest of the file.
_MAX_FIELD_LINES, _MAX_FIELD_CHARACTERS = 50, 100_000
# Limits of a field with quotes that are not escaped, so that a line of quotes is read in linear time.
_MAX_UNESCAPED_QUOTES, _MAX_UNESCAPED_CHARACTERS = 20, 1000
_QUOTE, _ESCAPED = re.compile('"'), re.compile(r'["\\]"')

Line = tuple[str, str | Problem]  # location and text


class Row(NamedTuple):
    """A row.

    Attributes:
      fields: their texts.
      starts: positions in `text` at which the fields begin.
      text: the row as it is in the file.
    """

    fields: list[str]
    starts: list[int]
    text: str


class _Patterns(NamedTuple):
    """Regular expressions of a quoted field.

    Attributes:
      closed: a field with closed quotes, all quotes in it doubled.
      opened: a field whose quote is not closed on the line.
      begin: the quote with which a field begins.
      closing: a quote that may close a field.
    """

    closed: re.Pattern
    opened: re.Pattern
    begin: re.Pattern
    closing: re.Pattern


@functools.cache
def _patterns(separator: str) -> _Patterns:
    end = rf"(?={re.escape(separator)}|\n|\Z)"
    body = r'[^"]*+(?:""[^"]*+)*+'
    expressions = (rf' *"({body})" *{end}', rf' *"{body}\Z', r' *"', rf'" *{end}')
    return _Patterns(*map(re.compile, expressions))


def split_rows(
    lines: Iterable[Line], separator: str, is_row: Callable[[Row, Row], bool], name_column: int = 0
) -> Iterator[tuple[str, Row | Problem]]:
    """Yields (location of its first line, row) of each row, and the Problems among the lines.

    Args:
      is_row: (line, row) -> whether the line is a complete row by itself, so that it does not continue a field of
        the row that begins before it.
      name_column: number of the column by which `is_row` recognizes a row.
    """
    source, ahead = iter(lines), deque[Line]()
    while ahead or (ahead := deque(islice(source, 1))):
        location, text = ahead.popleft()
        if isinstance(text, Problem):
            yield location, text
            continue
        row, opened_at = _split(text, separator)
        if opened_at is not None:
            ahead.extend(islice(source, _MAX_FIELD_LINES - 1 - len(ahead)))
            row, count = _join(row, opened_at, ahead, separator, is_row, name_column)
            for _ in range(count):
                ahead.popleft()
        yield location, row


def split_line(text: str, separator: str) -> Row:
    """The fields of a single line."""
    return _split(text, separator)[0]


def _split(text: str, separator: str) -> tuple[Row, int | None]:
    """The row of a text, and the position of the first field whose quote is not closed; None if there is none."""
    if '"' not in text:
        fields = text.split(separator)
        starts = [0]
        for field in fields[:-1]:
            starts.append(starts[-1] + len(field) + 1)
        return Row(fields, starts, text), None
    patterns = _patterns(separator)
    fields, starts, opened_at, start = [], [], None, 0
    while True:
        starts.append(start)
        if match := patterns.closed.match(text, start):
            field, end = match[1].replace('""', '"'), match.end()
        else:
            if opened_at is None and patterns.opened.match(text, start):
                opened_at = start
            first = patterns.begin.match(text, start)
            if first and (match := _closing_quote(text, first.end(), patterns)):
                field, end = _ESCAPED.sub('"', text[first.end() : match.start()]), match.end()
            else:
                end = text.find(separator, start)
                end = len(text) if end < 0 else end
                field = text[start:end]
        fields.append(field)
        if end == len(text):
            return Row(fields, starts, text), opened_at
        start = end + len(separator)


def _closing_quote(text: str, first: int, patterns: _Patterns) -> re.Match | None:
    """The quote that closes a field in which quotes are not escaped; None if the field is not quoted as a whole.

    Quotes in it follow a backslash, or a number, as inches, or are in pairs, of which the first follows a space. If the
    first quote closes a quotation, as in `"Stop" said the "cop"`, the quote with which the field begins is text.

    Args:
      first: position after the quote with which the field begins.
    """
    unpaired = False
    quotes = _QUOTE.finditer(text, first, first + _MAX_UNESCAPED_CHARACTERS)
    for quote in islice(quotes, _MAX_UNESCAPED_QUOTES):
        before = text[quote.start() - 1]
        if before == "\\":
            continue
        if not unpaired and (match := patterns.closing.match(text, quote.start())):
            return match
        if not before.isdigit():
            if not unpaired and not before.isspace() and before != '"':
                return None
            unpaired = not unpaired
    return None


def _join(
    row: Row, opened_at: int, ahead: Iterable[Line], separator: str, is_row: Callable[[Row, Row], bool],
    name_column: int,
) -> tuple[Row, int]:  # fmt: skip
    """The row that a line with an open quote begins, and the number of further lines that belong to it."""
    texts = [row.text]
    size = len(row.text)
    for _, text in ahead:
        if isinstance(text, Problem) or (size := size + len(text)) > _MAX_FIELD_CHARACTERS:
            break
        texts.append(text)
    position: int | None = opened_at
    joined, whole = row, "\n".join(texts)
    while position is not None:
        match = _patterns(separator).closed.match(whole, position)
        if match is None:
            return row, 0
        end = whole.find("\n", match.end())
        joined, position = _split(whole if end < 0 else whole[:end], separator)
    count = joined.text.count("\n")
    # The name may come after the field, on the line that closes it, which then looks like a row.
    names_row_at_end = row.starts.index(opened_at) < name_column and not is_row(row, row)
    inner = texts[1 : count if names_row_at_end else count + 1]
    if any(is_row(split_line(text, separator), row) for text in inner):
        return row, 0
    return joined, count
