import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from capjax.config import ConfigError
from capjax.train.optimizer import make_optimizer, make_schedule


@pytest.fixture
def config(common_config):
    config = common_config.optimizer
    config.warmup_steps, config.clip_norm, config.learning_rate = 0, 0.0, 0.1
    config.schedule = "constant"
    return config


def run(config, steps=5, start=None):
    """Parameters after a few steps on the gradient of sum((p - 1)^2 * scale)."""
    params = start or {"a/kernel": jnp.array([[2.0, -3.0]]), "a/bias": jnp.array([0.5])}
    optimizer, _ = make_optimizer(config, 100, list(params))
    state = optimizer.init(params)
    for _ in range(steps):
        grads = jax.tree.map(lambda p: 2 * (p - 1), params)
        updates, state = optimizer.update(grads, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_adam_and_adamw_equal_torch(config, name, kind):
    config.name, config.weight_decay, config.no_decay = name, 0.3, ()
    weight = torch.nn.Parameter(torch.tensor([[2.0, -3.0]]))
    optimizer = kind([weight], lr=0.1, weight_decay=0.3, betas=(config.b1, config.b2))
    for _ in range(5):
        optimizer.zero_grad()
        ((weight - 1) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(run(config)["a/kernel"], weight.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw", "adafactor", "lion", "muon"])
def test_every_optimizer_goes_downhill(config, name):
    config.name, config.learning_rate = name, 0.3 if name == "muon" else 0.05  # Muon's matrix has two numbers here
    before, after = run(config, 0), run(config, 60)
    for key in before:
        assert np.abs(after[key] - 1).sum() < 0.5 * np.abs(before[key] - 1).sum()


def test_decay_spares_what_the_patterns_name(config):
    config.weight_decay, config.learning_rate = 0.5, 0.01
    spared = run(config)
    config.no_decay = ()
    decayed = run(config)
    assert float(spared["a/bias"][0]) != float(decayed["a/bias"][0])
    np.testing.assert_array_equal(spared["a/kernel"], decayed["a/kernel"])


def test_a_rate_factor_scales_the_step(config):
    full = run(config, 1)
    config.lr_multipliers = (("kernel", 0.1),)
    slow = run(config, 1)
    np.testing.assert_allclose(
        slow["a/kernel"] - run(config, 0)["a/kernel"], 0.1 * (full["a/kernel"] - run(config, 0)["a/kernel"]), rtol=1e-4
    )
    np.testing.assert_array_equal(slow["a/bias"], full["a/bias"])


def test_a_pattern_that_matches_nothing_is_an_error(config):
    config.lr_multipliers = (("encodr/", 0.1),)
    with pytest.raises(ConfigError, match=r"encodr.*a/kernel"):
        make_optimizer(config, 10, ["a/kernel"])


def test_schedules_warm_up_to_the_peak_and_come_down(config):
    config.warmup_steps, config.learning_rate = 10, 1.0
    for name, end in (("cosine", 0.0), ("linear", 0.0), ("rsqrt", (10 / 100) ** 0.5), ("constant", 1.0)):
        config.schedule = name
        schedule = make_schedule(config, 100)
        rates = [float(schedule(step)) for step in range(100)]
        assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
        assert rates[9] == pytest.approx(1.0)
        assert rates[:10] == sorted(rates[:10])
        assert rates[-1] == pytest.approx(end, abs=0.02)


@pytest.mark.parametrize("warmup", [0, 1, 2, 10])
@pytest.mark.parametrize("end_factor", [0.0, 0.1])
def test_the_decay_ends_at_the_last_step_with_and_without_a_warmup(config, warmup, end_factor):
    config.warmup_steps, config.learning_rate, config.end_factor = warmup, 0.5, end_factor
    rising = np.linspace(0.5 / max(warmup, 1), 0.5, max(warmup, 1))
    share = np.linspace(0, 1, 100 - len(rising) + 1)[1:]  # of the decay that is behind, at each step after the peak
    falling = {"linear": 1 - share, "cosine": (1 + np.cos(np.pi * share)) / 2}
    for config.schedule, factors in falling.items():
        schedule = make_schedule(config, 100)
        expected = [*rising, *(0.5 * (factors * (1 - end_factor) + end_factor))]
        np.testing.assert_allclose([schedule(step) for step in range(100)], expected, rtol=1e-4, atol=1e-6)


def test_muons_direction_is_the_nearest_orthogonal_matrix_whatever_the_kernels_form(config):
    """Of a stack each layer by itself, of a convolution window and inputs together; the rest are Adam's."""
    config.name, config.b1, config.learning_rate = "muon", 0.9, 1.0
    rng = np.random.default_rng(0)
    shapes = {
        "plain/kernel": (6, 9),
        "stack/kernel": (3, 6, 9),
        "conv/kernel": (2, 2, 3, 8),
        "clip/kernel": (2, 2, 2, 1, 5),
        "words/table": (7, 4),
    }
    params = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    grads = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    optimizer, _ = make_optimizer(config, 100, list(params))
    updates, _ = optimizer.update(grads, optimizer.init(params), params)

    def spread(update):
        """Singular values, of which the five Newton-Schulz iterations leave all near 1 (Jordan 2024)."""
        rows, columns = update.shape
        return np.linalg.svd(np.asarray(update) / (0.2 * max(rows, columns) ** 0.5), compute_uv=False)

    matrices = [updates["plain/kernel"], *updates["stack/kernel"]]
    matrices += [updates["conv/kernel"].reshape(12, 8), updates["clip/kernel"].reshape(8, 5)]
    for matrix in matrices:
        assert (np.abs(spread(matrix) - 1) < 0.4).all()
    for update, grad in zip(updates["stack/kernel"], grads["stack/kernel"], strict=True):
        u, _, v = np.linalg.svd(np.asarray(grad), full_matrices=False)
        assert (np.asarray(update) * -(u @ v)).sum() > 0.95 * np.linalg.norm(update) * np.linalg.norm(u @ v)
    np.testing.assert_array_equal(np.sign(updates["words/table"]), -np.sign(grads["words/table"]))
