"""Accumulated micro-batches, and slices that take their parts of a batch, give what one large batch gives: losses,
every gradient, on videos with padding."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from capjax.models.captioner import Captioner
from capjax.models.pure_model import PureModel, make_key
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from capjax.train.optimizer import make_optimizer
from capjax.train.state import make_init, trainable_names
from capjax.train.step import make_step
from tests.helpers.drawn_models import vision

B, T, L, V, E = 8, 5, 9, 40, 3
VIT = {"name": "vit_tiny", "depth": 1, "width": 16, "heads": 2, "patch": 16}
CONV = {"name": "resnet10_slim", "channels": 4}
QUERIES = {"queries": 6, "layers": 1, "heads": 2, "events": E}
TEMPORAL = {"name": "transformer", "layers": 1, "heads": 2, "space": "same"}
DECODER = {"name": "transformer", "layers": 1, "heads": 2}


def videos(*rows: int) -> dict:
    """Videos of one to five frames, with texts of all lengths; `rows`: texts of each."""
    rng = np.random.default_rng(0)
    counts, lengths = rng.integers(1, T + 1, B), rng.integers(4, L + 1, (B, *rows))
    places = np.arange(L)
    return {
        "frames": rng.integers(0, 256, (B, T, 32, 32, 3)).astype(np.uint8),
        "frame_times": np.arange(T, dtype=np.float32) * np.ones((B, 1), np.float32),
        "frame_mask": np.arange(T) < counts[:, None],
        "target": rng.integers(0, V, (B, *rows, L)).astype(np.int32),
        "loss_mask": (places >= 2) & (places < lengths[..., None]),
    }


def events() -> dict:
    """Videos with none to three events each."""
    rng = np.random.default_rng(1)
    batch = videos(E)
    mask = np.arange(E) < np.arange(B)[:, None] % (E + 1)
    batch["loss_mask"] &= mask[..., None]
    start = rng.uniform(0, 0.5, (B, E))
    times = np.stack([start, start + rng.uniform(0.1, 0.5, (B, E))], axis=-1).astype(np.float32)
    return batch | {"event_mask": mask, "event_times": times, "duration": np.full(B, 5, np.float32)}


def steps(config, batch: dict, *ways, encoder, decoder=DECODER, **options) -> list[tuple[list[dict], dict]]:
    """For each of the ways, (micro-batches, slices): (metrics of two steps, the gradients of the first)."""

    def make(key):
        return Captioner(
            vocab=V, width=16, max_len=16, decoder=decoder, image_size=32,
            encoders=vision(encoder, frozen=config.model.encoder.frozen), rngs=nnx.Rngs(key), **options,
        )  # fmt: skip

    pure_model = PureModel.of(make)
    learns = trainable_names(pure_model, config)
    optimizer, schedule = make_optimizer(config.optimizer, 10, learns)
    start = jax.jit(make_init(pure_model, optimizer, learns, ema=False))(make_key(0), {}, {})
    found = []
    for config.train.gradient_accumulation_steps, slices in ways:
        mesh = make_mesh({"replica": slices, "data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:slices])
        rules = ShardingRules(mesh, config.mesh.logical_axis_rules)
        step = jax.jit(rules.activate(make_step(pure_model, optimizer, schedule, config.train, rules, seed=0)))
        state, first = step(start, batch)
        moment = optax.tree.get(state.opt_state, "mu")
        gradients = {name: np.array(value) / (1 - config.optimizer.b1) for name, value in moment.items()}
        _, second = step(state, batch)  # after an update
        found.append(([{name: float(value) for name, value in told.items()} for told in (first, second)], gradients))
    return found


CASES = {
    "several captions of a video": (lambda: videos(2), VIT, DECODER, {}),
    "frozen batch norm": (videos, CONV, DECODER, {}),
    "event queries": (events, VIT, DECODER, {"dense": True, "events": QUERIES, "temporal": TEMPORAL}),
}


@pytest.fixture
def config(common_config):
    # Draws of dropout, and batch norm's statistics of a batch, are a micro-batch's own: they are no part of the claim.
    common_config.optimizer.clip_norm = 0.0
    common_config.train.label_smoothing, common_config.train.doubly_stochastic = 0.1, 0.5
    return common_config


@pytest.mark.parametrize(
    "case",
    [case if case == "several captions of a video" else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
@pytest.mark.parametrize(("micros", "slices"), [(4, 1), (1, 2), (2, 2)])
def test_micro_batches_and_slices_give_losses_and_gradients_of_one_large_batch(config, case, micros, slices):
    make, encoder, decoder, options = CASES[case]
    config.model.encoder.frozen = encoder is CONV
    options = {"encoder": encoder, "decoder": decoder} | options
    (whole, gradients), (parts, summed) = steps(config, make(), (1, 1), (micros, slices), **options)
    for one, other in zip(whole, parts, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-6, atol=1e-6)
    assert max(abs(gradient).max() for gradient in gradients.values()) > 0.01
    for name, gradient in gradients.items():
        # Of an array of gradients up to 9, which are sums, one ulp is 1e-6 already.
        largest = max(abs(gradient).max(), 1.0)
        np.testing.assert_allclose(gradient / largest, summed[name] / largest, rtol=0, atol=1e-6, err_msg=name)
