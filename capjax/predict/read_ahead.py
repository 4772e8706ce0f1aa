"""Reading ahead: while the model computes, threads read what it needs next."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from capjax.runtime import available_cores

T = TypeVar("T")
R = TypeVar("R")

# Decoders release the interpreter lock for only a part of their work, so more threads than this gain nothing.
_MAX_THREADS = 16
# Files that are given as bytes wait in memory; no more of them are taken while these wait.
_MAX_WAITING_BYTES = 2**30


def num_readers() -> int:
    """Returns the number of threads that read media: one for each core that this process may use."""
    return min(available_cores(), _MAX_THREADS)


def read_ahead(items: Iterable[T], read: Callable[[T], R], *, threads: int, ahead: int) -> Iterator[R]:
    """Yields `read(item)` of each item, in order, or raises the exception of the first that fails.

    Args:
      items: taken in the caller's thread, one after another.
      read: called by threads.
      threads: number of threads.
      ahead: largest number of items whose results are not yielded yet.
    """
    waiting: deque[tuple[Future[R], int]] = deque()
    waiting_bytes = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read_ahead")
    try:
        for item in items:
            size = len(item) if isinstance(item, bytes) else 0
            waiting.append((pool.submit(read, item), size))
            waiting_bytes += size
            while waiting and (len(waiting) > ahead or waiting_bytes > _MAX_WAITING_BYTES):
                future, size = waiting.popleft()
                waiting_bytes -= size
                yield future.result()
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        pool.shutdown(cancel_futures=True)
