"""Middleware around all routes: identification, access, limits of size, time and number, logging and metrics."""

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from capjax.serve.access import ApiKeys, RateLimit, check_origin
from capjax.serve.errors import ApiError, busy
from capjax.serve.metrics import Metrics
from capjax.serve.settings import MIB, ServeSettings

log = logging.getLogger("capjax.serve")

# Answered without an API key, at any rate, and however busy the server is.
OPEN_PATHS = ("/healthz", "/readyz")
# Of the body of a request that is answered before it has arrived, and the longest pause in it.
_DISCARD_BYTES, _DISCARD_SECONDS, _PAUSE_SECONDS = 64 * MIB, 5.0, 1.0
_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass
class _Exchange:
    """A request and its answer. `complete`: the body of the request has arrived."""

    request_id: str
    path: str
    complete: bool
    owner: str = ""
    status: int = 0
    received: int = 0
    in_memory: int = 0
    started: bool = False


class Gate:
    """ASGI middleware around the application.

    Args:
      app: the application.
      settings: limits.
      keys: API keys.
      allowed_origins: origins of pages, besides the server's own, that may use it.
      metrics: counts requests.
      is_public: whether a path is answered without an API key, because it holds no data: the page.
      root_path: path under which a proxy serves the application.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, keys: ApiKeys, allowed_origins: Sequence[str], metrics: Metrics,
        is_public: Callable[[str], bool], root_path: str = "",
    ):  # fmt: skip
        self._app, self._settings, self._keys, self._metrics = app, settings, keys, metrics
        self._allowed_origins, self._is_public, self._root_path = tuple(allowed_origins), is_public, root_path
        self._rates = RateLimit(settings.rate)
        self._in_progress = self._bytes_in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._root_path:
            scope["root_path"] = self._root_path
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        exchange = _Exchange(request_id, _route_path(scope), complete=not has_body)
        start = time.perf_counter()

        async def send_with_id(message: Message):
            if message["type"] == "http.response.start":
                exchange.started, exchange.status = True, message["status"]
                answer = MutableHeaders(scope=message)
                answer["X-Request-ID"] = exchange.request_id
                answer["X-Content-Type-Options"] = "nosniff"
                if not exchange.complete:
                    answer["Connection"] = "close"
            elif message["type"] == "http.response.body" and not message.get("more_body") and not exchange.complete:
                # A connection that is closed while the client sends is reset, and the client loses the answer.
                await send({**message, "more_body": True})
                await _discard_body(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        self._in_progress += 1
        try:
            self._admit(scope, headers, exchange)
            limited = self._limited(receive, headers, exchange)
            await self._app(scope, limited, send_with_id)
        except ApiError as error:
            await self._fail(error, exchange, scope, receive, send_with_id)
        except ClientDisconnect:  # nobody waits for an answer; the log has the request with status 499
            pass
        except Exception:
            log.exception("request %s failed", exchange.request_id)
            message = f"an error in the server, which its log explains: {exchange.request_id}"
            await self._fail(ApiError(500, "internal", message), exchange, scope, receive, send_with_id)
        finally:
            self._in_progress -= 1
            self._bytes_in_progress -= exchange.in_memory
            self._report(scope, exchange, time.perf_counter() - start)

    def _admit(self, scope: Scope, headers: Headers, exchange: _Exchange):
        """Raises ApiError for a request that is not answered."""
        if exchange.path in OPEN_PATHS:
            return
        check_origin(headers, self._allowed_origins)
        if self._is_public(exchange.path):
            return
        exchange.owner = self._keys.owner(headers)
        scope.setdefault("state", {})["owner"] = exchange.owner
        self._rates.check(exchange.owner or (scope.get("client") or ("",))[0])
        if self._in_progress > self._settings.max_requests:
            raise busy(f"more than {self._settings.max_requests} requests in progress", 1.0)

    def _limited(self, receive: Receive, headers: Headers, exchange: _Exchange) -> Receive:
        """Bounds the size of a body, and the time in which it arrives."""
        settings, to_disk = self._settings, exchange.path == "/v1/videos"
        limit = settings.max_video_bytes if to_disk else settings.max_body_bytes
        too_large = ApiError(413, "too_large", f"the request has more than {limit / 2**20:g} MiB, the most here")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise too_large
        start = time.monotonic()

        async def limited() -> Message:
            if exchange.complete:  # only a disconnection follows
                return await receive()
            deadline = start + settings.body_seconds + exchange.received / settings.body_rate
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise ApiError(
                    408, "slow_body", f"after {time.monotonic() - start:.0f} s the body was still incomplete"
                ) from None
            size = len(message.get("body", b""))
            exchange.received += size
            if exchange.received > limit:
                raise too_large
            if not to_disk:
                exchange.in_memory += size
                self._bytes_in_progress += size
                if self._bytes_in_progress > settings.max_bytes_in_progress:
                    raise busy("the requests in progress have too many bytes", 1.0)
            exchange.complete = not message.get("more_body")
            return message

        return limited

    async def _fail(self, error: ApiError, exchange: _Exchange, scope: Scope, receive: Receive, send: Send):
        if exchange.started:  # the answer is cut; the connection is closed by the server
            log.warning("request %s: %s", exchange.request_id, error)
            return
        await error.response(exchange.path)(scope, receive, send)

    def _report(self, scope: Scope, exchange: _Exchange, seconds: float):
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, scope["method"], str(exchange.status or 499)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if exchange.path in OPEN_PATHS:
            return
        log.info(
            "request",
            extra={"fields": {
                "request_id": exchange.request_id, "method": scope["method"], "path": exchange.path,
                "status": exchange.status or 499, "seconds": round(seconds, 4), "bytes": exchange.received,
                "owner": exchange.owner,
            }},
        )  # fmt: skip


def _route_path(scope: Scope) -> str:
    """The path without the prefix under which a proxy serves the application, which some proxies leave out."""
    path, prefix = scope["path"], scope.get("root_path", "").rstrip("/")
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


async def _discard_body(receive: Receive):
    """Reads what a client still sends, within limits."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while size < _DISCARD_BYTES:
                async with asyncio.timeout(_PAUSE_SECONDS):
                    message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body"):
                    return


class JsonLines(logging.Formatter):
    """Formats a log record as one JSON object in a line."""

    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(), "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }  # fmt: skip
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return json.dumps(row)
