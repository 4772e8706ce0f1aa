"""The training step on a tiny captioner with random data: on one device and on several, whole and in micro-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.helpers.step_run import StepRun, draw_batch

VIT, SMALL_VIT = {"name": "vit_tiny", "depth": 1}, {"name": "vit_tiny", "depth": 1, "width": 16, "heads": 2}
CONV = {"name": "resnet10_slim", "channels": 8}
TRANSFORMER = {"name": "transformer", "layers": 1, "heads": 4}
SLICES = {"replica": 2, "data": 2, "fsdp": 2}


@pytest.fixture
def config(common_config):
    common_config.optimizer.learning_rate = 1e-3
    return common_config


def make(config, mesh=None, *, encoder=VIT, decoder=TRANSFORMER, width=32, **options) -> StepRun:
    options = {"dropout": config.model.dropout} | options
    return StepRun(config, mesh, encoder=encoder, decoder=decoder, width=width, **options)


def losses(run: StepRun, steps: int, b: int = 8) -> list[float]:
    return [run.advance(draw_batch(b=b, seed=i))["loss"] for i in range(steps)]


@pytest.mark.parametrize(
    "decoder",
    ["transformer", pytest.param("lstm", marks=pytest.mark.slow), pytest.param("gru", marks=pytest.mark.slow)],
)
def test_eight_devices_give_the_losses_of_one(config, decoder):
    config.train.label_smoothing, config.train.ema = 0.1, 0.9
    decoder = TRANSFORMER if decoder == "transformer" else {"name": decoder}
    one = make(config, decoder=decoder)
    eight = make(config, {"data": 2, "fsdp": 2, "tensor": 2}, decoder=decoder)
    sharded = [v for v in eight.state.params.values() if v.sharding.shard_shape(v.shape) != v.shape]
    assert len(sharded) >= 10, "parameters lie over fsdp and tensor"
    np.testing.assert_allclose(losses(one, 20), losses(eight, 20), atol=1e-5)


@pytest.mark.parametrize(("encoder", "accumulate"), [(VIT, 1), (VIT, 2), (CONV, 1)])
def test_two_slices_give_the_losses_of_one_device(config, encoder, accumulate):
    config.model.dropout, config.train.gradient_accumulation_steps = 0.0, accumulate
    config.train.label_smoothing, config.train.doubly_stochastic = 0.1, 0.5
    one, eight = (make(config, mesh, encoder=encoder) for mesh in (None, SLICES))
    np.testing.assert_allclose(losses(one, 20), losses(eight, 20), atol=1e-5)


@pytest.mark.parametrize("width", [32, 128])
def test_slices_give_the_losses_of_one_device_as_they_compute_elsewhere_than_on_cpu(config, monkeypatch, width):
    config.model.dropout = 0.0
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    decoder = TRANSFORMER | {"heads": 1}
    one, eight = (make(config, mesh, decoder=decoder, width=width) for mesh in (None, SLICES))
    np.testing.assert_allclose(losses(one, 10), losses(eight, 10), atol=1e-5)


def test_weights_of_items_give_the_losses_of_one_device_on_slices_and_in_micro_batches(config):
    config.model.dropout = 0.0
    batches = [draw_batch(seed=i) | {"loss_weight": np.linspace(0, 3, 8, dtype=np.float32)} for i in range(5)]
    one, slices = make(config), make(config, SLICES)
    config.train.gradient_accumulation_steps = 2
    in_parts = make(config)
    first, *others = ([run.advance(batch)["loss"] for batch in batches] for run in (one, slices, in_parts))
    for values in others:
        np.testing.assert_allclose(first, values, atol=1e-5)


def test_slices_draw_different_dropout(config):
    config.model.dropout, config.optimizer.learning_rate = 0.5, 0.0
    run = make(config, {"replica": 2})
    twice = jax.tree.map(lambda x: np.concatenate([x, x]), draw_batch(b=4))
    halves = (np.arange(8) < 4, np.arange(8) >= 4)
    first, second = (
        float(run.step(run.state, twice | {"loss_mask": twice["loss_mask"] & half[:, None]})[1]["loss"])
        for half in halves
    )
    assert abs(first - second) > 1e-3, "the same photos on both slices lose different units"


def events(seed: int) -> dict:
    """Videos with none to three events each."""
    b, e = 8, 3
    batch, rng = draw_batch(e, t=5, seed=seed), np.random.default_rng(1)
    mask = np.arange(e) < np.arange(b)[:, None] % (e + 1)
    batch["loss_mask"] &= mask[..., None]
    start = rng.uniform(0, 0.5, (b, e))
    times = np.stack([start, start + rng.uniform(0.1, 0.5, (b, e))], axis=-1).astype(np.float32)
    return batch | {"event_mask": mask, "event_times": times, "duration": np.full(b, 5, np.float32)}


# Batches, and options of the captioner.
CASES = {
    "several captions of a video": (lambda seed: draw_batch(2, t=5, seed=seed), {"encoder": SMALL_VIT}),
    "frozen batch norm": (lambda seed: draw_batch(t=5, seed=seed), {"encoder": CONV | {"channels": 4}}),
    "event queries": (events, {
        "encoder": SMALL_VIT, "dense": True, "events": {"queries": 6, "layers": 1, "heads": 2, "events": 3},
        "temporal": {"name": "transformer", "layers": 1, "heads": 2, "space": "same"},
    }),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "micro_batches", "slices"),
    [
        ("several captions of a video", 4, 1), ("several captions of a video", 1, 2),
        ("several captions of a video", 2, 2), ("frozen batch norm", 4, 1),
        *(pytest.param("frozen batch norm", *ways, marks=pytest.mark.slow) for ways in ((1, 2), (2, 2))),
        *(pytest.param("event queries", *ways, marks=pytest.mark.slow) for ways in ((4, 1), (1, 2), (2, 2))),
    ],
)  # fmt: skip
def test_micro_batches_and_slices_give_losses_and_gradients_of_one_large_batch(config, case, micro_batches, slices):
    # Draws of dropout, and batch norm's statistics of a batch, are a micro-batch's own: they are no part of the claim.
    config.optimizer.clip_norm, config.model.dropout = 0.0, 0.0
    config.train.label_smoothing, config.train.doubly_stochastic = 0.1, 0.5
    config.model.encoder.frozen = case == "frozen batch norm"
    draw, options = CASES[case]
    results = []
    for config.train.gradient_accumulation_steps, replicas in ((1, 1), (micro_batches, slices)):
        run = make(config, {"replica": replicas}, decoder=TRANSFORMER | {"heads": 2}, width=16, **options)
        first = run.advance(draw(0))
        moment = optax.tree.get(run.state.opt_state, "mu")
        gradients = {name: np.array(value) / (1 - config.optimizer.b1) for name, value in moment.items()}
        results.append((first, run.advance(draw(0)), gradients))  # the second metrics are those after an update
    (*whole, gradients), (*parts, summed) = results
    for one, other in zip(whole, parts, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-6, atol=1e-6)
    assert max(abs(gradient).max() for gradient in gradients.values()) > 0.01
    for name, gradient in gradients.items():
        # Of an array of gradients up to 9, which are sums, one ulp is 1e-6 already.
        largest = max(abs(gradient).max(), 1.0)
        np.testing.assert_allclose(gradient / largest, summed[name] / largest, rtol=0, atol=1e-6, err_msg=name)


def test_a_frozen_encoder_and_its_statistics_stay_as_they_are(config):
    config.model.encoder.frozen = True
    run = make(config, encoder=CONV)
    frozen, batch_stats = (jax.tree.map(np.array, tree) for tree in (run.state.frozen, run.state.batch_stats))
    before = jax.tree.map(np.array, run.state.params)
    losses(run, 2)
    assert any(name.startswith("encoders/vision/") for name in frozen) and batch_stats
    jax.tree.map(np.testing.assert_array_equal, frozen, jax.tree.map(np.array, run.state.frozen))
    jax.tree.map(np.testing.assert_array_equal, batch_stats, jax.tree.map(np.array, run.state.batch_stats))
    assert all((run.state.params[name] != before[name]).any() for name in before if name.endswith("kernel"))


def test_a_learning_encoder_updates_its_statistics(config):
    run = make(config, encoder=CONV)
    before = jax.tree.map(np.array, run.state.batch_stats)
    losses(run, 1)
    assert any((np.array(run.state.batch_stats[name]) != before[name]).any() for name in before)


def test_freezing_by_name(config):
    config.optimizer.freeze = ("^fuser/", "embedding")
    run = make(config)
    assert set(run.state.frozen) == {
        n for n in [*run.state.params, *run.state.frozen] if n.startswith("connectors/") or "embedding" in n
    }


def test_the_average_follows_the_parameters(config):
    config.train.ema = 0.5
    run = make(config)
    name = "decoder/position"
    average = np.array(run.state.params[name])
    for i in range(3):
        losses(run, 1)
        decay = min(0.5, (1 + i) / (10 + i))
        average = average * decay + np.array(run.state.params[name]) * (1 - decay)
    np.testing.assert_allclose(run.state.ema[name], average, atol=1e-6)


def test_the_same_seed_gives_the_same_bits(config):
    first, second = make(config), make(config)
    assert losses(first, 3) == losses(second, 3)


def test_bfloat16_learns_too(config):
    run = make(config, dtype=jnp.bfloat16, dropout=0.0)
    assert all(value.dtype == jnp.float32 for value in run.state.params.values())
    loss = [run.advance(draw_batch())["loss"] for _ in range(8)]
    assert loss[-1] < loss[0]
