"""Encoders: shapes, randomness, batch statistics, and the parts they are made of."""

from functools import partial

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capjax.models.encoders import ENCODERS, encode_clip
from capjax.models.encoders.clip import time_stride
from capjax.models.encoders.convolution import _grouped, _native, convolve, depthwise
from capjax.models.encoders.parts import BatchNorm, Conv, draw_kernels
from capjax.models.encoders.vit import resize_positions
from capjax.models.layers import drop_path
from capjax.models.pure_model import PureModel, batch_stats_of, params_of
from tests.helpers.shape_checks import without_shape_checks
from tests.helpers.torch_models import torch_models

pytestmark = pytest.mark.usefixtures("quick_compilation")
# A small one of each family: options that make it quick to compile.
_STAGES = ((1, 3, 1, 8, 1), (2, 3, 2, 8, 2), (2, 5, 2, 16, 1))
SMALL = {
    "resnet10_slim": {"channels": 8, "image_size": 32},
    "efficientnet_b0": {"stages": _STAGES, "image_size": 32},
    "efficientnet_lite0": {"stages": _STAGES, "image_size": 32},
    "vit_tiny": {"width": 32, "depth": 2, "heads": 2, "patch": 8, "image_size": 32},
}


def small(name: str, **options):
    return ENCODERS.make(name, rngs=nnx.Rngs(0), **SMALL[name] | options)


def abstract(name: str, **options) -> PureModel:
    return PureModel.of(lambda key: ENCODERS.make(name, rngs=nnx.Rngs(key), **options))


def noise(size: int, count: int = 2) -> jax.Array:
    return jnp.asarray(np.random.default_rng(size).integers(0, 256, (count, size, size, 3), np.uint8))


@nnx.jit
def run(encoder, images):
    return encoder(images)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_176_512),
        ("resnet50", 23_508_032),
        ("resnet152", 58_143_808),
        ("efficientnet_b0", 4_007_548),
        ("efficientnet_b3", 10_696_232),
        ("efficientnet_lite0", 3_371_008),
        ("efficientnet_lite4", 11_725_568),
        ("vit_s16", 21_665_664 - 384),  # the class token's position is folded into it
        ("vit_l16", 303_301_632 - 1024),
    ],
)
def test_parameter_counts_are_those_published(name, count):
    assert sum(leaf.size for leaf in abstract(name).shapes.values()) == count


def _check_grid(name: str, size: int, **options):
    pure_model = abstract(name, **options)
    encoder = pure_model.bind(pure_model.shapes, pure_model.batch_stat_shapes)
    frames, times = jax.ShapeDtypeStruct((2, 3, size, size, 3), "uint8"), jnp.zeros((2, 3))
    features, seconds, *_ = nnx.eval_shape(
        lambda encoder, frames: encode_clip(encoder, frames, times, times > -1), encoder, frames
    )
    assert seconds.shape == (2, -(-3 // time_stride(encoder)))
    assert features.shape == (*seconds.shape, np.prod(encoder.grid(size, size)), encoder.width)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [32, 40, 64])
def test_output_is_the_grid_that_was_declared(name, size):
    _check_grid(name, size, **SMALL[name] | {"image_size": size})


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS.names())
def test_every_encoder_gives_its_grid(name):
    _check_grid(name, 224, image_size=224)


def test_lite_keeps_the_grid_of_its_natural_sizes():
    sizes = {0: (224, 7), 1: (240, 8), 2: (260, 9), 3: (280, 9), 4: (300, 10)}
    for scale, (size, rows) in sizes.items():
        encoder = nnx.eval_shape(lambda scale=scale: ENCODERS.make(f"efficientnet_lite{scale}", rngs=nnx.Rngs(0)))
        assert (encoder.image_size, encoder.width) == (size, 1280)
        assert encoder.grid(size, size) == (rows, rows)


@pytest.mark.parametrize("name", SMALL)
def test_uint8_and_float_pictures_give_the_same(name):
    encoder, images = small(name), noise(32)
    np.testing.assert_array_equal(run(encoder, images), run(encoder, images.astype(jnp.float32)))


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(name):
    encoder = small(name, dtype=jnp.bfloat16)
    assert run(encoder, noise(32)).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in (params_of(encoder) | batch_stats_of(encoder)).values()} == {jnp.dtype("float32")}


