"""The training step of a tiny captioner on a mesh."""

import jax
import numpy as np
from flax import nnx

from capjax.models.captioner import Captioner
from capjax.models.pure_model import PureModel, make_key
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from capjax.train.optimizer import make_optimizer
from capjax.train.state import make_init, state_shardings, trainable_names
from capjax.train.step import make_step
from tests.helpers.drawn_models import vision

V, MAX_LEN, SIZE = 40, 16, 32


class StepRun:
    """A captioner with its training state and its step, jitted for a mesh of these sizes, 1 by default.

    Args:
      encoder: its name and options.
      options: of the captioner.
    """

    def __init__(self, config, mesh: dict[str, int] | None = None, *, encoder: dict, **options):
        def make(key):
            return Captioner(
                vocab=V, max_len=MAX_LEN, image_size=SIZE,
                encoders=vision(encoder, frozen=bool(config.model.encoder.frozen)), rngs=nnx.Rngs(key), **options,
            )  # fmt: skip

        sizes = dict.fromkeys(("replica", "data", "fsdp", "tensor"), 1) | (mesh or {})
        devices = jax.devices()[: int(np.prod(list(sizes.values())))]
        self.rules = ShardingRules(make_mesh(sizes, devices), config.mesh.logical_axis_rules)
        pure_model, key = PureModel.of(make), make_key(0)
        names = trainable_names(pure_model, config)
        optimizer, schedule = make_optimizer(config.optimizer, 100, names)
        init = make_init(pure_model, optimizer, names, ema=config.train.ema > 0)
        shardings = state_shardings(jax.eval_shape(init, key, {}, {}), pure_model, self.rules)
        step = make_step(pure_model, optimizer, schedule, config.train, self.rules, seed=0)
        self.state = jax.jit(init, out_shardings=shardings)(key, {}, {})
        self.step = jax.jit(self.rules.activate(step), out_shardings=(shardings, None))

    def advance(self, batch: dict) -> dict[str, float]:
        """Takes a step on a batch and returns its metrics."""
        batch = jax.device_put(batch, self.rules.batch(len(batch["target"])))
        self.state, metrics = self.step(self.state, batch)
        return jax.tree.map(float, metrics)


def draw_batch(*rows: int, b: int = 8, t: int = 1, length: int = 9, seed: int = 0) -> dict[str, np.ndarray]:
    """Items of one to t frames, with texts of all lengths; `rows`: texts of each."""
    rng = np.random.default_rng(seed)
    counts, lengths = rng.integers(1, t + 1, b), rng.integers(4, length + 1, (b, *rows))
    positions = np.arange(length)
    return {
        "frames": rng.integers(0, 256, (b, t, SIZE, SIZE, 3)).astype(np.uint8),
        "frame_times": np.arange(t, dtype=np.float32) * np.ones((b, 1), np.float32),
        "frame_mask": np.arange(t) < counts[:, None],
        "target": rng.integers(0, V, (b, *rows, length)).astype(np.int32),
        "loss_mask": (positions >= 2) & (positions < lengths[..., None]),
    }
