"""A server of the tiny model."""

import pytest


@pytest.fixture(scope="session")
def tiny_model(tiny):
    """The model of the tiny job, loaded as a server does; it is compiled by the first server."""
    from capjax.serve.served_model import ModelSource, ServedModel
    from tests.helpers.tiny_job import in_this_process

    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch, tiny.path)
        return ServedModel(ModelSource("tiny", tiny.trained(), num_beams=(1,), max_len=(4,)))


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
