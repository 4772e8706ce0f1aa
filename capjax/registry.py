"""Names to classes: how a config's string becomes an encoder, a decoder, a reader.

>>> ENCODERS = Registry("encoder")
>>> @ENCODERS.register("resnet50", depth=50)
... class ResNet: ...
>>> ENCODERS.make("resnet50", dtype=...)  # ResNet(depth=50, dtype=...)
"""

import difflib
from collections.abc import Callable, Mapping
from functools import partial

from capjax import plugins


def nearest(name: str, names) -> str:
    """A hint for an error message: the closest of `names`, and all of them."""
    names = sorted(names)
    by_lower = {other.lower(): other for other in reversed(names)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"did you mean {by_lower[close[0]]!r}? " if close else ""
    choices = ", ".join(name or "''" for name in names) or "(none)"
    return f"{hint}known: {choices}"


class Registry:
    """A table of constructors of one kind, such as all encoders.

    Attributes:
      by_kind: the registries that exist, by their kind.
    """

    by_kind: dict[str, "Registry"] = {}

    def __init__(self, kind: str):
        self.kind = kind
        self._makers: dict[str, Callable] = {}
        self.by_kind[kind] = self

    def register(self, name: str, **defaults):
        """Decorates a class or function; `defaults` are keyword arguments bound to this name.

        The same class or function may be registered again, since a module may be imported again.

        Raises:
          ValueError: the name is taken.
        """

        def add(maker):
            if name in self._makers and not _is_same(self._makers[name], maker):
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._makers[name] = partial(maker, **defaults) if defaults else maker
            return maker

        return add

    def names(self) -> list[str]:
        return sorted(self._makers)

    def __contains__(self, name: str) -> bool:
        """Whether the name is registered. Plug-ins that are installed are imported if it is not."""
        if name not in self._makers:
            plugins.import_entry_points()
        return name in self._makers

    def get(self, name: str) -> Callable:
        """The constructor of `name`.

        Raises:
          ValueError: unknown name; the message lists the known ones.
        """
        if name not in self:
            raise ValueError(f"unknown {self.kind} {name!r}: {nearest(name, self._makers)}")
        return self._makers[name]

    def make(self, name: str, *args, **kwargs):
        return self.get(name)(*args, **kwargs)

    def make_from(self, description: Mapping, *args, **defaults):
        """Makes what `description` gives by its name and options. Options take precedence over `defaults`."""
        options = {**defaults, **description}
        return self.make(options.pop("name"), *args, **options)


def _is_same(old: Callable, new: Callable) -> bool:
    """Whether two constructors are the same definition, perhaps of a module that was imported twice."""
    old = old.func if isinstance(old, partial) else old
    return (old.__module__, old.__qualname__) == (new.__module__, new.__qualname__)
