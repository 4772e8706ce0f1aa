"""A Redis of a test's own, on a unix socket."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import redis


class RedisServer:
    """`redis-server` in a folder, which may be killed and started again. Skips where it is not installed."""

    def __init__(self, *options: str):
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))  # the path of a unix socket must be short
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

    def close(self):
        self.client.close()
        self.kill()
        shutil.rmtree(self.folder)
