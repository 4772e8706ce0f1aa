"""Measures explanations against pictures and videos whose truth is known.

    python tests/benchmarks/measure_explain.py pointing --workdir demo/model
    python tests/benchmarks/measure_explain.py sanity --workdir demo/model --count 50 \\
        --method attention,gradcam,occlusion,lime --samples 200
    python tests/benchmarks/measure_explain.py speed --workdir runs/flickr8k --count 100 --photos photos.txt
    python tests/benchmarks/measure_explain.py temporal --workdir runs/queries --count 60

`sanity`: the mean rank correlation of maps with those of the model whose layers are replaced by random ones, one after
another (Adebayo et al. 2018); and of the maps of two such random models, which share their superpixels.

`speed`: the time of attention and Grad-CAM of every word, reading the photos and all else, against that of captioning
them with beam 4; without `--photos`, of drawn scenes.

`temporal`: the temporal IoU of thresholded maps over time with the true spans of events of generated videos; the
threshold is chosen on training videos.

`pointing`: the pointing game (Zhang et al. 2018) on drawn scenes outside the training set: how often the maximum of the
map of a shape or color word lies in the box of its thing, beside a random point and the center.
"""

import argparse
import itertools
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import capjax
from capjax.explain import Explanation
from capjax.explain.methods import Options
from capjax.explain.model import CaptionModel
from data_prep.synthetic.moving.draw import MovingVideo
from data_prep.synthetic.moving.scene import make_moving_scene
from data_prep.synthetic.shapes.draw import SceneImage
from data_prep.synthetic.shapes.grammar import captions
from data_prep.synthetic.shapes.scene import Scene, Thing, make_scene
from tests.helpers.sanity_check import maps_of, mean_rank_correlation, randomized

# Scenes are drawn from their numbers; those of the training set come first.
FIRST_SCENE = 1_000_000


def outside_scenes(count: int, seed: int = 0) -> list[Scene]:
    """Scenes that no dataset of fewer than a million pictures has."""
    return [make_scene(seed, FIRST_SCENE + number) for number in range(count)]


def named_things(explanation: Explanation, scene: Scene) -> list[tuple[int, Thing]]:
    """The number of each shape and color word of a true English caption, with the thing that it names."""
    texts = [word.text.lower() for word in explanation.words]
    pairs = []
    for number, (first, second) in enumerate(itertools.pairwise(texts)):
        for thing in scene.things:
            if (first, second) == (thing.color, thing.shape):
                pairs += [(number, thing), (number + 1, thing)]
    return pairs


def pointing_game(explanations: list[Explanation], scenes: list[Scene]) -> dict[str, float]:
    """The share of words by method, and of `random` points (the expectation) and the `center`."""
    hits = defaultdict(list)
    for explanation, scene in zip(explanations, scenes, strict=True):
        for number, thing in named_things(explanation, scene):
            x0, y0, x1, y1 = thing.box()
            for method in explanation.maps:
                maps = explanation.map(method, number)
                x, y = maps.geometry.peak(maps.values[0, 0])
                x, y = x / maps.geometry.width, y / maps.geometry.height
                hits[method].append(x0 <= x <= x1 and y0 <= y <= y1)
            hits["random"].append((x1 - x0) * (y1 - y0))
            hits["center"].append(x0 <= 0.5 <= x1 and y0 <= 0.5 <= y1)
    return {name: float(np.mean(each)) for name, each in hits.items()} | {"words": len(hits["center"])}


def measure_pointing(args):
    model = capjax.load(args.workdir)
    scenes = outside_scenes(args.count)
    pictures = [SceneImage(scene, args.size)() for scene in scenes]
    sentences = [captions(scene, "en", 1)[0] for scene in scenes]
    for layer in args.layers.split(","):
        explanations = capjax.explain(
            model, pictures, method=args.method, caption=sentences, batch_size=args.batch, gradcam_layer=layer,
            samples=args.samples,
        )  # fmt: skip
        print(f"layer {layer}")
        for name, value in pointing_game(explanations, scenes).items():
            print(f"{name:12} {value:.3f}", flush=True)


