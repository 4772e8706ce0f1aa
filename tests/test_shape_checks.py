"""The import hook of tests/conftest.py: in tests, functions check the arrays in their signatures."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import capjax
from capjax.models.connector import time_token_embeddings
from capjax.models.frame_difference import cosine_distances
from capjax.models.memory import Memory
from tests.helpers.shape_checks import PACKAGES, without_shape_checks

X, MASK = jnp.ones((2, 3, 4)), jnp.ones((2, 3), bool)


def test_shapes_that_agree_pass_for_jax_and_for_numpy():
    assert cosine_distances(X, MASK, 2).shape == (2, 3, 4)
    assert cosine_distances(np.asarray(X), np.asarray(MASK), 2).shape == (2, 3, 4)
    assert time_token_embeddings(5, 6).shape == (5, 6)


@pytest.mark.parametrize(
    ("x", "mask", "message"),
    [
        (X, MASK[:, :1], "size of dimension t is 1 which does not equal the existing value of 3"),
        (X[..., 0], MASK, "2 dimensions, not the 3 expected"),
        (X, MASK.astype(jnp.float32), "dtype float32, not any of"),
    ],
)
def test_a_wrong_shape_or_dtype_is_an_error_where_jax_would_broadcast(x, mask, message):
    with pytest.raises(TypeCheckError) as error:
        cosine_distances(x, mask, 2)
    assert message in str(error.value.__cause__.__cause__ or error.value.__cause__)


def test_shapes_are_checked_while_a_function_is_traced():
    with pytest.raises(TypeCheckError):
        jax.eval_shape(lambda x, mask: cosine_distances(x, mask, 2), X, MASK[:, :1])


def test_pytrees_may_hold_other_things_than_arrays():
    memory = Memory(X, MASK, jnp.ones((2, 3)), jnp.zeros((3, 3), jnp.int32), ())
    assert jax.tree.map(lambda leaf: leaf.ndim, memory) == Memory(3, 2, 2, 2, ())


def test_checks_can_be_suspended():
    with without_shape_checks():
        assert cosine_distances(X, MASK[:, :1], 2).shape == (2, 3, 4)


def test_nothing_is_checked_outside_of_tests():
    program = "; ".join(
        (
            "import sys, jax.numpy as jnp",
            "from capjax.models.frame_difference import cosine_distances",
            "cosine_distances(jnp.ones((2, 3, 4)), jnp.ones((2, 1), bool), 2)",
            "assert 'beartype' not in sys.modules",
        )
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603


def test_every_package_with_arrays_in_signatures_is_checked():
    root = Path(capjax.__file__).parent
    with_shapes = [path for path in root.rglob("*.py") if "from jaxtyping import" in path.read_text()]
    assert {f"capjax.{path.relative_to(root).parts[0]}" for path in with_shapes} == set(PACKAGES)
