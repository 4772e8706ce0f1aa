"""A captioner with two encoders of different grids: images, and a sequence without rows and columns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.config import ConfigError
from capjax.data.batch import feature_entries
from capjax.models.build import encoder_specs, frozen_patterns, make_pure_model
from capjax.models.captioner import Captioner, EncoderSpec, Features
from capjax.models.encoders import ENCODERS
from capjax.models.layers import Linear
from capjax.models.pure_model import PureModel, make_key
from tests.helpers.drawn_models import draw_params, vision

B, T, STEPS, SIZE, L, V, D = 2, 3, 7, 16, 6, 11, 16
VIT = {"name": "vit_tiny", "width": 16, "depth": 1, "heads": 2}
DECODERS = {"transformer": {"layers": 1, "heads": 2}, "gru": {}}


class Spectrum(nnx.Module):
    """A linear layer on windows [b, t, 5] of a sequence: one position for every two of them."""

    over_time, time_stride, width = True, 2, 8

    def __init__(self, *, image_size, scale: float = 1.0, dtype=jnp.float32, rngs):
        del image_size
        self.linear, self.scale = Linear(10, self.width, dtype=dtype, rngs=rngs), scale

    def grid(self, h, w):
        del h, w
        return 1, 1

    def __call__(self, x, times, mask, *, train=False, key=None):
        del times, train, key
        x = jnp.where(mask[..., None], x, 0.0)
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0))).reshape(x.shape[0], -1, 1, 1, 10)
        return self.linear(x * self.scale)


@pytest.fixture(autouse=True, scope="module")
def spectrum(quick_compilation):
    ENCODERS.register("test_spectrum")(Spectrum)
    yield
    del ENCODERS._makers["test_spectrum"]


def captioner(key, decoder="transformer", frozen=False, **options) -> Captioner:
    return Captioner(
        vocab=V, width=D, max_len=L, image_size=SIZE, rngs=nnx.Rngs(key),
        encoders=vision(VIT) | {"audio": EncoderSpec("test_spectrum", {"scale": 2.0}, frozen, "audio")},
        decoder={"name": decoder, **DECODERS[decoder]}, **options,
    )  # fmt: skip


def batch() -> dict:
    rng = np.random.default_rng(0)
    frame_mask, audio_mask = np.ones((B, T), bool), np.ones((B, STEPS), bool)
    frame_mask[1, 2:], audio_mask[1, 4:] = False, False
    return {
        "frames": rng.integers(0, 256, (B, T, SIZE, SIZE, 3)).astype(np.uint8),
        "frame_times": np.tile(np.arange(T, dtype=np.float32), (B, 1)),
        "frame_mask": frame_mask,
        "audio": rng.normal(size=(B, STEPS, 5)).astype(np.float32),
        "audio_times": np.tile(np.arange(STEPS, dtype=np.float32) / 2, (B, 1)),
        "audio_mask": audio_mask,
        "duration": np.full(B, 4.0, np.float32),
        "target": rng.integers(0, V, (B, 2, L)).astype(np.int32),
        "event_times": np.float32([[[0, 0.4], [0.3, 0.9]], [[0.1, 0.6], [0, 0.5]]]),
        "event_mask": np.array([[True, True], [True, False]]),
    }


def model_of(**options):
    pure_model = PureModel.of(lambda key: captioner(key, **options))
    return pure_model, draw_params(pure_model)


def test_the_memory_holds_the_positions_of_both_encoders_one_after_the_other():
    pure_model, params = model_of()
    given = batch()
    memory = jax.jit(lambda params: pure_model.bind(params, {}).encode(given))(params)
    assert [tuple(segment) for segment in memory.segments] == [("vision", T, 4), ("audio", 4, 1)]
    assert memory.x.shape == (B, T * 4 + 4, D)
    np.testing.assert_array_equal(memory.modality, [0] * 12 + [1] * 4)
    np.testing.assert_array_equal(memory.grid_index[12:], [(t, 0, 0) for t in range(4)])
    np.testing.assert_allclose(memory.time[0, 12:], [0.25, 1.25, 2.25, 3.0])
    np.testing.assert_array_equal(memory.mask[1], [True] * 8 + [False] * 4 + [True] * 2 + [False] * 2)
    parts = memory.parts()
    np.testing.assert_array_equal(jnp.concatenate([part.x for part in parts], axis=1), memory.x)
    alone = PureModel.of(
        lambda key: Captioner(
            vocab=V, width=D, max_len=L, image_size=SIZE, encoders=vision(VIT), rngs=nnx.Rngs(key),
            decoder={"name": "transformer", **DECODERS["transformer"]},
        )
    )  # fmt: skip
    own = {name: params[name] for name in alone.shapes}
    np.testing.assert_allclose(
        jax.jit(lambda params: alone.bind(params, {}).encode(given).x)(own), parts[0].x, atol=1e-5
    )


@pytest.mark.parametrize("task", ["caption", "queries", "written times"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_gradients_reach_both_encoders_in_every_task(decoder, task):
    options = {} if task == "caption" else {"dense": True}
    if task == "queries":
        options["events"] = {"events": 2, "queries": 3, "layers": 1, "heads": 2, "frames": 2}
    options["temporal"] = {"name": "transformer", "layers": 1, "heads": 2}
    pure_model, params = model_of(decoder=decoder, **options)

    def loss(params):
        out = pure_model.bind(params, {})(batch(), train=True, key=make_key(0))
        assert out.logits.shape == (2 * B, L - 1, V)
        return -jax.nn.log_softmax(out.logits)[..., 1].mean()

    gradients = jax.jit(jax.grad(loss))(params)
    for part in ("encoders/vision/", "connectors/vision/", "encoders/audio/", "connectors/audio/", "temporal/"):
        norms = [float(jnp.abs(value).max()) for name, value in gradients.items() if name.startswith(part)]
        assert max(norms) > 0 and np.isfinite(norms).all(), part


@pytest.mark.parametrize("decoder", DECODERS)
def test_cached_logits_equal_uncached_for_events_in_both_modalities(decoder):
    events = {"events": 2, "queries": 3, "layers": 1, "heads": 2, "frames": 2}
    pure_model, params = model_of(decoder=decoder, dense=True, events=events)
    given, tokens = batch(), batch()["target"].reshape(2 * B, L)[:, : L - 1]

    @jax.jit
    def run(params):
        model = pure_model.bind(params, {})
        memory = model.encode(given)
        query = model.events(memory, given["duration"]).query[:, :2]
        memory = model.events.memory_of(memory, given["event_times"], query, given["duration"])
        out = model.decode(given["target"], memory, return_attention=True)
        fixed, state = model.decoder.init_cache(memory, 1, L)
        steps = []
        for index in range(L - 1):
            logits, state, attention = model.decoder.step(
                tokens[:, index : index + 1], jnp.int32(index), fixed, state, return_attention=True
            )
            steps.append((logits[:, 0], attention[:, :, 0]))
        return memory, out, steps

    memory, out, steps = run(params)
    # Two frames of four grid cells, two windows of the other encoder, and the query.
    assert [tuple(segment) for segment in memory.segments] == [("vision", 2, 4), ("audio", 2, 1), ("query", 1, 1)]
    for index, (logits, attention) in enumerate(steps):
        np.testing.assert_allclose(logits, out.logits[:, index], atol=1e-4)
        np.testing.assert_allclose(attention, out.attention[..., index, :], atol=1e-5)


def test_features_connect_and_decode_are_the_whole_model():
    pure_model, params = model_of(dropout=0.3)
    given = batch()

    @jax.jit
    def run(params, key):
        model = pure_model.bind(params, {})
        features = model.features(given, train=True, key=key)
        assert set(features) == {"vision", "audio"} and isinstance(features["audio"], Features)
        memory = model.connect(features, key=key)
        return memory.x, model.encode(given, train=True, key=key).x, model.decode(given["target"], memory).logits

    in_steps, at_once, _ = run(params, make_key(3))
    np.testing.assert_array_equal(in_steps, at_once)
    plain = jax.jit(lambda params: pure_model.bind(params, {})(given).logits)(params)
    np.testing.assert_allclose(run(params, None)[2], plain, atol=1e-5)


def test_features_that_the_batch_holds_take_the_place_of_an_encoder():
    pure_model, params = model_of()
    given = batch()

    @jax.jit
    def run(params, given):
        model = pure_model.bind(params, {})
        return model.features(given), model.encode(given).x

    features, expected = run(params, given)
    audio = feature_entries("audio")
    stored = {name: value for name, value in given.items() if not name.startswith("audio")}
    stored |= {getattr(audio, key): getattr(features["audio"], key.replace("features", "x")) for key in audio._fields}
    np.testing.assert_allclose(run(params, stored)[1], expected, atol=1e-6)


def test_a_frozen_encoder_learns_nothing_and_the_other_does():
    pure_model, params = model_of(frozen=True)
    loss = lambda params: pure_model.bind(params, {})(batch(), train=True).logits.std()  # noqa: E731
    gradients = jax.jit(jax.grad(loss))(params)
    largest = {name: float(jnp.abs(value).max()) for name, value in gradients.items()}
    assert all(value == 0 for name, value in largest.items() if name.startswith("encoders/audio/"))
    assert max(value for name, value in largest.items() if name.startswith("encoders/vision/")) > 0


def test_a_batch_without_an_entry_is_a_clear_error():
    pure_model, params = model_of()
    given = batch()
    del given["audio_mask"]
    with pytest.raises(ValueError, match="encoder 'audio' reads audio, audio_times, audio_mask .*; audio_mask not"):
        jax.eval_shape(lambda params: pure_model.bind(params, {}).encode(given).x, params)


@pytest.fixture
def config(common_config):
    config = common_config
    config.model.encoder.name, config.data.image_size, config.model.width = "vit_tiny", SIZE, D
    config.model.decoder.options = {"layers": 1, "heads": 2}
    with config.unlocked():
        config.model.encoders = {"audio": {"name": "test_spectrum", "input": "audio", "frozen": True}}
    return config


def test_a_config_adds_encoders(config):
    shapes = make_pure_model(config, vocab=V).shapes
    assert shapes["encoders/audio/linear/kernel"].shape == (10, 8)
    assert shapes["connectors/audio/project/kernel"].shape == (8, D)
    assert frozen_patterns(config) == ["^encoders/audio/"]
    config.data.features = True
    assert list(encoder_specs(config)) == ["audio"]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("audio", {"input": ""}, r"model\.encoders\.audio: input missing"),
        ("audio", {"name": "test_spectrums"}, "unknown encoder 'test_spectrums': did you mean 'test_spectrum'"),
        ("audio", {"frozenn": True}, r"encoders\.audio\.frozenn: .* no such setting; did you mean 'frozen'"),
        ("audio", {"frozen": "yes"}, r"encoders\.audio\.frozen = 'yes': expected bool"),
        ("audio", {"options": {"scales": 1.0}}, r"encoders\.audio\.options\.scales: .* did you mean 'scale'"),
        ("vision", {}, r"model\.encoders\.vision: this name is taken"),
    ],
)
def test_an_encoder_that_cannot_be_is_a_clear_error(config, name, changes, message):
    with config.unlocked():
        config.model.encoders = {name: {"name": "test_spectrum", "input": "audio"} | changes}
    with pytest.raises(ConfigError, match=message):
        make_pure_model(config, vocab=V)
