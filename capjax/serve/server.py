"""Runs the application with uvicorn."""

import logging
import signal
import socket
import sys

import uvicorn

from capjax.serve.app import ServerOptions, make_app
from capjax.serve.gate import JsonLines


def serve(
    options: ServerOptions, *, host: str, port: int, trusted_proxies: str, drain_seconds: int,
    metrics_port: int | None = None,
) -> int:  # fmt: skip
    """Serves until SIGTERM or Ctrl-C, then answers the requests in progress; returns the exit status.

    Args:
      options: what is served.
      host, port: where.
      trusted_proxies: addresses of proxies whose X-Forwarded headers count, separated by commas.
      drain_seconds: time for requests in progress.
      metrics_port: a port of the metrics alone, without API keys.

    Raises:
      OSError: the address cannot be used.
      Exception: the models cannot be loaded.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("", "capjax", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    logging.captureWarnings(True)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each wrong byte of a form
    app = make_app(options)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, forwarded_allow_ips=trusted_proxies,
        timeout_graceful_shutdown=drain_seconds, timeout_keep_alive=30, server_header=False,
    )  # fmt: skip
    server, state = uvicorn.Server(config), app.state.server

    def stop(*_):
        server.should_exit = True

    state.on_failure = stop
    # Uvicorn raises the signal that has ended it once more; by default SIGTERM would kill the process then.
    signal.signal(signal.SIGTERM, stop)
    if metrics_port:
        state.metrics.serve(host, metrics_port)
    server.run(sockets=[listener])
    if state.failure:
        raise state.failure
    return 0
