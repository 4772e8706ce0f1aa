"""Functions in the place of the one that reads a photo in a worker of `capjax.serve.media_workers`.

A photo whose last bytes are `HOSTILE` is what they harm; others are read as usual.
"""

import os
import signal
import time

from capjax.serve.media_workers import _read_photo

HOSTILE = b"HOSTILE"


def _only_hostile(harm):
    def read(data, reader, max_pixels):
        if data.endswith(HOSTILE):
            harm()
        return _read_photo(data, reader, max_pixels)

    return read


def _crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def _exhaust_memory():
    bytearray(2**40)


def _raise():
    raise RuntimeError("a bug of a decoder")


def hang(data, reader, max_pixels):
    return _only_hostile(lambda: time.sleep(600))(data, reader, max_pixels)


def crash(data, reader, max_pixels):
    return _only_hostile(_crash)(data, reader, max_pixels)


def leave(data, reader, max_pixels):
    return _only_hostile(lambda: os._exit(3))(data, reader, max_pixels)


def exhaust_memory(data, reader, max_pixels):
    return _only_hostile(_exhaust_memory)(data, reader, max_pixels)


def fail(data, reader, max_pixels):
    return _only_hostile(_raise)(data, reader, max_pixels)
