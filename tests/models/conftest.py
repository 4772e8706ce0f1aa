"""Fixtures of the tests of models."""

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compilation():
    """Most of the time of these tests is XLA's; without optimizations it computes the same."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
