"""The training step on a tiny captioner with random data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.models.captioner import Captioner
from capjax.models.pure_model import PureModel, make_key
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from capjax.train.optimizer import make_optimizer
from capjax.train.state import make_init, state_shardings, trainable_names
from capjax.train.step import make_step
from tests.helpers.drawn_models import vision

ONE = {"replica": 1, "data": 1, "fsdp": 1, "tensor": 1}


def batch(b=8, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 9, b)
    return {
        "frames": rng.integers(0, 256, (b, 1, 32, 32, 3)).astype(np.uint8),
        "frame_times": np.zeros((b, 1), np.float32),
        "frame_mask": np.ones((b, 1), bool),
        "target": rng.integers(0, 40, (b, 9)).astype(np.int32),
        "loss_mask": (np.arange(9) >= 2) & (np.arange(9) < lengths[:, None]),
    }


class Run:
    """A model with its step on a mesh."""

    def __init__(self, config, *, encoder, mesh=ONE, decoder=None, width=32):
        config.model.encoder.frozen = bool(config.model.encoder.frozen)
        decoder = decoder or {"name": "transformer", "layers": 1, "heads": 4}

        def make(key):
            return Captioner(
                vocab=40, width=width, max_len=16, decoder=decoder, image_size=32,
                encoders=vision(encoder, frozen=config.model.encoder.frozen), dropout=config.model.dropout,
                rngs=nnx.Rngs(key),
            )  # fmt: skip

        pure_model = PureModel.of(make)
        learns = trainable_names(pure_model, config)
        optimizer, schedule = make_optimizer(config.optimizer, 100, learns)
        devices = jax.devices()[: int(np.prod(list(mesh.values())))]
        self.rules = ShardingRules(make_mesh(mesh, devices), config.mesh.logical_axis_rules)
        init = make_init(pure_model, optimizer, learns, ema=config.train.ema > 0)
        key = make_key(0)
        shardings = state_shardings(jax.eval_shape(init, key, {}, {}), pure_model, self.rules)
        self.state = jax.jit(init, out_shardings=shardings)(key, {}, {})
        self.step = jax.jit(
            self.rules.activate(make_step(pure_model, optimizer, schedule, config.train, self.rules, seed=0)),
            out_shardings=(shardings, None),
        )

    def __call__(self, steps, b=8):
        losses = []
        for i in range(steps):
            data = jax.device_put(batch(b, seed=i), self.rules.batch(b))
            self.state, metrics = self.step(self.state, data)
            losses.append(float(metrics["loss"]))
        return losses


VIT = {"name": "vit_tiny", "depth": 1}
CONV = {"name": "resnet10_slim", "channels": 8}


@pytest.fixture
def config(common_config):
    common_config.optimizer.learning_rate = 1e-3
    return common_config


@pytest.mark.parametrize(
    "decoder",
    ["transformer", pytest.param("lstm", marks=pytest.mark.slow), pytest.param("gru", marks=pytest.mark.slow)],
)
def test_eight_devices_give_the_losses_of_one(config, decoder):
    config.train.label_smoothing, config.train.ema = 0.1, 0.9
    options = {"name": decoder} | ({"layers": 1, "heads": 4} if decoder == "transformer" else {})
    one = Run(config, encoder=VIT, decoder=options)
    eight = Run(config, encoder=VIT, decoder=options, mesh={"replica": 1, "data": 2, "fsdp": 2, "tensor": 2})
    sharded = [v for v in eight.state.params.values() if v.sharding.shard_shape(v.shape) != v.shape]
    assert len(sharded) >= 10, "parameters lie over fsdp and tensor"
    np.testing.assert_allclose(one(20), eight(20), atol=1e-5)


@pytest.mark.parametrize(("encoder", "accumulate"), [(VIT, 1), (VIT, 2), (CONV, 1)])
def test_two_slices_give_the_losses_of_one_device(config, encoder, accumulate):
    config.model.dropout, config.train.gradient_accumulation_steps = 0.0, accumulate
    config.train.label_smoothing, config.train.doubly_stochastic = 0.1, 0.5
    one = Run(config, encoder=encoder)
    eight = Run(config, encoder=encoder, mesh={"replica": 2, "data": 2, "fsdp": 2, "tensor": 1})
    np.testing.assert_allclose(one(20), eight(20), atol=1e-5)


@pytest.mark.parametrize("width", [32, 128])
def test_slices_give_the_losses_of_one_device_as_they_compute_elsewhere_than_on_cpu(config, monkeypatch, width):
    config.model.dropout = 0.0
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    one, eight = (
        Run(config, encoder=VIT, decoder={"name": "transformer", "layers": 1, "heads": 1}, mesh=mesh, width=width)
        for mesh in (ONE, {"replica": 2, "data": 2, "fsdp": 2, "tensor": 1})
    )
    np.testing.assert_allclose(one(10), eight(10), atol=1e-5)


def test_slices_draw_different_dropout(config):
    config.model.dropout, config.optimizer.learning_rate = 0.5, 0.0
    run = Run(config, encoder=VIT, mesh={"replica": 2, "data": 1, "fsdp": 1, "tensor": 1})
    data = batch(4)
    twice = jax.tree.map(lambda x: np.concatenate([x, x]), data)
    half = {**twice, "loss_mask": twice["loss_mask"] & (np.arange(8) < 4)[:, None]}
    other = {**twice, "loss_mask": twice["loss_mask"] & (np.arange(8) >= 4)[:, None]}
    first, second = (
        float(run.step(run.state, jax.device_put(each, run.rules.batch(8)))[1]["loss"]) for each in (half, other)
    )
    assert abs(first - second) > 1e-3, "the same photos on both slices lose different units"


@pytest.mark.parametrize("encoder", [VIT, CONV])
def test_accumulation_gives_the_gradient_of_one_large_batch(config, encoder):
    # Dropout draws and batch statistics differ by micro-batch, and are not part of the claim.
    config.model.dropout, config.model.encoder.frozen = 0.0, encoder is CONV
    config.train.doubly_stochastic = 0.5
    whole = Run(config, encoder=encoder)
    config.train.gradient_accumulation_steps = 4
    parts = Run(config, encoder=encoder)
    # The second loss is after an update, and so speaks of the gradient.
    np.testing.assert_allclose(whole(2), parts(2), atol=1e-6)


def test_a_frozen_encoder_and_its_statistics_stay_as_they_are(config):
    config.model.encoder.frozen = True
    run = Run(config, encoder=CONV)
    frozen, batch_stats = (jax.tree.map(np.array, tree) for tree in (run.state.frozen, run.state.batch_stats))
    before = jax.tree.map(np.array, run.state.params)
    run(2)
    assert any(name.startswith("encoders/vision/") for name in frozen) and batch_stats
    jax.tree.map(np.testing.assert_array_equal, frozen, jax.tree.map(np.array, run.state.frozen))
    jax.tree.map(np.testing.assert_array_equal, batch_stats, jax.tree.map(np.array, run.state.batch_stats))
    assert all((run.state.params[name] != before[name]).any() for name in before if name.endswith("kernel"))


def test_a_learning_encoder_updates_its_statistics(config):
    run = Run(config, encoder=CONV)
    before = jax.tree.map(np.array, run.state.batch_stats)
    run(1)
    assert any((np.array(run.state.batch_stats[name]) != before[name]).any() for name in before)


def test_freezing_by_name(config):
    config.optimizer.freeze = ("^fuser/", "embedding")
    run = Run(config, encoder=VIT)
    assert set(run.state.frozen) == {
        n for n in [*run.state.params, *run.state.frozen] if n.startswith("connectors/") or "embedding" in n
    }


def test_the_average_follows_the_parameters(config):
    config.train.ema = 0.5
    run = Run(config, encoder=VIT)
    name = "decoder/position"
    average = np.array(run.state.params[name])
    for i in range(3):
        run(1)
        decay = min(0.5, (1 + i) / (10 + i))
        average = average * decay + np.array(run.state.params[name]) * (1 - decay)
    np.testing.assert_allclose(run.state.ema[name], average, atol=1e-6)


def test_the_same_seed_gives_the_same_bits(config):
    first, second = Run(config, encoder=VIT), Run(config, encoder=VIT)
    assert first(3) == second(3)


def test_bfloat16_learns_too(config):
    def make(key):
        return Captioner(
            vocab=40, width=32, max_len=16, encoders=vision(VIT), image_size=32,
            decoder={"name": "transformer", "layers": 1, "heads": 4}, dtype=jnp.bfloat16, rngs=nnx.Rngs(key),
        )  # fmt: skip

    pure_model = PureModel.of(make)
    names = list(pure_model.shapes)
    optimizer, schedule = make_optimizer(config.optimizer, 100, names)
    state = make_init(pure_model, optimizer, names, ema=False)(make_key(0), {}, {})
    assert all(value.dtype == jnp.float32 for value in state.params.values())
    step = jax.jit(make_step(pure_model, optimizer, schedule, config.train, seed=0))
    losses = []
    for _ in range(8):
        state, metrics = step(state, batch())
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
