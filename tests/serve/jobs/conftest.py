"""Job stores, and a Redis for them."""

import pytest

from capjax.serve.jobs import JobLimits, SqliteJobStore, open_store
from tests.helpers.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_server():
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "redis"])
def store_location(request, tmp_path) -> str:
    """Where an empty job store may be opened."""
    if request.param == "sqlite":
        return str(tmp_path / "store")
    server = request.getfixturevalue("redis_server")
    server.client.flushall()
    return server.url


@pytest.fixture
def open_jobs(store_location):
    """A function that opens the store of a test, with limits as arguments."""
    stores = []

    def open_jobs(**limits):
        stores.append(open_store(store_location, JobLimits(**limits)))
        return stores[-1]

    yield open_jobs
    for store in stores:
        store.close()


class Clock:
    """The time that all stores read."""

    def __init__(self):
        self.now = 1_800_000_000.0


@pytest.fixture
def clock(monkeypatch) -> Clock:
    from capjax.serve.jobs.redis_store import RedisJobStore

    clock = Clock()
    for store in (SqliteJobStore, RedisJobStore):
        monkeypatch.setattr(store, "_now", lambda _: clock.now)
    return clock
