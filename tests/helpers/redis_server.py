"""A Redis of a test's own, on a unix socket."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

# The path of a unix socket must be short: not the temporary folder of a test.
_FOLDER = tempfile.gettempdir()


class RedisServer:
    """`redis-server` in a folder, which may be killed and started again. Skips where it is not installed."""

    def __init__(self, *options: str):
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="redis-", dir=_FOLDER))
        self.url = f"unix://{self.folder}/socket"
        self._options = options
        self.client = redis.Redis.from_url(self.url)
        self.start()

    def start(self):
        self._process = subprocess.Popen(
            [
                "redis-server", "--port", "0", "--unixsocket", self.folder / "socket", "--dir", self.folder,
                "--save", "", "--appendonly", "yes", *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(500):
            try:
                self.client.ping()
                return
            except redis.ConnectionError:  # it is loading its file
                time.sleep(0.02)
        raise RuntimeError("redis-server does not start")

    def kill(self):
        self._process.kill()
        self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within, it does not answer."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self):
        self.client.close()
        self.kill()
        shutil.rmtree(self.folder)
