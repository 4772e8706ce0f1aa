"""Measures the object detector: whether it computes what its published graph computes, and what it finds on photos.

    python tests/benchmarks/measure_detector.py --published package/models --detector detector.safetensors \\
        --media Flicker8k_Dataset --captions Flickr8k.token.txt

Agreement is that of scores, and of distances to the sides of boxes in pixels of 512, with the graph run node by node by
TensorFlow. What it finds is compared with captions of people: of the categories that most captions of a photo name, the
share with at least a score; of those that none names, too; and of the categories with at least that score, the share
that a caption names.
"""

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from capjax import runtime
from tests.benchmarks.measure_pointing import read_captions

SCORES = (0.1, 0.2, 0.3, 0.4, 0.5)


def measure_agreement(published: Path, weights: Path, photos: list[Path]):
    from flax import nnx

    from capjax.data.transforms import view
    from capjax.models.centernet import SIZE
    from capjax.models.pretrained import centernet
    from tests.helpers.tfjs_graph import GraphModel

    graph, network = GraphModel(published / "centernet.json"), centernet.load(weights)
    run = nnx.jit(lambda network, images: network(images))
    differences = []
    for photo in photos:
        image = view(photo.read_bytes(), SIZE)[None]
        maps = run(network, image)
        expected = graph.run({"tower_0/images": image.astype(np.float32)}, ["tower_0/keypoints", "tower_0/wh"])
        differences.append([float(np.abs(a - b).max()) for a, b in zip(maps, expected, strict=True)])
    scores, extents = np.max(differences, axis=0)
    print(f"{len(photos)} photos: largest difference of scores {scores:.1e}, of distances {extents:.4f} pixels")


def measure_presence(weights: Path, photos: dict, captions: dict):
    from capjax.analyze.detection import detect_objects
    from capjax.metrics.chair import Lexicon
    from capjax.models.detector import CATEGORIES, Detector

    lexicon, rows = Lexicon(), []
    objects, _ = detect_objects(photos, Detector(weights))
    for id, own in objects.items():
        named = Counter(category for text in captions[id] for category in set(lexicon.objects(text)))
        scores: dict[str, float] = defaultdict(float)
        for item in own:
            scores[item.category] = max(scores[item.category], item.score)
        rows += [(named[category] / len(captions[id]), scores[category]) for category in CATEGORIES]
    named, scores = np.array(rows).T
    print(f"{len(objects)} photos, {(named > 0.5).sum()} categories that most captions of a photo name")
    for least in SCORES:
        high = scores >= least
        print(
            f"score {least}: of those named by most {high[named > 0.5].mean():.1%}, of those named by none "
            f"{high[named == 0].mean():.2%}; named by any {(named[high] > 0).mean():.1%} of {high.sum()}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--published", type=Path, help="folder of centernet.json and centernet.bin")
    add("--detector", type=Path, required=True, help="weights that capjax import wrote")
    add("--media", type=Path, required=True, help="folder of the photos")
    add("--captions", type=Path, required=True, help="captions, in any format of capjax score, or Flickr8k.token.txt")
    add("--count", type=int, default=20, help="photos of the comparison with the graph (default: 20)")
    args = parser.parse_args()
    runtime.start()
    from capjax.analyze.media import ItemMedia

    captions = read_captions(args.captions)
    photos = ItemMedia.find(args.media, captions).paths
    if args.published:
        measure_agreement(args.published, args.detector, list(photos.values())[: args.count])
    measure_presence(args.detector, photos, captions)


if __name__ == "__main__":
    main()
