"""What a caption says: things, with their number and attributes, their actions, relations and directions."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mention:
    """A thing that a caption names.

    Attributes:
      concept: what it is.
      words: the noun phrase.
      attributes: (type, value) of its adjectives.
      low, high: its number; `high` is None where it is open.
      exact: the number is said, by a number word or a singular.
      definite: it has a determiner such as `the` or `his`.
      general: the group that a general word such as `animal` may refer to; empty for a proper concept.
    """

    concept: str
    words: str
    attributes: tuple[tuple[str, str], ...] = ()
    low: int = 1
    high: int | None = None
    exact: bool = False
    definite: bool = False
    general: str = ""


@dataclass(frozen=True)
class Action:
    """An action of a mention.

    Attributes:
      actions: the actions that its verb may mean.
      words: the verb.
      subject: number of the mention; None: unclear.
    """

    actions: frozenset[str]
    words: str
    subject: int | None


@dataclass(frozen=True)
class Relation:
    """A spatial relation between two mentions.

    Attributes:
      kind: `left`, `above`, `on`, `front`, `in`, `out`, `near`, `far`, `touch`.
      words: the words that say it.
      subject, object: numbers of the mentions; `right` is `left` with the two exchanged.
      exchanged: whether they were.
    """

    kind: str
    words: str
    subject: int
    object: int
    exchanged: bool = False


@dataclass(frozen=True)
class Direction:
    """The place or direction of a mention."""

    value: str
    words: str
    subject: int


@dataclass
class ParsedCaption:
    """The things that a caption mentions, with their actions, relations and directions.

    Attributes:
      words: its words, without punctuation.
      open_phrase: the words of a noun phrase without a noun, at the end; empty if there is none.
    """

    words: list[str]
    mentions: list[Mention] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    directions: list[Direction] = field(default_factory=list)
    open_phrase: str = ""
