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

import numpy as np

VOCAB, WIDTH, TEXT_LEN = 8192, 384, 32
# What is timed -> images a call.
TASKS = {"training step, batch 8": 8, "captions, batch 8, beams 4": 8, "captions, batch 1, greedy": 1}


def our_batch(b: int) -> dict:
    rng = np.random.default_rng(0)
    return {
        "frames": rng.integers(0, 256, (b, 1, 224, 224, 3)).astype(np.uint8),
        "frame_times": np.zeros((b, 1), np.float32),
        "frame_mask": np.ones((b, 1), bool),
        "target": rng.integers(3, VOCAB, (b, TEXT_LEN + 1)).astype(np.int32),
        "loss_mask": np.ones((b, TEXT_LEN + 1), bool),
    }


def make_ours(task: str):
    """(a call that does the task, parameters of the model)"""
    from capjax import runtime

    runtime.start(training="training" in task)  # as every command of ours does

    import jax
    import jax.numpy as jnp
    from flax import nnx

    from capjax.config import default_config
    from capjax.decode.search import beam_search, greedy_search
    from capjax.models.captioner import Captioner, EncoderSpec
    from capjax.models.pure_model import PureModel, make_key
    from capjax.train.optimizer import make_optimizer
    from capjax.train.state import make_init
    from capjax.train.step import make_step

    def make(key):
        return Captioner(
            vocab=VOCAB, width=WIDTH, max_len=64, encoders={"vision": EncoderSpec("vit_s16")}, dropout=0.0,
            decoder={"name": "transformer", "layers": 6, "heads": 6}, rngs=nnx.Rngs(key),
        )  # fmt: skip

    pure_model = PureModel.of(make)
    names, batch = list(pure_model.shapes), our_batch(TASKS[task])
    size = sum(int(np.prod(value.shape)) for value in pure_model.shapes.values())

    def training():
        config = default_config()
        optimizer, schedule = make_optimizer(config.optimizer, 100, names)
        box = [jax.jit(make_init(pure_model, optimizer, names, ema=False))(make_key(0), {}, {})]
        train = jax.jit(make_step(pure_model, optimizer, schedule, config.train, seed=0), donate_argnums=0)

        def step():
            box[0], metrics = train(box[0], batch)
            jax.block_until_ready(metrics)

        return step

    def decoding(num_beams):
        params, batch_stats = jax.jit(pure_model.init)(make_key(0))
        never_ends = jnp.arange(VOCAB) == 2  # both write all 20 tokens

        @jax.jit
        def run(params, batch):
            model = pure_model.bind(params, batch_stats)
            fixed, state = model.decoder.init_cache(model.encode(batch), num_beams, 21)

            def step_fn(tokens, index, state):
                logits, state, _ = model.decoder.step(tokens, index, fixed, state)
                return logits, state

            options = {"max_len": 20, "eos_id": 2, "pad_id": 0, "suppressed": never_ends}
            prefix = jnp.ones((batch["frames"].shape[0], 1), jnp.int32)
            if num_beams == 1:
                return greedy_search(step_fn, state, prefix, **options).tokens
            return beam_search(step_fn, state, prefix, num_beams=num_beams, **options).tokens

        return lambda: jax.block_until_ready(run(params, batch))

    return (training() if "training" in task else decoding(4 if "beams" in task else 1)), size


def make_git(task: str):
    """(a call that does the task, parameters of the model)"""
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
    git.library = library  # its names last as long as it does
    b, num_beams = TASKS[task], 4 if "beams" in task else 1
    pixels = torch.rand(b, 3, 224, 224)
    ids = torch.randint(3, VOCAB, (b, TEXT_LEN))
    adamw = torch.optim.AdamW(git.parameters(), lr=1e-4)

    def step():
        adamw.zero_grad()
        git(input_ids=ids, pixel_values=pixels, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(git.parameters(), 1.0)
        adamw.step()

    @torch.no_grad
    def generate():
        git.generate(pixel_values=pixels, num_beams=num_beams, max_new_tokens=20, min_new_tokens=20, do_sample=False)

    git.train("training" in task)
    return (step if "training" in task else generate), sum(value.numel() for value in git.parameters())


def serve(make, task: str, pipe):
    """Answers with the parameters, then with the seconds of a call for each message."""
    call, size = make(task)
    call()
    pipe.send(size)
    while pipe.recv():
        start = time.perf_counter()
        call()
        pipe.send(time.perf_counter() - start)


def compare(task: str, rounds: int) -> tuple[list[float], list[int]]:
    """Seconds of the fastest call of each, and parameters of each."""
    context = multiprocessing.get_context("spawn")
    pipes, children = [], []
    for make in (make_ours, make_git):
        near, far = context.Pipe()
        children.append(context.Process(target=serve, args=(make, task, far), daemon=True))
        children[-1].start()
        pipes.append(near)
    sizes, times = [pipe.recv() for pipe in pipes], [[], []]
    for _ in range(rounds):
        for pipe, taken in zip(pipes, times, strict=True):
            time.sleep(0.3)  # until the other's threads, which spin for a while after their work, sleep
            pipe.send(True)
            taken.append(pipe.recv())
    for pipe, child in zip(pipes, children, strict=True):
        pipe.send(False)
        child.join()
    return [min(taken) for taken in times], sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    for task, items in TASKS.items():
        (ours, theirs), sizes = compare(task, args.rounds)
        print(
            f"{task:28} capjax ({sizes[0] / 1e6:.1f} M) {ours * 1e3:5.0f} ms, {items / ours:5.1f} images/s   "
            f"GIT ({sizes[1] / 1e6:.1f} M) {theirs * 1e3:5.0f} ms, {items / theirs:5.1f} images/s   "
            f"ratio {theirs / ours:5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
