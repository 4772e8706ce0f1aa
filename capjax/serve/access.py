"""Who may ask the server, and how often: API keys, rates, origins."""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from capjax.files import read_text
from capjax.serve.errors import ApiError, busy

# Clients whose rates are remembered.
_MAX_CLIENTS = 10_000
_SHORTEST_KEY = 16


class ApiKeys:
    """API keys by the names of their owners. Only digests are kept, and compared in constant time.

    Args:
      keys: the keys by name; empty: everyone may ask.
    """

    def __init__(self, keys: Mapping[str, str]):
        self._digests = {name: _digest(key) for name, key in keys.items()}

    @classmethod
    def read(cls, path: Path) -> "ApiKeys":
        """Reads a file with a name and a key in each line; empty lines and those that start with # are ignored.

        Raises:
          FileNotFoundError: there is no file.
          ValueError: a line has another form; the message names the line, and no key.
        """
        keys: dict[str, str] = {}
        text = read_text(path, "write a name and a key in each line; `openssl rand -hex 24` makes a key")
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            words = line.split()
            if len(words) != 2 or len(words[1]) < _SHORTEST_KEY:
                raise ValueError(
                    f"{path}:{number}: expected a name and a key of {_SHORTEST_KEY} or more characters, separated by a "
                    "space; `openssl rand -hex 24` makes a key"
                )
            if words[0] in keys:
                raise ValueError(f"{path}:{number}: a second key of {words[0]!r}; give each key a name of its own")
            keys[words[0]] = words[1]
        if not keys:
            raise ValueError(f"{path}: there is no key in the file")
        return cls(keys)

    @property
    def required(self) -> bool:
        """Whether requests need a key."""
        return bool(self._digests)

    def owner(self, headers: Mapping[str, str]) -> str:
        """Returns the name of a request's key; empty where no keys are required.

        Raises:
          ApiError: the request has no key, or another.
        """
        if not self._digests:
            return ""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = headers.get("x-api-key", "")
        digest, owner = _digest(key.strip()), None
        for name, expected in self._digests.items():
            if hmac.compare_digest(digest, expected):
                owner = name
        if owner is None:
            raise ApiError(
                401, "unauthorized", "send an API key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
            )
        return owner


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class RateLimit:
    """Limits the requests of each client with a token bucket, which holds the requests of ten seconds.

    Args:
      per_minute: requests; 0: not limited.
    """

    def __init__(self, per_minute: float, clock=time.monotonic):
        self._per_second, self._clock = per_minute / 60, clock
        self._capacity = max(1.0, per_minute / 6)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str):
        """Counts a request.

        Raises:
          ApiError: the client has sent too many.
        """
        if not self._per_second:
            return
        now = self._clock()
        tokens, since = self._buckets.pop(client, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - since) * self._per_second)
        if tokens < 1:
            self._buckets[client] = tokens, now
            raise busy(f"more than {self._per_second * 60:g} requests per minute", (1 - tokens) / self._per_second)
        self._buckets[client] = tokens - 1, now
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)


def check_origin(headers: Mapping[str, str], allowed: Sequence[str]):
    """Refuses requests of other sites' pages. Programs send no Origin.

    Args:
      allowed: origins besides the server's own, such as https://example.org.

    Raises:
      ApiError: the request comes from a page of another origin.
    """
    origin = headers.get("origin")
    if origin is None or origin in allowed:
        return
    host = headers.get("x-forwarded-host") or headers.get("host", "")
    try:
        is_own = urlsplit(origin).netloc == host != ""
    except ValueError:  # no address
        is_own = False
    if not is_own:
        raise ApiError(403, "forbidden_origin", f"pages of {origin:.100} may not use this server; see --allow-origin")
