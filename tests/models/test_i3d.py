"""I3D: equal to the published network, inflated from a 2D one, and padding that changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.models.encoders import ENCODERS
from capjax.models.encoders.convolution import _folded3d, _native3d, convolve3d
from capjax.models.encoders.i3d import inflate, max_pool
from capjax.models.encoders.parts import Conv3d, draw_kernels
from capjax.models.pretrained import WeightsError, load_pretrained
from capjax.models.pure_model import batch_stats_of
from tests.helpers.torch_models import randomize, torch_i3d, torch_models

pytestmark = pytest.mark.usefixtures("quick_compilation")
SLIM = {"multiplier": 0.0625, "depths": (1, 0, 0), "stem": (3, 3, 3), "image_size": 16}


def clip(b: int, t: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (b, t, size, size, 3), np.uint8)


@nnx.jit
def _run(encoder, frames, mask):
    return encoder(frames, jnp.zeros(mask.shape), mask)


def run(encoder, frames, mask=None) -> np.ndarray:
    mask = np.ones(frames.shape[:2], bool) if mask is None else mask
    return np.asarray(_run(encoder, jnp.asarray(frames), jnp.asarray(mask)))


def abstract(**options):
    return nnx.eval_shape(lambda: ENCODERS.make("i3d", rngs=nnx.Rngs(0), **options))


def small(**options):
    return ENCODERS.make("i3d", rngs=nnx.Rngs(0), **SLIM | options)


@pytest.mark.parametrize(
    ("divide", "t", "size"),
    # Odd and even lengths pad at other sides.
    [(4, 11, 47), pytest.param(4, 16, 32, marks=pytest.mark.slow), pytest.param(1, 9, 64, marks=pytest.mark.slow)],
)
def test_it_equals_the_torch_model_with_the_published_names(divide, t, size, tmp_path):
    torch, *_ = torch_models()
    torch.manual_seed(0)
    model = randomize(torch_i3d(divide))
    torch.save(model.state_dict(), tmp_path / "rgb_imagenet.pt")
    encoder = abstract(multiplier=1 / divide)
    load_pretrained(encoder, tmp_path / "rgb_imagenet.pt")
    frames = clip(2, t, size)
    x = torch.tensor(frames.astype(np.float32) / 127.5 - 1).permute(0, 4, 1, 2, 3)
    with torch.no_grad():
        expected = model(x).permute(0, 2, 3, 4, 1).numpy()
    ours = run(encoder, frames)
    assert ours.shape == expected.shape == (2, -(-t // 8), *encoder.grid(size, size), encoder.width)
    assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_published_files_shapes_are_those_of_the_whole_network():
    names = torch_i3d().state_dict()
    encoder = abstract()
    ours = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(encoder, nnx.Param)))
    assert ours == sum(v.numel() for k, v in names.items() if k.endswith(("weight", "bias")) and "logits" not in k)
    assert (encoder.width, encoder.time_stride, encoder.grid(224, 224)) == (1024, 8, (7, 7))


@pytest.mark.slow
def test_a_boring_video_gives_the_features_of_the_2d_network(tmp_path):
    """Of one picture for all time: at moments that no zero beyond the clip's ends reaches, of which there are few, as
    a feature sees 99 frames."""
    torch, torchvision, _ = torch_models()
    torch.manual_seed(0)
    model = randomize(torchvision.googlenet(weights=None, aux_logits=True, init_weights=False))
    torch.save(model.state_dict(), tmp_path / "googlenet.pth")
    encoder = abstract(padding="symmetric")
    load_pretrained(encoder, tmp_path / "googlenet.pth")
    picture = clip(1, 1, 32)
    x = torch.tensor(picture[0].astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    layers = [part for name, part in model.named_children() if name not in ("aux1", "aux2", "avgpool", "dropout", "fc")]
    with torch.no_grad():
        expected = torch.nn.Sequential(*layers)(x).permute(0, 2, 3, 1).numpy()
    features = run(encoder, np.repeat(picture, 112, axis=1))[0]
    assert features.shape == (14, 1, 1, 1024)
    wrong = np.abs(features - expected).max((1, 2, 3)) / np.abs(expected).max()
    assert wrong[6:8].max() <= 1e-4
    assert wrong[0] > 0.01 and wrong[-1] > 0.01


def test_an_inflated_kernel_sums_to_the_2d_one():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5))
    assert inflate(kernel, 7).shape == (7, 3, 3, 4, 5)
    np.testing.assert_allclose(inflate(kernel, 7).sum(0), kernel)


def test_weights_of_another_network_are_refused(tmp_path):
    torch, *_ = torch_models()
    torch.save(torch_i3d(4).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match="misshaped: Conv3d_1a_7x7.conv3d.weight"):
        load_pretrained(abstract(), tmp_path / "weights.pt")
    resnet = nnx.eval_shape(lambda: ENCODERS.make("resnet18", rngs=nnx.Rngs(0)))
    with pytest.raises(WeightsError, match="looks like pytorch-i3d, and the encoder is a ResNet"):
        load_pretrained(resnet, tmp_path / "weights.pt")


@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 2, 2), (1, 2, 2)])
@pytest.mark.parametrize("size", [(3, 3, 3), (7, 5, 5), (2, 2, 2)])
def test_a_folded_convolution_equals_xlas_and_tensorflows_same(size, strides):
    x = jax.random.normal(jax.random.key(0), (2, 5, 8, 9, 3))
    conv = Conv3d(3, 4, size, strides=strides)
    draw_kernels(conv, nnx.Rngs(0))
    kernel = conv.kernel[...]

    def theirs(x, kernel):
        return _native3d(x, kernel, strides, "SAME")

    np.testing.assert_allclose(conv(x), theirs(x, kernel), rtol=1e-4, atol=1e-5)
    out = jax.random.normal(jax.random.key(1), conv(x).shape)
    pads = tuple(map(tuple, jax.lax.padtype_to_pads(x.shape[1:4], size, strides, "SAME")))
    ours = jax.vjp(lambda x, kernel: convolve3d(x, kernel, strides, pads), x, kernel)[1](out)
    for mine, expected in zip(ours, jax.vjp(theirs, x, kernel)[1](out), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(_folded3d(x, kernel, strides, pads), theirs(x, kernel), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [5, 6])
@pytest.mark.parametrize(("size", "strides"), [((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)), ((1, 3, 3), (1, 2, 2))])
def test_pooling_axis_by_axis_equals_pooling_by_windows(length, size, strides):
    x = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, length, 7, 8, 3)))
    np.testing.assert_array_equal(max_pool(x, size, strides), nnx.max_pool(x, size, strides, "SAME"))


def test_what_padding_shows_changes_nothing_and_whole_groups_of_it_neither():
    encoder = small()
    assert encoder.time_stride == 8
    frames, mask = clip(2, 24, 16), np.ones((2, 24), bool)
    mask[1, 8:] = False
    features = run(encoder, frames, mask)
    other = frames.copy()
    other[1, 8:] = 255 - other[1, 8:]
    np.testing.assert_array_equal(run(encoder, other, mask), features)
    np.testing.assert_allclose(run(encoder, frames[1:, :8])[0, 0], features[1, 0], rtol=1e-5, atol=1e-6)
    assert not features[1, 1:].any()
    other[1, 7] = 0
    assert np.abs(run(encoder, other, mask)[1, 0] - features[1, 0]).max() > 1e-3


def test_batch_statistics_are_of_real_frames_alone():
    frames, mask = clip(2, 16, 16), np.ones((2, 16), bool)
    mask[:, 8:] = False

    @nnx.jit
    def train(encoder, frames, mask):
        encoder(frames, jnp.zeros(mask.shape), mask, train=True)

    padded, cut = small(), small()
    before = batch_stats_of(cut)
    train(padded, jnp.asarray(frames), jnp.asarray(mask))
    train(cut, jnp.asarray(frames[:, :8]), jnp.asarray(mask[:, :8]))
    for name, value in batch_stats_of(cut).items():
        np.testing.assert_allclose(batch_stats_of(padded)[name], value, rtol=1e-3, atol=1e-5)
        assert not np.array_equal(value, before[name])


def test_the_slim_network_keeps_more_of_time_and_space():
    encoder = nnx.eval_shape(lambda: ENCODERS.make("i3d_slim", rngs=nnx.Rngs(0)))
    frames, mask = jax.ShapeDtypeStruct((2, 15, 64, 64, 3), "uint8"), jax.ShapeDtypeStruct((2, 15), bool)
    out = nnx.eval_shape(lambda encoder, frames, mask: encoder(frames, None, mask), encoder, frames, mask)
    assert out.shape == (2, -(-15 // encoder.time_stride), *encoder.grid(64, 64), encoder.width)
    assert encoder.time_stride == 2 and encoder.grid(64, 64) == (4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": (2, 6, 2)}, "depths .*: expected three, at most 2, 5, 2"),
        ({"time_strides": (2, 1)}, "expected five of 1 or 2"),
        ({"padding": "valid"}, "'symmetric' .* or 'same'"),
    ],
)
def test_a_network_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        abstract(**options)
