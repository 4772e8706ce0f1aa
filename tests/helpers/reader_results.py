"""What a reader gives, sorted."""

from data_prep.readers import READERS, Item, Problem


def found(name: str, *args, **kwargs) -> tuple[list[Item], list[Problem]]:
    everything = list(READERS.make(name, *args, **kwargs))
    return [x for x in everything if isinstance(x, Item)], [x for x in everything if isinstance(x, Problem)]


def put(folder, *names):
    """Empty files, which are enough for a reader."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder
