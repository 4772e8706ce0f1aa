"""Servers in this process, with real HTTP, around models that are loaded once."""

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import uvicorn

from capjax.serve import app as app_module
from capjax.serve.app import ServerOptions, make_app
from capjax.serve.served_model import ModelSource, ServedModel

START_SECONDS = 300.0


class LiveServer:
    """An ASGI application that uvicorn runs in a thread.

    Attributes:
      url: address of the server.
      client: a client of it.
      app: the application.
    """

    def __init__(self, app):
        self.app = app
        config = uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=10)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started or not self._thread.is_alive())
        self.address = self._server.servers[0].sockets[0].getsockname()[:2]
        self.url = "http://{}:{}".format(*self.address)
        self.client = httpx.Client(base_url=self.url, timeout=60.0)

    def wait_until_ready(self):
        wait_until(lambda: self.client.get("/readyz").status_code == 200, START_SECONDS)

    def close(self):
        self.client.close()
        self._server.should_exit = True
        self._thread.join(30.0)


class ServerFactory:
    """Starts servers around models that were loaded before, which takes a fraction of loading them."""

    def __init__(self, folder: Path, model: ServedModel):
        self._folder, self._model = folder, model
        self._stack = ExitStack()
        self._count = 0

    def start(self, model: ServedModel | None = None, **options) -> LiveServer:
        """A server of one model that is ready."""
        model = model or self._model
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(app_module, "ServedModel", lambda source: model)
            server = self.start_loading(model.source, **options)
            server.wait_until_ready()
        return server

    def start_loading(self, *sources: ModelSource, **options) -> LiveServer:
        """A server that loads its models."""
        self._count += 1
        options = {"jobs": str(self._folder / f"jobs{self._count}"), "reload_seconds": 0.0} | options
        server = LiveServer(make_app(ServerOptions(sources, **options)))
        self._stack.callback(server.close)
        return server

    def close(self):
        self._stack.close()


def wait_until(condition, seconds: float = 30.0):
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.01)
