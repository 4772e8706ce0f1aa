"""Building blocks of `capjax.config.defaults`: a setting with its default, meaning and check, and a group of them."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from capjax import plugins
from capjax.config.aliases import AliasedConfigDict
from capjax.config.errors import ConfigError
from capjax.registry import Registry, nearest


@dataclass(frozen=True)
class Check:
    """A condition on a value.

    Attributes:
      allows: returns whether a value is allowed.
      expected: the allowed values in words, for errors and for the config reference.
      choices: returns the allowed values, where they are few; an error then names the nearest.
    """

    allows: Callable[[Any], bool]
    expected: str
    choices: Callable[[], Iterable[str]] | None = None

    def __call__(self, key: str, value):
        """Raises ConfigError unless `value` is allowed."""
        if not self.allows(value):
            hint = nearest(str(value), self.choices()) if self.choices else f"expected {self.expected}"
            raise ConfigError(f"{key} = {value!r}: {hint}")


def choice(*choices: str) -> Check:
    """Returns the check that a value is one of these."""
    return Check(choices.__contains__, ", ".join(choices), lambda: choices)


def registered(kind: str, *names: str) -> Check:
    """Returns the check that a value is one of these names, or one that a plug-in has added to the registry `kind`."""

    def choices() -> set[str]:
        return {*names, *(Registry.by_kind[kind].names() if kind in Registry.by_kind else ())}

    def allows(name: str) -> bool:
        if name not in choices():
            plugins.import_entry_points()
        return name in choices()

    return Check(allows, f"{', '.join(names)}, or one of a plug-in", choices)


def _are_word_groups(value) -> bool:
    if not all(isinstance(group, (tuple, list)) and group for group in value):
        return False
    if not all(isinstance(word, str) and any(map(str.isalnum, word)) for group in value for word in group):
        return False
    words = [word for group in value for word in {word.casefold() for word in group}]
    return len(words) == len(set(words))


word_groups = Check(
    _are_word_groups, 'groups of words, none of them in two groups, such as (("man", "men"), ("woman", "women"))'
)


def _is_range(value, most: float = float("inf")) -> bool:
    numbers = all(isinstance(bound, (int, float)) for bound in value)
    return numbers and len(value) == 2 and 0 < value[0] <= value[1] <= most


def _is_pattern(value) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


def _is_multiplier(pair) -> bool:
    is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
    return is_pair and _is_pattern(pair[0]) and isinstance(pair[1], (int, float))


area_range = Check(lambda value: _is_range(value, 1.0), "the least and the largest share, such as (0.5, 1.0)")
ratio_range = Check(_is_range, "the least and the largest ratio, such as (0.75, 1.333)")
patterns = Check(
    lambda value: all(map(_is_pattern, value)), 'valid regular expressions, such as ("^encoders/", "bias$")'
)
multipliers = Check(
    lambda value: all(map(_is_multiplier, value)),
    'pairs of a valid regular expression and a factor, such as (("^encoders/vision/", 0.1),)',
)
positive = Check(lambda value: value >= 1, "1 or more")
non_negative = Check(lambda value: value >= 0, "0 or more")
fraction = Check(lambda value: 0.0 <= value < 1.0, "a fraction: at least 0 and below 1")
share = Check(lambda value: 0.0 <= value <= 1.0, "a share: from 0 to 1")
positive_share = Check(lambda value: 0.0 < value <= 1.0, "a share: above 0 and at most 1")
non_empty = Check(bool, "at least one element")


@dataclass(frozen=True)
class Setting:
    """One key of a config.

    Attributes:
      default: the value where a config does not set the key; its type is the type of the key.
      doc: the meaning and the unit, in plain prose.
      check: the condition on its value, if any.
    """

    default: Any
    doc: str
    check: Check | None = None

    @property
    def is_mapping(self) -> bool:
        """Whether the value is a mapping with keys of the user's choice, such as keyword arguments of an encoder."""
        return isinstance(self.default, dict)


class Group:
    """Settings that share a prefix, such as all of `data.*`."""

    def __init__(self, doc: str, **members: "Setting | Group"):
        self.doc = doc
        self.members = members

    def make(self) -> ConfigDict:
        """Returns the defaults as a locked ConfigDict, in which an unknown key is an error."""
        config = AliasedConfigDict()
        for name, member in self.members.items():
            if isinstance(member, Group):
                config[name] = member.make()
            else:
                config[name] = ConfigDict(member.default) if member.is_mapping else member.default
        config.lock()
        for name, member in self.members.items():
            if isinstance(member, Setting) and member.is_mapping:
                config[name].unlock()
        return config

    def flatten(self, prefix: str = "") -> Iterator[tuple[str, Setting]]:
        """Yields (dotted key, setting) of every setting in the group and its subgroups."""
        for name, member in self.members.items():
            if isinstance(member, Group):
                yield from member.flatten(f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", member