def measure_sanity(args):
    model = CaptionModel(capjax.load(args.workdir))
    options = Options(gradcam_layer=args.layers.split(",")[-1], samples=args.samples)
    methods = dict.fromkeys(args.method.split(","), options)
    items = []
    for scene in outside_scenes(args.count):
        picture = SceneImage(scene, args.size)()
        tokens = model.vocabulary.encode(captions(scene, "en", 1)[0])
        items.append(model.item("", model.predictor.read(picture), picture, tokens, "en"))
    batches = [model.batch(items[start : start + args.batch]) for start in range(0, len(items), args.batch)]
    original = maps_of(model, batches, model.weights, methods)

    def correlate(title: str, first: dict, second: dict):
        figures = [f"{name} {mean_rank_correlation(first[name], second[name]):6.3f}" for name in methods]
        print(f"{title:30} {'  '.join(figures)}", flush=True)

    for part, weights in randomized(model):
        after = maps_of(model, batches, weights, methods)
        correlate(part, original, after)
    *_, (_, weights) = randomized(model, seed=2)
    correlate("two random models", after, maps_of(model, batches, weights, methods))


def measure_speed(args):
    model = capjax.load(args.workdir)
    if args.photos:
        media: list = args.photos.read_text().split("\n")[: args.count]
    else:
        media = [SceneImage(scene, args.size)() for scene in outside_scenes(args.count)]
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(4):  # the first compiles
        started = time.perf_counter()
        captions = model.caption(media, num_beams=4, method="beam", consensus_weight=0.0, batch_size=args.batch)
        seconds["captions"].append(time.perf_counter() - started)
        texts = [caption.text for caption in captions]
        started = time.perf_counter()
        capjax.explain(model, media, method=args.method, caption=texts, batch_size=args.batch)
        seconds["maps"].append(time.perf_counter() - started)
    captions_time, maps_time = (min(seconds[name][1:]) for name in ("captions", "maps"))
    print(f"captions {captions_time:.3f} s, maps {maps_time:.3f} s: {maps_time / captions_time:.2f} times")


def spans(curve: np.ndarray, times: np.ndarray, threshold: float) -> tuple[float, float]:
    """Start and end of the frames around the maximum of a curve that reach a share of it."""
    high = curve >= threshold * curve.max()
    first = last = int(curve.argmax())
    while first and high[first - 1]:
        first -= 1
    while last + 1 < len(high) and high[last + 1]:
        last += 1
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.5
    return times[first] - half, times[last] + half


def tiou(a: tuple[float, float], b: tuple[float, float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / (a[1] - a[0] + b[1] - b[0] - shared)


def measure_temporal(args):
    model = capjax.load(args.workdir)
    methods = ["queries", "pointers", "attention", "gradcam"]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        # The numbers below 3,000 are those of the training set, a tenth of which is held out.
        for split, first in (("train", 0), ("test", FIRST_SCENE)):
            scenes = [make_moving_scene(0, first + number) for number in range(args.count)]
            paths = [Path(folder) / f"{split}-{number}.mp4" for number in range(len(scenes))]
            for scene, path in zip(scenes, paths, strict=True):
                path.write_bytes(MovingVideo(scene)())
            rows = []
            explanations = capjax.explain(model, paths, method=methods, batch_size=8)
            for explanation in explanations:
                scene = scenes[paths.index(Path(explanation.media))]
                true = [(event.start, event.end) for event in scene.events]
                best = max(true, key=lambda span: tiou(span, explanation.event))
                if tiou(best, explanation.event) > 0.1:  # the true event that this one is of
                    rows.append((explanation, best))
            results[split] = rows
    for method in methods:
        scores = {}
        for split, rows in results.items():
            for threshold in np.linspace(0.05, 0.95, 19):
                values = []
                for explanation, true in rows:
                    maps = explanation.map(method)
                    values.append(tiou(spans(maps.curve(0), maps.times, threshold), true))
                scores[split, threshold] = float(np.mean(values))
        best = max((key for key in scores if key[0] == "train"), key=scores.__getitem__)[1]
        print(f"{method:10} threshold {best:.2f}: mean tIoU {scores['test', best]:.3f}, {len(results['test'])} events")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(MEASUREMENTS))
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--photos", type=Path, help="of speed: a file with the path of one photo in each line")
    parser.add_argument("--method", default="attention,gradcam")
    parser.add_argument("--layers", default="features,stem", help="of Grad-CAM (default: features,stem)")
    parser.add_argument("--samples", type=int, default=1000, help="of LIME")
    args = parser.parse_args()
    MEASUREMENTS[args.what](args)


MEASUREMENTS = {
    "pointing": measure_pointing, "sanity": measure_sanity, "speed": measure_speed, "temporal": measure_temporal,
}  # fmt: skip

if __name__ == "__main__":
    main()
