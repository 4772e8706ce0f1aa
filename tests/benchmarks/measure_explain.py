"""Measures explanations against pictures and videos whose truth is known.

    python tests/benchmarks/measure_explain.py pointing --workdir demo/model

`pointing`: the pointing game (Zhang et al. 2018) on drawn scenes outside the training set: how often the maximum of the
map of a shape or color word lies in the box of its thing, beside a random point and the center.
"""

import argparse
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np

import capjax
from capjax.explain import Explanation
from data_prep.synthetic.shapes.draw import SceneImage
from data_prep.synthetic.shapes.grammar import captions
from data_prep.synthetic.shapes.scene import Scene, Thing, make_scene

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
            if (first, second) == (thing.colour, thing.shape):
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
            model, pictures, method=args.method, caption=sentences, batch_size=args.batch, gradcam_layer=layer
        )
        print(f"layer {layer}")
        for name, value in pointing_game(explanations, scenes).items():
            print(f"{name:12} {value:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pointing"])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--method", default="attention,gradcam")
    parser.add_argument("--layers", default="features,stem", help="of Grad-CAM (default: features,stem)")
    args = parser.parse_args()
    {"pointing": measure_pointing}[args.what](args)


if __name__ == "__main__":
    main()
