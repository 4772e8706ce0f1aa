"""The thread that runs models: batches of photos, and parts of videos between them.

Photos of several requests wait in one queue and are captioned together. Work on videos waits in another, and the two
take turns. The size of a batch follows from measurements: of the sizes for which programs are compiled, the one with
the lowest time per waiting photo, with a margin.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("capjax")

# A larger batch has to be this much faster per photo, since its photos wait for each other. If enough wait to fill it,
# the number of photos per second counts, and the margin is only for the error of the measured times.
_GAIN, _FULL_GAIN = 1.1, 1.02


@dataclass(frozen=True)
class BatchProgram:
    """A function on batches of items, and the seconds that it takes by size of the batch.

    Attributes:
      key: programs with the same key are the same.
      run: returns a result for each item.
      seconds: sizes for which the program is compiled, with their times.
    """

    key: Hashable
    run: Callable[[Sequence[Any]], Sequence[Any]]
    seconds: Mapping[int, float]

    def batch_size(self, waiting: int) -> int:
        """Returns the number of items to take of those that wait."""
        best = 1
        for size in sorted(self.seconds):
            gain = _FULL_GAIN if waiting >= size else _GAIN
            if self._per_item(size, waiting) * gain < self._per_item(best, waiting):
                best = size
        return min(best, waiting)

    def _per_item(self, size: int, waiting: int) -> float:
        return self.seconds[size] / min(size, waiting)


@dataclass(eq=False)
class _Waiting:
    program: BatchProgram
    item: Any
    future: Future
    since: float = field(default_factory=time.monotonic)


class PhotoQueueFull(Exception):
    """Too many items wait. `retry_seconds` is the time in which the queue becomes empty."""

    def __init__(self, retry_seconds: float):
        super().__init__()
        self.retry_seconds = retry_seconds


class ModelThread:
    """Runs batches of items, and other work in turn with them, in a thread of its own.

    Args:
      max_queued: items that wait.
      batch_wait: seconds that a batch waits for items that were announced.
      on_batch: called with the number of items of each batch and the seconds that it took.
    """

    def __init__(self, max_queued: int, batch_wait: float, on_batch: Callable[[int, float], None] = lambda n, s: None):
        self._max_queued, self._batch_wait, self._on_batch = max_queued, batch_wait, on_batch
        self._changed = threading.Condition()
        self._items: deque[_Waiting] = deque()
        self._work: deque[tuple[Callable[[], Any], Future]] = deque()
        self._reserved = 0
        self._closed = False
        self._item_seconds = 0.1
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """The number of items that wait, or are announced."""
        return len(self._items) + self._reserved

    def reserve(self, count: int):
        """Announces items, so that they find room when they have been decoded.

        Raises:
          PhotoQueueFull: with these, too many would wait; none is announced.
        """
        with self._changed:
            if self.queued + count > self._max_queued:
                raise PhotoQueueFull(self.queued * self._item_seconds)
            self._reserved += count

    def release(self, count: int):
        """Withdraws announced items."""
        with self._changed:
            self._reserved -= count
            self._changed.notify()

    def submit(self, program: BatchProgram, item: Any) -> Future:
        """Queues an item that was announced; returns the future of its result. Cancel the future to take it back."""
        waiting = _Waiting(program, item, Future())
        with self._changed:
            self._reserved -= 1
            self._items.append(waiting)
            self._changed.notify()
        waiting.future.add_done_callback(lambda _: self._withdraw(waiting))
        return waiting.future

    def _withdraw(self, waiting: _Waiting):
        """Frees the place of an item that was canceled; others have left the queue."""
        with self._changed:
            if waiting in self._items:
                self._items.remove(waiting)
                self._changed.notify()

    def run(self, function: Callable[[], Any]) -> Future:
        """Queues other work; returns the future of its result."""
        future: Future = Future()
        with self._changed:
            self._work.append((function, future))
            self._changed.notify()
        return future

    def close(self):
        """Ends the thread after the work that waits."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self):
        turn_of_items = True
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._work or self._closed)
                if not (self._items or self._work):
                    return
                turn_of_items = bool(self._items) and (turn_of_items or not self._work)
                if turn_of_items and not self._work:
                    self._wait_for_announced()
                batch = self._take() if turn_of_items else []
                work = self._work.popleft() if not turn_of_items else None
            if batch:
                start = time.monotonic()
                _resolve(batch)
                seconds = time.monotonic() - start
                self._item_seconds += 0.1 * (seconds / len(batch) - self._item_seconds)
                self._on_batch(len(batch), seconds)
            if work:
                function, future = work
                if future.set_running_or_notify_cancel():
                    _call(function, future)
            turn_of_items = not turn_of_items

    def _wait_for_announced(self):
        """Waits for items that are being decoded, where a larger batch would be faster."""
        deadline = self._items[0].since + self._batch_wait

        def ready() -> bool:
            if self._work or self._closed or not self._reserved or not self._items:
                return True
            return self._items[0].program.batch_size(len(self._items) + self._reserved) <= len(self._items)

        self._changed.wait_for(ready, max(0.0, deadline - time.monotonic()))

    def _take(self) -> list[_Waiting]:
        """The next batch: the oldest item and those after it with the same program. Canceled items are dropped."""
        if not self._items:
            return []
        key = self._items[0].program.key
        same = [each for each in self._items if each.program.key == key]
        batch: list[_Waiting] = []
        size = same[0].program.batch_size(len(same))
        for each in same:
            if len(batch) == size:
                break
            self._items.remove(each)
            if each.future.set_running_or_notify_cancel():
                batch.append(each)
        return batch


def _resolve(batch: Sequence[_Waiting]):
    try:
        results = batch[0].program.run([each.item for each in batch])
        if len(results) != len(batch):
            raise ValueError(f"a program has {len(results)} results for {len(batch)} items")
    except Exception as error:
        log.exception("a batch of %d failed", len(batch))
        if len(batch) == 1:
            batch[0].future.set_exception(error)
            return
        for each in batch:  # one of them may be the reason
            _resolve([each])
        return
    for each, result in zip(batch, results, strict=True):
        each.future.set_result(result)


def _call(function: Callable[[], Any], future: Future):
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
