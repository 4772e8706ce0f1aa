"""Fixtures and flags shared by all tests."""

import os
import signal
from pathlib import Path

import pytest

from tests.helpers.real_data import find_real_data
from tests.helpers.shape_checks import install_shape_checks

# Tests run several to a machine and compile many small programs: keep each on the CPU.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight pretend devices, for the tests of sharding; the others use the first. Compiled fast rather than well.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0")
# Before capjax is imported: its functions check the shapes and dtypes in their signatures.
install_shape_checks()
# Some tests interrupt, and a shell that starts them in the background (`make test &`) has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run tests that take minutes")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos and captions; skips where there is none."""
    path = find_real_data()
    if path is None:
        pytest.skip("no real data here; $CAPJAX_DATA may name a folder with flickr8k/Flickr8k_text")
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The tiny job on photos."""
    from tests.helpers.tiny_job import Tiny

    return Tiny(tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory):
    """Tiny videos with events, and models for them."""
    from tests.helpers.tiny_videos import TinyVideos

    return TinyVideos(tmp_path_factory)


@pytest.fixture
def common_config():
    """The default of every setting."""
    from capjax.config import default_config

    return default_config()
