"""Encoders over space and time in the whole model: moments, masks, attention that can be read, frozen parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.config import ConfigError
from capjax.models.build import make_pure_model
from capjax.models.captioner import Captioner
from capjax.models.encoders import ENCODERS, encode_clip
from capjax.models.encoders.clip import differences, group_times
from capjax.models.pure_model import PureModel, batch_stats_of, make_key
from tests.helpers.drawn_models import draw_model, vision

pytestmark = pytest.mark.usefixtures("quick_compilation")
B, T, SIZE, L, D, V = 2, 5, 16, 6, 16, 11
FRAME = {"channels": 4, "depths": (1,)}
OVER_TIME = {
    "i3d": {"name": "i3d_slim", "multiplier": 0.0625, "depths": (0, 0, 0), "time_strides": (2, 1, 1, 1, 1)},
    "convlstm": {"name": "convlstm", "frame_options": FRAME, "channels": 8},
    "video_vit": {"name": "video_vit_tiny", "width": 16, "depth": 1, "heads": 2},
    "resnet": {"name": "resnet10_slim", "depths": (0, 1), "channels": 4, "stem": "patch", "differences": True},
}
STRIDES = {"i3d": 2, "convlstm": 1, "video_vit": 2, "resnet": 1}
DECODERS = {"transformer": {"layers": 1, "heads": 2}, "lstm": {}, "gru": {}}


def captioner(key, encoder, decoder="transformer", **options) -> Captioner:
    options = {"vocab": V, "width": D, "max_len": L, "image_size": SIZE} | options
    decoder = {"name": decoder, **DECODERS[decoder]}
    return Captioner(encoders=vision(encoder), decoder=decoder, rngs=nnx.Rngs(key), **options)


def batch(t: int = T) -> dict:
    rng = np.random.default_rng(0)
    mask = np.ones((B, t), bool)
    mask[1, 2:] = False
    return {
        "frames": rng.integers(0, 256, (B, t, SIZE, SIZE, 3)).astype(np.uint8),
        "frame_times": np.cumsum(rng.random((B, t)), 1).astype(np.float32),
        "frame_mask": mask,
        "duration": np.full(B, t, np.float32),
        "target": rng.integers(0, V, (B, L)).astype(np.int32),
    }


def test_a_group_of_frames_has_the_mean_time_of_its_real_ones():
    times = jnp.asarray([[0.0, 1.0, 2.0, 4.0, 5.0], [0.0, 3.0, 9.0, 9.0, 9.0]])
    mask = jnp.asarray([[True] * 5, [True, True, True, False, False]])
    grouped, real = group_times(times, mask, 2)
    np.testing.assert_allclose(grouped, [[0.5, 3.0, 5.0], [1.5, 9.0, 0.0]])
    np.testing.assert_array_equal(real, [[True, True, True], [True, True, False]])
    for mine, given in zip(group_times(times, mask, 1), (times, mask), strict=True):
        np.testing.assert_array_equal(mine, given)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", OVER_TIME)
def test_any_encoder_over_time_goes_with_any_decoder_and_finds_events(encoder, decoder):
    events = {"events": 2, "queries": 3, "layers": 1, "heads": 2}

    def make(key):
        return captioner(
            key, OVER_TIME[encoder], decoder, dense=True, events=events, temporal={"name": "transformer", "layers": 1}
        )

    pure_model, inputs = PureModel.of(make), batch()
    inputs |= {"target": np.zeros((B, 2, L), np.int32), "event_mask": np.ones((B, 2), bool)}
    inputs |= {"event_times": np.tile(np.float32([0, 0.5]), (B, 2, 1))}

    def run(params, batch_stats, inputs):
        model = pure_model.bind(params, batch_stats)
        return model.encode(inputs), model(inputs, train=True)

    memory, out = jax.eval_shape(run, pure_model.shapes, pure_model.batch_stat_shapes, inputs)
    t = -(-T // STRIDES[encoder])
    assert memory.x.shape == (B, t, D) and memory.mask.shape == memory.time.shape == (B, t)
    assert out.logits.shape == (B * 2, L - 1, V) and out.events.pointers.shape[-1] == t


def test_differences_are_to_the_frames_beside_and_none_where_one_is_missing():
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    mask = np.array([[True] * 4, [True, True, False, False]])
    actual = np.asarray(differences(jnp.asarray(x), jnp.asarray(mask)))
    wanted = np.zeros((2, 4, 3, 10), np.float32)
    for row, count in ((0, 4), (1, 2)):
        for t in range(1, count):
            wanted[row, t, :, :5] = wanted[row, t - 1, :, 5:] = x[row, t] - x[row, t - 1]
    np.testing.assert_allclose(actual, wanted, rtol=1e-6)


@pytest.fixture(scope="module", params=OVER_TIME)
def encoded(request):
    """The stride of an encoder over time, its places, and batch -> memory of a model with it."""
    model = draw_model(lambda key: captioner(key, OVER_TIME[request.param]))
    places = int(np.prod(model.encoders["vision"].grid(SIZE, SIZE)))
    return STRIDES[request.param], places, jax.jit(lambda inputs: model.encode(inputs))


def test_the_memory_has_the_times_and_the_mask_of_the_moments(encoded):
    stride, places, encode = encoded
    inputs = batch()
    memory = encode(inputs)
    times, mask = group_times(inputs["frame_times"], inputs["frame_mask"], stride)
    np.testing.assert_allclose(memory.time[:, ::places], times)
    np.testing.assert_array_equal(memory.mask[:, ::places], mask)
    assert memory.grid_index[-1, 0] == times.shape[1] - 1


def test_frames_that_are_none_do_not_change_what_is_remembered_of_real_ones(encoded):
    _, _, encode = encoded
    inputs = batch()

    def remembered(inputs):
        memory = encode(inputs)
        return np.asarray(jnp.where(memory.mask[..., None], memory.x, 0.0))

    expected = remembered(inputs)
    other = inputs | {"frames": inputs["frames"].copy(), "frame_times": inputs["frame_times"].copy()}
    other["frames"][1, 2:] = 255 - other["frames"][1, 2:]
    other["frame_times"][1, 2:] += 9
    np.testing.assert_allclose(remembered(other), expected, atol=1e-5)
    other["frames"][1, 1] = 255 - other["frames"][1, 1]
    assert np.abs(remembered(other) - expected)[1].max() > 1e-4


def test_an_encoder_of_images_sees_each_frame_alone():
    encoder = ENCODERS.make("resnet10_slim", rngs=nnx.Rngs(0), image_size=SIZE, **FRAME)
    inputs = batch()
    clip = inputs["frames"], inputs["frame_times"], inputs["frame_mask"]
    (features, times, mask, attention), alone = nnx.jit(
        lambda encoder, *clip: (encode_clip(encoder, *clip, return_attention=True), encoder(clip[0][1, 3:4]))
    )(encoder, *clip)
    np.testing.assert_allclose(features[1, 3], alone.reshape(-1, 4), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(times, inputs["frame_times"])
    np.testing.assert_array_equal(mask, inputs["frame_mask"])
    assert attention is None


@pytest.mark.parametrize("space", ["pooled", "same", "all"])
def test_the_models_attention_over_space_and_time_can_be_read(space):
    temporal = {"name": "transformer", "layers": 2, "heads": 2, "space": space}
    model = draw_model(lambda key: captioner(key, OVER_TIME["video_vit"], temporal=temporal))
    inputs = batch()
    maps = nnx.jit(lambda model, inputs: model.encoder_attention(inputs))(model, inputs)
    t, n = 3, 4
    assert maps["vision"].time.shape == (1, B, 2, t, n, t) and maps["vision"].space.shape == (1, B, 2, t, n, n)
    places = 1 if space == "pooled" else n
    assert maps["temporal"].time.shape == (2, B, 2, t, places, t)
    for weights in jax.tree.leaves(maps):
        np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert not maps["temporal"].time[:, 1, ..., 1:].any()  # of the second clip one moment is real
    assert (maps["temporal"].space is not None) == (space == "all")


def test_temporal_attention_is_what_an_explicit_computation_says():
    temporal = {"name": "transformer", "layers": 1, "heads": 2, "space": "same"}
    model = draw_model(lambda key: captioner(key, OVER_TIME["convlstm"], temporal=temporal))
    inputs = batch(t=2)

    @nnx.jit
    def run(model, inputs):
        features, times, mask, _ = encode_clip(
            model.encoders["vision"], inputs["frames"], inputs["frame_times"], inputs["frame_mask"]
        )
        return model.connectors["vision"](features, times, mask).x, model.encoder_attention(inputs)["temporal"]

    read, attention = run(model, inputs)
    block = jax.tree.map(lambda x: x[0], nnx.to_pure_dict(nnx.state(model.temporal.blocks)))
    x = np.asarray(read, np.float64).reshape(B, 2, -1, D)
    norm = block["attention_norm"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]
    qkv = (x @ block["attention"]["qkv"]["kernel"] + block["attention"]["qkv"]["bias"]).reshape(*x.shape[:3], 3, 2, 8)
    scores = np.exp(np.einsum("btnhk,bsnhk->bhtns", qkv[..., 0, :, :], qkv[..., 1, :, :]) / 8**0.5)
    scores /= scores.sum(-1, keepdims=True)
    np.testing.assert_allclose(attention.time[0], scores, rtol=1e-3, atol=1e-5)


@pytest.fixture
def config(common_config):
    common_config.data.image_size, common_config.model.width = 16, 16
    common_config.model.encoder.name = "convlstm"
    common_config.model.encoder.options = {"frame_options": {"channels": 4, "depths": (1, 1)}, "channels": 8}
    common_config.model.decoder.options = {"layers": 1, "heads": 2}
    return common_config


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("i3d", {"width": 2}, r"model\.encoder\.options\.width: encoder 'i3d' has no such option"),
        ("i3d_slim", {"multiplier": "x"}, r"options\.multiplier = 'x': expected float, such as 0\.25"),
        ("video_vit_tiny", {"attention": "both"}, "'both': expected 'divided' or 'joint'"),
        ("convlstm", {"frame_encoder": "resnet8"}, "unknown encoder 'resnet8'"),
        ("convlstm", {"frame_options": {"depth": 1}}, r"options\.frame_options\.depth: encoder 'resnet10_slim' has no"),
        ("convlstm", {"frame_options": {"channels": "x"}}, r"frame_options\.channels = 'x': expected int"),
    ],
)
def test_options_that_an_encoder_over_time_does_not_have_are_clear_errors(config, name, options, message):
    config.model.encoder.name, config.model.encoder.options = name, options
    with pytest.raises(ConfigError, match=message):
        make_pure_model(config, vocab=V)


def test_frozen_batch_norms_keep_their_statistics_and_normalize_by_them(config):
    first = "^encoders/vision/frame_encoder/(stem|stages/0)/"
    config.optimizer.freeze = (first, "^encoders/vision/frame_encoder/stages/1/.*norm/scale$")
    pure_model = make_pure_model(config, vocab=V)
    params, batch_stats = jax.jit(pure_model.init)(make_key(0))
    batch_stats = {name: value + 0.5 for name, value in batch_stats.items()}
    inputs = batch()

    @jax.jit
    def train(batch_stats, inputs):
        model = pure_model.bind(params, batch_stats)
        stem = model.encoders["vision"].frame_encoder.stem
        images = inputs["frames"].reshape(-1, SIZE, SIZE, 3) / 255.0
        outputs = stem(images, train=True), stem(images, train=False)
        model(inputs, train=True, key=make_key(0))
        return batch_stats_of(model), outputs

    after, (training, evaluation) = train(batch_stats, inputs)
    np.testing.assert_array_equal(training, evaluation)
    kept = {name for name in batch_stats if np.array_equal(batch_stats[name], after[name])}
    # Of stage 1 the scales are frozen alone: its biases learn, and so its statistics move.
    assert kept == {name for name in batch_stats if "/stem/" in name or "/stages/0/" in name}
    assert kept != set(batch_stats)
