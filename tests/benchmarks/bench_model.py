"""Training step and decoding against Hugging Face's GIT in torch, of the same size, in one run.

    python tests/benchmarks/bench_model.py

ViT 12 x 384, patch 16, 224 px; text decoder 6 x 384, vocabulary 8192; AdamW, float32. Each library has a process of
its own (the threads of one would disturb the other); the two take turns, and the best of the rounds counts, so that a
busy machine disturbs both alike. Prints times and the ratio.
"""

import argparse
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np

VOCAB, WIDTH, TEXT_LEN = 8192, 384, 32
# What is timed -> images a call.
TASKS = {"parameters": 0, "training step, batch 8": 8, "captions, batch 8, beams 4": 8, "captions, batch 1, greedy": 1}


def our_batch(b: int) -> dict:
    rng = np.random.default_rng(0)
    return {
        "frames": rng.integers(0, 256, (b, 1, 224, 224, 3)).astype(np.uint8),
        "frame_times": np.zeros((b, 1), np.float32),
        "frame_mask": np.ones((b, 1), bool),
        "target": rng.integers(3, VOCAB, (b, TEXT_LEN + 1)).astype(np.int32),
        "loss_mask": np.ones((b, TEXT_LEN + 1), bool),
    }


def make_ours() -> dict:
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from capjax.config import load
    from capjax.decode.search import beam_search, greedy_search
    from capjax.models.captioner import Captioner
    from capjax.models.functional import Functional, make_key
    from capjax.train.optimizer import make_optimizer
    from capjax.train.state import make_init
    from capjax.train.step import make_step

    def make(key):
        return Captioner(
            vocab=VOCAB, width=WIDTH, max_len=64, encoder={"name": "vit_s16"}, dropout=0.0,
            decoder={"name": "transformer", "layers": 6, "heads": 6}, rngs=nnx.Rngs(key),
        )  # fmt: skip

    functional = Functional.of(make)
    config = load(str(Path(__file__).parents[2] / "configs/common.py"))
    names = list(functional.shapes)
    optimizer, schedule = make_optimizer(config.optimizer, 100, names)
    box = [jax.jit(make_init(functional, optimizer, names, ema=False))(make_key(0), {}, {})]
    train = jax.jit(make_step(functional, optimizer, schedule, config.train, seed=0), donate_argnums=0)
    params, stats = jax.jit(functional.init)(make_key(0))
    never_ends = jnp.arange(VOCAB) == 2  # both write all 20 tokens

    def step(batch):
        box[0], metrics = train(box[0], batch)
        jax.block_until_ready(metrics)

    def generate(beams):
        def run(params, batch):
            model = functional.bind(params, stats)
            fixed, state = model.decoder.init_cache(model.encode(batch), beams, 21)

            def step_fn(tokens, index, state):
                logits, state, _ = model.decoder.step(tokens, index, fixed, state)
                return logits, state

            options = {"max_len": 20, "eos_id": 2, "pad_id": 0, "suppressed": never_ends}
            prefix = jnp.ones((batch["frames"].shape[0], 1), jnp.int32)
            if beams == 1:
                return greedy_search(step_fn, state, prefix, **options).tokens
            return beam_search(step_fn, state, prefix, beams=beams, **options).tokens

        return jax.jit(run)

    beam, greedy, eight, one = generate(4), generate(1), our_batch(8), our_batch(1)
    calls = (
        lambda: sum(int(np.prod(value.shape)) for value in functional.shapes.values()),
        lambda: step(eight),
        lambda: jax.block_until_ready(beam(params, eight)),
        lambda: jax.block_until_ready(greedy(params, one)),
    )
    return dict(zip(TASKS, calls, strict=True))


def make_git() -> dict:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    # torchvision beside torch's CPU build lacks these operators, and fails to import without their names.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from transformers import GitConfig, GitForCausalLM

    torch.manual_seed(0)
    size = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 6}
    git = GitForCausalLM(
        GitConfig(
            vision_config={"num_hidden_layers": 12, "image_size": 224, "patch_size": 16, **size},
            vocab_size=VOCAB,
            num_hidden_layers=6,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            **size,
        )
    )
    pixels = torch.rand(8, 3, 224, 224)
    ids = torch.randint(3, VOCAB, (8, TEXT_LEN))
    adamw = torch.optim.AdamW(git.parameters(), lr=1e-4)

    def step():
        git.train()
        adamw.zero_grad()
        git(input_ids=ids, pixel_values=pixels, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(git.parameters(), 1.0)
        adamw.step()

    def generate(b, beams):
        git.eval()
        with torch.no_grad():
            git.generate(
                pixel_values=pixels[:b], num_beams=beams, max_new_tokens=20, min_new_tokens=20, do_sample=False
            )

    calls = (
        lambda: sum(value.numel() for value in git.parameters()),
        step,
        lambda: generate(8, 4),
        lambda: generate(1, 1),
    )
    return dict(zip(TASKS, calls, strict=True)) | {"library": library}  # its names last as long as it does


def serve(make, pipe):
    """Does what the pipe asks for by name, and answers with (seconds, result)."""
    calls = make()
    while (task := pipe.recv()) is not None:
        start = time.perf_counter()
        result = calls[task]()
        pipe.send((time.perf_counter() - start, result if isinstance(result, int) else None))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipes, children = [], []
    for make in (make_ours, make_git):
        near, far = context.Pipe()
        children.append(context.Process(target=serve, args=(make, far), daemon=True))
        children[-1].start()
        pipes.append(near)

    def ask(pipe, task):
        time.sleep(0.3)  # until the other's threads, which spin for a while after their work, sleep
        pipe.send(task)
        return pipe.recv()

    ours, theirs = (ask(pipe, "parameters")[1] / 1e6 for pipe in pipes)
    print(f"parameters: capjax {ours:.1f} M, GIT {theirs:.1f} M", flush=True)
    for task, items in list(TASKS.items())[1:]:
        times = [[ask(pipe, task)[0] for pipe in pipes] for _ in range(args.rounds + 1)][1:]
        ours, theirs = map(min, zip(*times, strict=True))
        print(
            f"{task:28} capjax {ours * 1e3:7.0f} ms ({items / ours:6.1f} images/s)   "
            f"GIT {theirs * 1e3:7.0f} ms ({items / theirs:6.1f} images/s)   ratio {theirs / ours:5.2f}",
            flush=True,
        )
    for pipe, child in zip(pipes, children, strict=True):
        pipe.send(None)
        child.join()


if __name__ == "__main__":
    main()
