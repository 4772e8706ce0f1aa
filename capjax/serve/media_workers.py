"""Reads uploaded photos and videos in processes of their own.

A file that hangs its decoder, exhausts its memory or crashes it costs one of these processes, which is replaced, and
its own answer; the server and the other files are not affected.
"""

import asyncio
import logging
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from capjax.data.image_file import open_image
from capjax.data.media_formats import media_kind
from capjax.data.media_reader import MediaReader, MediaSample
from capjax.data.photo import MediaError
from capjax.data.windows import WindowSettings
from capjax.serve.settings import ServeSettings

log = logging.getLogger("capjax.serve")

# What a process sends in place of a result: the kind and the message of a MediaError, whose pickle would lack one.
_Problem = tuple[str, str]


class MediaWorkers:
    """Processes that read media.

    Args:
      settings: limits.
      on_lost: called with the kind of the error when a file has cost a process.
    """

    def __init__(self, settings: ServeSettings, on_lost: Callable[[str], None] = lambda kind: None):
        self._settings, self._on_lost = settings, on_lost
        # A server of processes that has imported the decoders: a new process starts within milliseconds.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._photos = ProcessPool(
            settings.photo_workers, initializer=_limit, initargs=(settings.worker_bytes,), context=self._context
        )

    def start(self):
        """Starts the processes, which otherwise start with the first photo."""
        self._photos.schedule(_limit, args=(self._settings.worker_bytes,)).result()

    def close(self):
        """Ends the processes."""
        self._photos.stop()
        self._photos.join()

    async def read_photo(self, data: bytes, reader: MediaReader) -> MediaSample:
        """Reads the file of a photo.

        Raises:
          MediaError: it cannot be read, has too many pixels, or takes too long; or it is a video.
        """
        settings = self._settings
        task = self._photos.schedule(
            _read_photo, args=(data, reader, settings.max_pixels), timeout=settings.photo_seconds
        )
        try:
            outcome = await asyncio.wrap_future(task)
        except (FutureTimeoutError, TimeoutError):
            self._on_lost("too_slow")
            raise MediaError("too_slow", f"decoding took longer than {settings.photo_seconds:g} s") from None
        except ProcessExpired:
            raise self._lost() from None
        except Exception as error:  # of a decoder, which the reader did not foresee
            log.exception("a photo could not be read")
            raise _decoder_failed() from error
        if isinstance(outcome, MediaSample):
            return outcome
        raise MediaError(*outcome)

    @contextmanager
    def open_video(
        self, path: Path, reader: MediaReader, windows: WindowSettings | None
    ) -> Iterator[tuple[float, Iterator[MediaSample]]]:
        """Provides the duration of a video in seconds and its windows, which a process reads one after another.

        Args:
          windows: how the video is divided; None: the whole video at once.

        Raises:
          MediaError: it cannot be read, is too long, or takes too long; also raised by the iterator.
        """
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_read_video, args=(theirs, path, reader, windows, self._settings.worker_bytes), daemon=True
        )
        process.start()
        theirs.close()
        try:
            duration = self._receive(ours)
            if duration > self._settings.max_video_seconds:
                raise MediaError(
                    "too_long", f"{duration:.0f} s; at most {self._settings.max_video_seconds:.0f} s are captioned"
                )
            yield duration, iter(lambda: self._receive(ours), None)
        finally:
            process.kill()
            process.join()
            ours.close()

    def _receive(self, connection: Connection):
        """The next message of a process; None at the end."""
        seconds = self._settings.video_seconds
        try:
            if not connection.poll(seconds):
                self._on_lost("too_slow")
                raise MediaError("too_slow", f"decoding a part of the video took longer than {seconds:g} s")
            message = connection.recv()
        except EOFError:
            raise self._lost() from None
        if isinstance(message, tuple):
            raise MediaError(*message)
        return message

    def _lost(self) -> MediaError:
        self._on_lost("decoder_failed")
        return _decoder_failed()


def _decoder_failed() -> MediaError:
    return MediaError("decoder_failed", "the decoder failed on this file; it may be damaged: save it anew")


def _limit(max_bytes: int):
    """Bounds the memory of this process, leaves Ctrl-C to the server, and keeps decoders' warnings out of its log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))


def _read_photo(data: bytes, reader: MediaReader, max_pixels: int) -> MediaSample | _Problem:
    try:
        if media_kind(data) == "video":
            raise MediaError("not_a_photo", "the file is a video; send it to /v1/videos")
        width, height = open_image(data)[0].size
        if width * height > max_pixels:
            raise MediaError("too_large", f"{width:,} x {height:,} pixels; at most {max_pixels:,} are accepted")
        return reader.read(data)
    except MediaError as error:
        return error.kind, str(error)
    except MemoryError:
        return "too_large", "decoding the file takes more memory than one photo may have"


def _read_video(
    connection: Connection, path: Path, reader: MediaReader, windows: WindowSettings | None, max_bytes: int
):
    """Sends the duration of a video, its windows, and None; or the kind and the message of an error."""
    _limit(max_bytes)
    try:
        whole = WindowSettings(length=float("inf"), overlap=0.0)
        duration, samples = reader.open_windows(path, windows or whole)
        connection.send(duration)
        for sample in samples:
            connection.send(sample)
        connection.send(None)
    except MediaError as error:
        connection.send((error.kind, str(error).replace(str(path), "the video")))
    except MemoryError:
        connection.send(("too_large", "decoding the file takes more memory than one video may have"))
    except BrokenPipeError:  # the server needs no more
        pass
