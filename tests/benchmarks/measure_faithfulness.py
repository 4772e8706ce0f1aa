"""Measures deletion and insertion curves of explanation methods on photos, beside random maps and the center.

    python tests/benchmarks/measure_faithfulness.py --workdir runs/flickr8k --photos photos.txt --output curves.json

Captions are those that the model writes. The curves are those of the word that depends most on the photo: its
log-probability falls most when the whole photo is hidden. `random_grid` and `random_segments` have random values in a
grid of 7 x 7 cells and in the superpixels of the photo. A run that was stopped goes on with the photos that the output
file does not have yet. For each method and baseline the table has the mean difference
of areas over the photos, and the p-value of Wilcoxon's signed-rank test of the paired areas.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from capjax import runtime

METHODS = ("attention", "gradcam", "occlusion", "lime")
BASELINES = ("random_grid", "random_segments", "center")


def baseline_maps(item, segments: int, rng: np.random.Generator) -> dict:
    """Maps that know nothing of the model."""
    from capjax.explain.explanation import Geometry, HeatMaps

    height, width = item.shown.shape[1:3]
    labels = item.segments(segments)
    y, x = np.mgrid[:height, :width]
    drawn = {
        "random_grid": rng.random((7, 7), np.float32),
        "random_segments": rng.random(int(labels.max()) + 1, np.float32)[labels[0]],
        "center": -np.hypot((x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5).astype(np.float32),
    }
    geometry = Geometry.whole(width, height)
    return {name: HeatMaps(map[None, None], np.zeros(1, np.float32), geometry) for name, map in drawn.items()}


def measure(args) -> list[dict]:
    """The areas of deletion and insertion of each photo, by method and baseline."""
    import capjax
    from capjax.explain.faithfulness import curves, most_visual_word
    from capjax.explain.methods import METHODS as REGISTRY
    from capjax.explain.methods import Options
    from capjax.explain.model import CaptionModel
    from capjax.explain.perturbed import PerturbedItem

    predictor = capjax.load(args.workdir)
    model, options = CaptionModel(predictor), Options(samples=args.samples, segments=args.segments)
    photos = [path for path in args.photos.read_text().splitlines() if path][: args.count]
    captions = predictor.caption(photos, num_beams=4, consensus_weight=0.0)
    rows = json.loads(args.output.read_text()) if args.output.exists() else []
    if [row["photo"] for row in rows] != [Path(photo).name for photo in photos[: len(rows)]]:
        raise SystemExit(f"{args.output} is of other photos; remove it, or give another file")
    for number, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
        if number < len(rows):
            continue
        sample = predictor.read(photo)
        batch = model.batch([model.item(photo, sample, sample.frames[0], caption.tokens, caption.lang)])
        item = PerturbedItem(model, batch, 0)
        maps = {name: REGISTRY.get(name)(model, batch, options)[0] for name in METHODS}
        maps |= baseline_maps(item, args.segments, np.random.default_rng(number))
        word = most_visual_word(item)
        areas = {name: each.areas() for name, each in curves(item, maps, word, steps=args.steps).items()}
        text = batch.items[0].words[word].text
        rows.append({"photo": Path(photo).name, "caption": caption.text, "word": text, "areas": areas})
        args.output.write_text(json.dumps(rows, indent=1))
    return rows


def table(rows: list[dict]) -> str:
    areas = {name: np.array([row["areas"][name] for row in rows]) for name in (*METHODS, *BASELINES)}
    lines = [f"{len(rows)} photos", "method            deletion insertion"]
    lines += [f"{name:18}{mean[0]:8.4f}{mean[1]:10.4f}" for name, each in areas.items() for mean in [each.mean(0)]]
    lines.append("method            baseline             deletion        p   insertion        p")
    for name, baseline in itertools.product(METHODS, BASELINES):
        difference = areas[name] - areas[baseline]
        tests = [(difference[:, k].mean(), wilcoxon(difference[:, k]).pvalue) for k in (0, 1)]
        lines.append(f"{name:18}{baseline:18}" + "".join(f"{mean:+11.4f} {p:8.1e}" for mean, p in tests))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True, help="a file with the path of one photo in each line")
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the areas of each photo")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--segments", type=int, default=50)
    parser.add_argument("--steps", type=int, default=10)
    runtime.start()
    print(table(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
