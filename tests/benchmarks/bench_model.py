"""Training step and decoding against Hugging Face's GIT in torch, of the same size, in one run.

    python tests/benchmarks/bench_model.py

ViT 12 x 384, patch 16, 224 px; text decoder 6 x 384, vocabulary 8192; AdamW, float32. The two take turns and the
best of the rounds counts, so that a busy machine disturbs both alike. Prints times and the ratio.
"""

import argparse
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from capjax.decode.search import beam_search, greedy_search
from capjax.models.captioner import Captioner
from capjax.models.functional import Functional, make_key
from capjax.train.optimizer import make_optimizer
from capjax.train.state import make_init
from capjax.train.step import make_step

VOCAB, WIDTH, TEXT_LEN = 8192, 384, 32


def best_of(rounds: int, *runs) -> list[float]:
    """Seconds of the fastest call of each, taking turns; one call each beforehand."""
    for run in runs:
        run()
    times = [[] for _ in runs]
    for _ in range(rounds):
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def make_functional() -> Functional:
    def make(key):
        return Captioner(
            vocab=VOCAB, width=WIDTH, max_len=64, encoder={"name": "vit_s16"}, dropout=0.0,
            decoder={"name": "transformer", "layers": 6, "heads": 6}, rngs=nnx.Rngs(key),
        )  # fmt: skip

    return Functional.of(make)


def make_git():
    import torch

    # torchvision beside torch's CPU build lacks these operators, and fails to import without their names.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from transformers import GitConfig, GitForCausalLM

    make_git.library = library  # its names last as long as it does
    torch.manual_seed(0)
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 12, "num_attention_heads": 6,
        "image_size": 224, "patch_size": 16,
    }  # fmt: skip
    return GitForCausalLM(
        GitConfig(
            vision_config=vision,
            vocab_size=VOCAB,
            hidden_size=WIDTH,
            num_hidden_layers=6,
            num_attention_heads=6,
            intermediate_size=4 * WIDTH,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )  # fmt: skip
    )


def our_batch(b: int) -> dict:
    rng = np.random.default_rng(0)
    return {
        "frames": rng.integers(0, 256, (b, 1, 224, 224, 3)).astype(np.uint8),
        "frame_times": np.zeros((b, 1), np.float32),
        "frame_mask": np.ones((b, 1), bool),
        "target": rng.integers(3, VOCAB, (b, TEXT_LEN + 1)).astype(np.int32),
        "loss_mask": np.ones((b, TEXT_LEN + 1), bool),
    }


def bench_step(functional, git, config, rounds: int):
    import torch

    names = list(functional.shapes)
    optimizer, schedule = make_optimizer(config.optimizer, 100, names)
    state = jax.jit(make_init(functional, optimizer, names, ema=False))(make_key(0), {}, {})
    step = jax.jit(make_step(functional, optimizer, schedule, config.train, seed=0), donate_argnums=0)
    batch, box = our_batch(8), [state]

    def ours():
        box[0], metrics = step(box[0], batch)
        jax.block_until_ready(metrics)

    pixels = torch.rand(8, 3, 224, 224)
    ids = torch.randint(3, VOCAB, (8, TEXT_LEN))
    adamw = torch.optim.AdamW(git.parameters(), lr=1e-4)

    def theirs():
        adamw.zero_grad()
        git(input_ids=ids, pixel_values=pixels, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(git.parameters(), 1.0)
        adamw.step()

    report("training step, batch 8", best_of(rounds, ours, theirs), 8)


def bench_decoding(functional, git, b: int, beams: int, rounds: int):
    import torch

    params, stats = jax.jit(functional.init)(make_key(0))
    never_ends = jnp.arange(VOCAB) == 2  # both write all 20 tokens

    @jax.jit
    def generate(params, batch):
        model = functional.bind(params, stats)
        fixed, state = model.decoder.init_cache(model.encode(batch), beams, 21)

        def step_fn(tokens, index, state):
            logits, state, _ = model.decoder.step(tokens, index, fixed, state)
            return logits, state

        options = {"max_len": 20, "eos_id": 2, "pad_id": 0, "suppressed": never_ends}
        prefix = jnp.ones((b, 1), jnp.int32)
        if beams == 1:
            return greedy_search(step_fn, state, prefix, **options).tokens
        return beam_search(step_fn, state, prefix, beams=beams, **options).tokens

    batch = our_batch(b)
    pixels = torch.rand(b, 3, 224, 224)
    git.eval()

    def ours():
        jax.block_until_ready(generate(params, batch))

    def theirs():
        with torch.no_grad():
            git.generate(pixel_values=pixels, num_beams=beams, max_new_tokens=20, min_new_tokens=20, do_sample=False)

    report(f"captions, batch {b}, beams {beams}", best_of(rounds, ours, theirs), b)


def report(what: str, times: list[float], items: int):
    ours, theirs = times
    print(
        f"{what:28} capjax {ours * 1e3:7.0f} ms ({items / ours:6.1f} images/s)   "
        f"GIT {theirs * 1e3:7.0f} ms ({items / theirs:6.1f} images/s)   ratio {theirs / ours:5.2f}",
        flush=True,
    )


def main():
    from pathlib import Path

    from capjax.config import load

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    config = load(str(Path(__file__).parents[2] / "configs/common.py"))
    functional, git = make_functional(), make_git()
    count = sum(int(np.prod(value.shape)) for value in functional.shapes.values())
    print(f"parameters: capjax {count / 1e6:.1f} M, GIT {sum(p.numel() for p in git.parameters()) / 1e6:.1f} M")
    bench_step(functional, git, config, args.rounds)
    bench_decoding(functional, git, 8, 4, args.rounds)
    bench_decoding(functional, git, 1, 1, args.rounds)


if __name__ == "__main__":
    main()