def test_what_is_no_batch_of_pictures_is_refused():
    with without_shape_checks(), pytest.raises(ValueError, match=r"RGB images \[b, h, w, 3\].*\(32, 32, 3\)"):
        small("resnet10_slim")(jnp.zeros((32, 32, 3)))


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_encoder(name):
    first, second = (params_of(small(name)) for _ in range(2))
    other = params_of(ENCODERS.make(name, rngs=nnx.Rngs(1), **SMALL[name]))
    assert all(np.array_equal(first[key], second[key]) for key in first)
    kernels = [key for key in first if key.endswith("kernel")]
    assert all(not np.array_equal(first[key], other[key]) for key in kernels)


def test_convolutions_begin_with_he_variance():
    conv = Conv(64, 128, 3)
    draw_kernels(conv, nnx.Rngs(0))
    assert float(conv.kernel[...].std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    conv = Conv(512, 512, 3, depthwise=True)
    draw_kernels(conv, nnx.Rngs(0))
    assert float(conv.kernel[...].std()) == pytest.approx((2 / 9) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", ["resnet10_slim", "efficientnet_lite0"])
def test_a_frozen_encoder_leaves_running_statistics_alone(name):
    encoder = small(name)
    before = batch_stats_of(encoder)
    run(encoder, noise(32))
    after = batch_stats_of(encoder)
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", SMALL)
def test_training_reaches_every_parameter_and_running_statistic(name):
    encoder = small(name)
    target = jax.random.normal(jax.random.key(1), (4, *encoder.grid(32, 32), encoder.width))
    before = batch_stats_of(encoder)

    @nnx.jit
    def gradient(encoder, x):
        return nnx.grad(lambda encoder: (encoder(x, train=True) * target).mean())(encoder)

    gradients = dict(nnx.to_flat_state(gradient(encoder, noise(32, 4))))
    dead = {path for path, leaf in gradients.items() if not np.any(leaf[...])}
    # A residual branch of ResNet begins at zero (the last norm's scale); what is before it learns from step two.
    assert not dead or name.startswith("resnet")
    assert all("convs" in path for path in dead)
    after = batch_stats_of(encoder)
    assert all(not np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ["efficientnet_b0", "vit_tiny"])
def test_randomness_comes_from_the_key_alone(name):
    options = {"stochastic_depth": 0.5} | ({"dropout": 0.1} if name == "vit_tiny" else {})
    encoder, plain = small(name, **options), small(name)
    call = nnx.jit(lambda encoder, x, key: encoder(x, key=key))
    images = noise(32)
    first, again, other = (call(encoder, images, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    np.testing.assert_allclose(run(encoder, images), run(plain, images), rtol=1e-6, atol=1e-6)


def test_stochastic_depth_drops_whole_items_and_keeps_the_mean():
    x = jnp.ones((4000, 2, 3))
    out = np.asarray(drop_path(x, 0.3, jax.random.key(0)))
    assert all(len(np.unique(item)) == 1 for item in out)
    assert (out[:, 0, 0] == 0).mean() == pytest.approx(0.3, abs=0.03)
    assert out.mean() == pytest.approx(1.0, abs=0.03)
    np.testing.assert_array_equal(drop_path(x, 0.3, None), x)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_depthwise_by_shifts_equals_xlas_grouped_convolution(size, stride):
    keys = jax.random.split(jax.random.key(size), 3)
    x, kernel = jax.random.normal(keys[0], (2, 11, 14, 6)), jax.random.normal(keys[1], (size, size, 1, 6))

    @partial(jax.jit, static_argnums=0)
    def both(function, x, kernel):
        out, back = jax.vjp(lambda x, kernel: function(x, kernel, stride), x, kernel)
        return out, back(jax.random.normal(keys[2], out.shape))

    ours, theirs = (jax.tree.leaves(both(function, x, kernel)) for function in (depthwise, _grouped))
    for mine, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("size", "stride"), [(1, 2), (3, 1), (3, 2), (5, 2), (7, 2), (4, 4)])
@pytest.mark.parametrize("pixels", [14, 15])
def test_same_padding_is_tensorflows(pixels, size, stride, per_channel):
    conv = Conv(4, 4, size, stride=stride, depthwise=per_channel, padding="same")
    draw_kernels(conv, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, pixels, pixels, 4))
    expected = jax.lax.conv_general_dilated(
        x, conv.kernel[...], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4 if per_channel else 1,
    )  # fmt: skip
    np.testing.assert_allclose(conv(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "stride", "pads"), [(3, 1, (1, 1)), (3, 2, (1, 1)), (3, 2, (0, 1)), (7, 2, (3, 3))])
def test_a_convolutions_backward_pass_is_xlas(size, stride, pads):
    keys = jax.random.split(jax.random.key(size), 3)
    x, kernel = jax.random.normal(keys[0], (2, 13, 12, 5)), jax.random.normal(keys[1], (size, size, 5, 4))
    weights = jax.random.normal(keys[2], _native(x, kernel, stride, (pads, pads)).shape)

    def gradients(function):
        return jax.grad(lambda x, kernel: (function(x, kernel, stride, (pads, pads)) * weights).sum(), (0, 1))(
            x, kernel
        )

    for ours, theirs in zip(gradients(convolve), gradients(_native), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="'symmetric' .* or 'same'"):
        Conv(3, 3, 3, padding="valid")


def test_batch_norm_equals_torchs_in_training_and_after():
    torch, *_ = torch_models()
    x = np.random.default_rng(0).normal(5, 2, (4, 6, 6, 3)).astype(np.float32)
    theirs, ours = torch.nn.BatchNorm2d(3), BatchNorm(3)
    expected = theirs(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
    np.testing.assert_allclose(ours(jnp.asarray(x), train=True), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.mean[...], theirs.running_mean, rtol=1e-5)
    np.testing.assert_allclose(ours.var[...], theirs.running_var, rtol=1e-5)
    expected = theirs.eval()(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
    np.testing.assert_allclose(ours(jnp.asarray(x), train=False), expected, rtol=1e-4, atol=1e-5)


def test_positions_are_interpolated_as_timm_does():
    torch, *_ = torch_models()
    from timm.layers import resample_abs_pos_embed

    table = np.random.default_rng(0).normal(size=(14, 14, 5)).astype(np.float32)
    for rows, columns in ((7, 7), (10, 12), (20, 14), (14, 14)):
        flat = torch.tensor(table).reshape(1, -1, 5)
        expected = resample_abs_pos_embed(flat, [rows, columns], [14, 14], num_prefix_tokens=0).numpy()
        ours = resize_positions(jnp.asarray(table), rows, columns)
        np.testing.assert_allclose(ours.reshape(1, -1, 5), expected, rtol=1e-4, atol=1e-5)


def test_a_vit_reads_pictures_of_other_sizes():
    encoder = small("vit_tiny")
    assert run(encoder, jnp.zeros((1, 48, 24, 3), jnp.uint8)).shape == (1, 6, 3, 32)
    with pytest.raises(ValueError, match="30 x 32 pixels is not a whole number of patches of 8"):
        encoder(jnp.zeros((1, 30, 32, 3), jnp.uint8))


def test_vit_gradients_are_the_same_with_rematerialization():
    images = noise(32)

    def gradient(remat):
        encoder = small("vit_tiny", remat=remat, dropout=0.1, stochastic_depth=0.2)
        loss = nnx.grad(lambda encoder: jnp.square(encoder(images, key=jax.random.key(0))).mean())
        return {path: leaf[...] for path, leaf in nnx.to_flat_state(nnx.jit(loss)(encoder))}

    plain = gradient("none")
    for remat in ("light", "full"):
        recomputed = gradient(remat)
        for path, leaf in plain.items():
            np.testing.assert_allclose(leaf, recomputed[path], rtol=1e-4, atol=1e-6)


def test_weights_worth_sharding_have_axis_names():
    axes = abstract("vit_s16").axes
    assert axes["blocks/mlp/up/kernel"] == ("layers", "embed", "mlp")
    assert axes["blocks/attention/qkv/kernel"] == ("layers", "embed", "heads")
    assert abstract("resnet18").axes["stages/0/0/convs/0/conv/kernel"] == (None, None, None, "conv_out")


def test_compiling_for_a_tpu_keeps_the_grouped_convolution():
    encoder = small("efficientnet_lite0")
    graphdef, state = nnx.split(encoder)
    forward = jax.jit(lambda state, x: nnx.merge(graphdef, state)(x))
    text = jax.export.export(forward, platforms=["tpu"])(state, noise(32)).mlir_module()
    assert "feature_group_count = 16" in text
    assert "feature_group_count = 16" not in forward.lower(state, noise(32)).as_text()
