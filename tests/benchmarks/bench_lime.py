"""Compares the time of LIME with that of teacher forcing, and with the `lime` package around the same program.

    python tests/benchmarks/bench_lime.py --workdir runs/flickr8k --photo photo.jpg --output lime.json

`forcing`: the log-probabilities of a caption for perturbed photos that are there already, by the jitted model, in the
fastest of several batch sizes. `lime`: LIME of capjax, with its segmentation, perturbations and linear models of all
words. `package`: `LimeImageExplainer` around the program of `forcing`, for the whole caption. All three are timed in
turns in one process, compilation aside; ratios are those of the medians, by the clock and by processor time, which
other programs on the machine affect less.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from capjax import runtime

# They divide 1,000.
BATCH_SIZES = (2, 4, 8, 20, 40)


def measure(args) -> dict:
    import jax
    import lime.lime_image

    import capjax
    from capjax.explain.lime import lime as capjax_lime
    from capjax.explain.lime import random_masks
    from capjax.explain.methods import Options
    from capjax.explain.model import CaptionedBatch, CaptionModel, from_frames
    from capjax.explain.perturbed import PerturbedItem

    predictor = capjax.load(args.workdir)
    model = CaptionModel(predictor)
    sample = predictor.read(args.photo)
    tokens = model.vocabulary.encode(args.caption)
    batch = model.batch([model.item(str(args.photo), sample, sample.frames[0], tokens, predictor.languages[0])])
    item, options = PerturbedItem(model, batch, 0), Options(samples=args.samples)
    (picture,), segments = item.shown, item.segments(options.segments)
    media = from_frames(batch.media)

    def log_probs(pictures: np.ndarray) -> jax.Array:
        def repeat(x):
            return np.repeat(np.asarray(x)[:1], len(pictures), axis=0)

        repeated = {name: repeat(value) for name, value in media.items() if name != "frames"}
        forced = CaptionedBatch(
            batch.items, {**repeated, "frames": pictures[:, None]}, repeat(batch.target), repeat(batch.word_tokens)
        )
        return model.word_log_probs(forced)

    visible = random_masks(args.samples, int(segments.max()) + 1)[:, segments[0], None]
    pictures = np.where(visible, picture, item.mean())

    def forcing(size: int, count: int):
        results = []
        for start in range(0, count, size):
            results.append(log_probs(pictures[start : start + size]))
            if len(results) > 1:
                results[-2].block_until_ready()
        jax.block_until_ready(results)

    def package(size: int):
        lime.lime_image.LimeImageExplainer(random_state=0).explain_instance(
            picture, lambda each: np.asarray(log_probs(each))[:, len(batch.items[0].words), None], labels=[0],
            top_labels=None, hide_color=item.mean(), num_samples=args.samples, batch_size=size,
            segmentation_fn=lambda _: item.segments(options.segments)[0],
        )  # fmt: skip

    def seconds(function, *arguments) -> tuple[float, float]:
        """By the clock, and of the processor."""
        clock, processor = time.perf_counter(), time.process_time()
        function(*arguments)
        return time.perf_counter() - clock, time.process_time() - processor

    by_size = {}
    for size in BATCH_SIZES:
        forcing(size, size)  # compiles
        count = max(size, args.trial)
        count -= count % size
        by_size[size] = min(seconds(forcing, size, count)[1] for _ in range(2)) / count
    best = min(by_size, key=by_size.__getitem__)
    capjax_lime(model, batch, Options(samples=options.segments))  # compiles
    turns = [
        {
            "forcing": seconds(forcing, best, args.samples),
            "lime": seconds(capjax_lime, model, batch, options),
            "package": seconds(package, best),
        }
        for _ in range(args.turns)
    ]
    results = {
        "samples": args.samples,
        "processor's milliseconds a pass by batch size": {size: 1000 * each for size, each in by_size.items()},
        "batch size": best, "turns": turns,
    }  # fmt: skip
    for number, measure in enumerate(("clock", "processor")):
        medians = {name: statistics.median(turn[name][number] for turn in turns) for name in turns[0]}
        results[f"lime / forcing, {measure}"] = medians["lime"] / medians["forcing"]
        results[f"package / lime, {measure}"] = medians["package"] / medians["lime"]
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--caption", default="a black and white dog is running through a field .")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--trial", type=int, default=64, help="passes for each batch size, before the best is timed")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    runtime.start()
    results = measure(args)
    args.output.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
