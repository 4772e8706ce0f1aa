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


@pytest.fixture(scope="session")
def tiny_model(tiny):
    """The model of the tiny job, loaded as a server does; it is compiled by the first server."""
    from capjax.serve.served_model import ModelSource, ServedModel
    from tests.helpers.tiny_job import in_this_process

    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch, tiny.path)
        yield ServedModel(ModelSource("tiny", tiny.trained(), num_beams=(1,), max_len=(4,)))


@pytest.fixture(scope="module")
def servers(tiny_model, tmp_path_factory):
    """Starts servers."""
    from tests.helpers.live_server import ServerFactory

    factory = ServerFactory(tmp_path_factory.mktemp("servers"), tiny_model)
    yield factory
    factory.close()


@pytest.fixture(scope="module")
def server(servers):
    """A server of the tiny model."""
    return servers.start()


@pytest.fixture(scope="session")
def photos(tiny) -> list[bytes]:
    """Files of photos of six colors."""
    return [path.read_bytes() for path in sorted(tiny.photos.glob("*.jpg"))[:6]]
