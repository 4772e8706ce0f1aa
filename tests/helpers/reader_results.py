"""What a reader gives, sorted."""

from collections.abc import Iterable

from data_prep.readers import READERS, Item, Problem


def sort_out(results: Iterable[Item | Problem]) -> tuple[list[Item], list[Problem]]:
    results = list(results)
    return [x for x in results if isinstance(x, Item)], [x for x in results if isinstance(x, Problem)]


def found(name: str, *args, **kwargs) -> tuple[list[Item], list[Problem]]:
    return sort_out(READERS.make(name, *args, **kwargs))


def put(folder, *names):
    """Empty files, which are enough for a reader."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder
