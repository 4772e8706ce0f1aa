"""Layers within encoders: their names, their gradients, and where the cells of their grids lie in the picture."""

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capjax.models.encoders import ENCODERS, encode_clip
from capjax.models.encoders.receptive_field import grid_extent
from capjax.models.encoders.tap import tapped
from tests.helpers.drawn_models import draw_model

pytestmark = pytest.mark.usefixtures("quick_compilation")
_STAGES = ((1, 3, 1, 8, 1), (2, 3, 2, 8, 2), (2, 5, 2, 16, 1))
VIT = {"width": 16, "depth": 3, "heads": 2, "patch": 8, "image_size": 32}
ENCODERS_AND_LAYERS = {
    "resnet10_slim": ({"channels": 4, "image_size": 32}, ["stem", "stages/0/0", "stages/3/0"]),
    "efficientnet_lite0": ({"stages": _STAGES, "image_size": 32}, ["stem", "stages/1/1", "head"]),
    "vit_tiny": (VIT, ["blocks/0", "blocks/1", "blocks/2"]),
    "vit_ti16": (VIT, ["blocks/1"]),  # with a class token
    "video_vit_tiny": (VIT, ["blocks/0", "blocks/2"]),
    "i3d_slim": ({"multiplier": 0.1, "image_size": 32}, ["stem", "wide", "stages/1/1"]),
    "convlstm": (
        {"frame_options": {"channels": 4}, "channels": 8, "image_size": 32, "layers": 2},
        ["stem", "stages/3/0", "layers/1"],
    ),
}
# Layers above which few kinks, of ReLU6 and max pools, lie within a finite difference.
CASES = [
    ("resnet10_slim", "stages/0/0"), ("efficientnet_lite0", "head"), ("vit_tiny", "blocks/0"), ("vit_ti16", "blocks/1"),
    ("video_vit_tiny", "blocks/0"), ("i3d_slim", "stages/1/1"), ("convlstm", "stages/3/0"), ("convlstm", "layers/1"),
]  # fmt: skip


def make(name: str):
    options, _ = ENCODERS_AND_LAYERS[name]
    return draw_model(lambda key: ENCODERS.make(name, rngs=nnx.Rngs(key), **options))


def inputs():
    rng = np.random.default_rng(0)
    frames = jnp.asarray(rng.integers(0, 256, (1, 4, 32, 32, 3), np.uint8))
    return frames, jnp.arange(4.0)[None], jnp.ones((1, 4), bool)


@pytest.mark.parametrize("name", list(ENCODERS_AND_LAYERS))
def test_the_layers_are_named_and_a_tap_changes_nothing(name):
    encoder = make(name)
    plain = jax.jit(lambda: encode_clip(encoder, *inputs()))()
    with tapped("") as listing:
        jax.eval_shape(lambda: encode_clip(encoder, *inputs())[0])
    assert len(set(listing.layers)) == len(listing.layers)
    for layer in ENCODERS_AND_LAYERS[name][1]:
        assert layer in listing.layers

        def run(layer=layer):
            with tapped(layer) as tap:
                out = encode_clip(encoder, *inputs())
            return out, tap.value

        out, value = jax.jit(run)()
        np.testing.assert_allclose(out[0], plain[0], rtol=1e-4, atol=1e-5)
        assert value.ndim in (4, 5) and np.isfinite(value).all()


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_the_gradient_at_a_layer_is_that_of_finite_differences(name, layer):
    encoder = make(name)
    direction_rng = np.random.default_rng(1)

    @jax.jit
    def score(perturbation):
        with tapped(layer, perturbation) as tap:
            features, *_ = encode_clip(encoder, *inputs())
        weights = np.random.default_rng(2).normal(size=features.shape).astype(np.float32)
        return (features * weights).sum(), tap.value

    def shape():
        with tapped(layer) as tap:
            encode_clip(encoder, *inputs())
        return tap.value

    zeros = jnp.zeros(jax.eval_shape(shape).shape)
    gradient, value = jax.grad(score, has_aux=True)(zeros)
    assert value.shape == zeros.shape
    scale = float(jnp.abs(value).mean())
    direction = jnp.asarray(direction_rng.normal(size=zeros.shape), jnp.float32)
    step = 1e-3 * scale
    difference = (score(step * direction)[0] - score(-step * direction)[0]) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=0.05)


STRIDED = [
    ("resnet10_slim", {"channels": 2}), ("resnet10_slim", {"channels": 2, "stem": "patch"}),
    # Without squeeze-excite, through which a cell sees the whole picture.
    ("efficientnet_lite0", {"stages": _STAGES}), ("efficientnet_lite0", {"stages": _STAGES, "padding": "symmetric"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), STRIDED)
def test_cells_lie_where_an_encoder_of_positive_weights_looks(name, options):
    """With positive weights the gradient of a cell counts the paths from each pixel, symmetrically around the center of
    its receptive field."""
    size = 192
    encoder = ENCODERS.make(name, rngs=nnx.Rngs(0), image_size=size, **options)
    params = nnx.state(encoder, nnx.Param)
    nnx.update(
        encoder, jax.tree.map(lambda a: jnp.full(a.shape, 1 / np.prod(a.shape[:-1])) if a.ndim > 1 else a, params)
    )
    for _, norm in nnx.iter_modules(encoder):
        if hasattr(norm, "var"):
            norm.scale[...] = jnp.ones_like(norm.scale[...])
    frames = jnp.full((1, 2, size, size, 3), 255.0)
    rows, _ = encoder.grid(size, size)
    cell = rows // 2

    def middle(frames):
        grids, *_ = encode_clip(encoder, frames, jnp.zeros((1, 2)), jnp.ones((1, 2), bool))
        return grids[0, 0].reshape(rows, rows, -1)[cell, cell].sum()

    paths = np.abs(np.asarray(jax.jit(jax.grad(middle))(frames))[0].sum((0, 2, 3)))
    center = (paths * (np.arange(size) + 0.5)).sum() / paths.sum()
    low, high = grid_extent(encoder.strided, size, rows)
    assert low + (cell + 0.5) * (high - low) / rows == pytest.approx(center, abs=0.3)


def test_grids_without_known_layers_cover_the_picture():
    assert grid_extent((), 64, 8) == (0.0, 64.0)
