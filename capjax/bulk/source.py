"""What bulk captioning reads: a source is a sequence of media with ids."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from capjax.data.photo import MediaError
from capjax.data.record import Record

Medium = Path | bytes | Callable[[], Record]


@dataclass(frozen=True)
class MediaItem:
    """A photo or video of an input.

    Attributes:
      id: unique among all inputs.
      file_name: name of its file in the input; empty if it has none.
      medium: as `Predictor.caption_groups` takes it.
    """

    id: str
    file_name: str
    medium: Medium


class Source(Protocol):
    """An input: a sequence of media. Objects are pickled for processes on other machines."""

    @property
    def name(self) -> str:
        """The input as it was given."""
        ...

    @property
    def kind(self) -> str:
        """Kind of input, such as `tar`."""
        ...

    def __len__(self) -> int: ...

    def ids(self) -> Iterable[str]:
        """Yields what identifies each medium, in order: the inputs of two runs are the same if these are."""
        ...

    def items(self, ranges: Sequence[range]) -> Iterator[MediaItem]:
        """Yields the media with these numbers, in order; the ranges are ascending."""
        ...

    def part(self, numbers: range) -> tuple["Source", range]:
        """Returns a source as small as possible that holds these media, and their numbers in it."""
        ...


@dataclass(frozen=True)
class Failing:
    """A medium that fails with an error when it is read. A class, since it is pickled."""

    kind: str
    message: str

    def __call__(self) -> Record:
        raise MediaError(self.kind, self.message)
