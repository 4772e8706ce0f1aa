"""The pointing game (Zhang et al. 2018) on photos: does the maximum of a noun's map lie in a box of its object?

    python tests/benchmarks/measure_pointing.py --workdir runs/flickr8k --media Flicker8k_Dataset \\
        --captions Flickr8k.token.txt --only Flickr_8k.devImages.txt --detector detector.safetensors
    python tests/benchmarks/measure_pointing.py --workdir runs/coco --media val2017 \\
        --captions captions_val2017.json --objects instances_val2017.json

Captions are those of people, which the model reads (teacher forcing); captions longer than it reads are left out. Nouns
are the names of COCO's 80 categories as CHAIR finds them, and of a name of several words the last. A noun counts if its
category has boxes: those of people, or those of the detector with a score above 0.5. It is hit if the maximum lies in
any of them. The random point is the share of the photo that they cover together. The first table is of nouns whose
boxes cover less than 40 % of the photo, the second of all. Intervals of differences from the center are of a bootstrap
over photos.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from capjax import runtime
from capjax.analyze.labels import LabeledObject, read_objects
from capjax.analyze.media import ItemMedia
from capjax.metrics.chair import Lexicon
from capjax.metrics.files import read_references
from capjax.metrics.id_matching import match_ids

LEAST_SCORE, MOST_AREA = 0.5, 0.4
_DRAWS = 2000


def covered(boxes, cells: int = 200) -> float:
    """The share of the photo in any of the boxes."""
    middle = (np.arange(cells) + 0.5) / cells
    inside = np.zeros((cells, cells), bool)
    for x0, y0, x1, y1 in boxes:
        inside |= np.outer((y0 <= middle) & (middle <= y1), (x0 <= middle) & (middle <= x1))
    return float(inside.mean())


def named_boxes(words: list[str], objects: list[LabeledObject], lexicon: Lexicon) -> Iterator[tuple[int, list]]:
    """Yields the number of each noun that names an object with boxes, and the boxes."""
    for _, end, category in lexicon.mentions(word.lower() for word in words):
        boxes = [item.box for item in objects if item.category == category and item.box and item.score > LEAST_SCORE]
        if boxes:
            yield end - 1, boxes


def hits(explanation, objects: list[LabeledObject], lexicon: Lexicon) -> Iterator[dict[str, float]]:
    """Yields for each noun by method, and for the center, whether the maximum lies in a box; with the area of the
    boxes."""
    for number, boxes in named_boxes([word.text for word in explanation.words], objects, lexicon):
        points = {"center": (0.5, 0.5)}
        for method in explanation.maps:
            maps = explanation.map(method, number)
            x, y = maps.geometry.peak(maps.values[0, 0])
            points[method] = x / maps.geometry.width, y / maps.geometry.height
        yield {
            name: float(any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes))
            for name, (x, y) in points.items()
        } | {"random": covered(boxes)}


def summarize(rows_by_photo: list[list[dict[str, float]]]) -> dict[str, tuple[float, ...]]:
    """{method: (share of hits, difference from the center, low and high end of its 95 % interval)}."""
    names = list(next(row for rows in rows_by_photo for row in rows))
    sums = np.array([[sum(row[name] for row in rows) for name in names] for rows in rows_by_photo])
    counts = np.array([len(rows) for rows in rows_by_photo])
    drawn = np.random.default_rng(0).integers(0, len(counts), (_DRAWS, len(counts)))
    shares = sums[drawn].sum(1) / counts[drawn].sum(1)[:, None].clip(1)
    center, result = names.index("center"), {}
    for number, name in enumerate(names):
        low, high = np.quantile(shares[:, number] - shares[:, center], (0.025, 0.975))
        mean = sums.sum(0) / counts.sum()
        result[name] = float(mean[number]), float(mean[number] - mean[center]), float(low), float(high)
    return result


def objects_of(args, media: ItemMedia) -> dict:
    """{id: objects}, of people or of the detector."""
    if not args.objects:
        from capjax.analyze.detection import detect_objects
        from capjax.models.detector import Detector, default_weights

        return detect_objects(media.paths, Detector(args.detector or default_weights()))[0]
    labels = by_file_name(args.objects, read_objects(args.objects))
    numbers = {id: str(number) for number, id in enumerate(labels)}
    matched, _, _ = match_ids(numbers, {id: [""] for id in media.paths}, missing="drop", extra="ignore")
    listed = list(labels.values())
    return {id: listed[int(number)] for id, number in matched.items()}


def by_file_name(path: Path, values: dict) -> dict:
    """Values by the names of photos in place of ids, where a COCO file has names."""
    data = json.loads(path.read_text()) if path.suffix == ".json" else None
    images = data.get("images", ()) if isinstance(data, dict) else ()
    names = {str(image["id"]): image["file_name"] for image in images if "file_name" in image}
    return {names.get(str(id), id): value for id, value in values.items()}


def read_captions(path: Path, split: str | None = None) -> dict:
    """{id: captions} of a file in any format of `capjax score`, or of Flickr8k's, NAME#NUMBER<tab>CAPTION."""
    if path.suffix != ".txt":
        return by_file_name(path, read_references(path, lang="en", split=split))
    captions = defaultdict(list)
    for line in path.read_text().splitlines():
        name, _, text = line.partition("\t")
        captions[name.partition("#")[0]].append(text)
    return dict(captions)


def captions_of(args) -> dict:
    """{id: captions} of the items to measure."""
    captions = read_captions(args.captions, args.split)
    if args.only:
        names = {line.strip() for line in args.only.read_text().splitlines()}
        captions = {id: texts for id, texts in captions.items() if str(id) in names or Path(str(id)).name in names}
    return dict(list(captions.items())[: args.count])


def measure(args):
    import capjax
    from capjax.explain.model import CaptionModel

    captions, lexicon = captions_of(args), Lexicon()
    media = ItemMedia.find(args.media, captions)
    objects = objects_of(args, media)
    predictor = capjax.load(args.workdir)
    model = CaptionModel(predictor)
    longest = model.max_len - len(model.parts.generator.prefix("en", 1)[0])  # with <eos>
    pairs, too_long = [], 0
    for id, texts in captions.items():
        for text in texts:
            if not list(named_boxes(text.split(), objects.get(id, []), lexicon)):
                continue
            if len(model.vocabulary.encode(text)) <= longest:
                pairs.append((id, text))
            else:
                too_long += 1
    rows = defaultdict(list)
    explanations = capjax.explain.explain_each(
        predictor, [media.paths[id] for id, _ in pairs], method=args.method, caption=[text for _, text in pairs],
        batch_size=args.batch, gradcam_layer=args.layer, samples=args.samples, segments=args.segments,
    )  # fmt: skip
    for number, ((id, _), explanation) in enumerate(zip(pairs, explanations, strict=True), 1):
        rows[id] += hits(explanation, objects[id], lexicon)
        if number % 50 == 0 or number == len(pairs):
            report(rows, f"{number} of {len(pairs)} captions ({too_long} more are too long)")


def report(rows: dict, what: str):
    print(what)
    for title, most in ((f"boxes below {MOST_AREA:.0%}", MOST_AREA), ("all boxes", np.inf)):
        kept = [[row for row in own if row["random"] < most] for own in rows.values()]
        kept = [own for own in kept if own]
        print(f"  {title}: {sum(map(len, kept))} nouns, {len(kept)} photos")
        for name, (share, difference, low, high) in (summarize(kept) if kept else {}).items():
            print(f"    {name:10} {share:6.1%}   {100 * difference:+5.1f} ({100 * low:+.1f} to {100 * high:+.1f})")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workdir", type=Path, required=True)
    add("--media", type=Path, required=True, help="folder of the photos")
    add("--captions", type=Path, required=True, help="captions, in any format of capjax score, or Flickr8k.token.txt")
    add("--split")
    add("--only", type=Path, help="file of names of photos, one a line")
    add("--objects", type=Path, help="COCO's instances; else the detector finds objects")
    add("--detector", type=Path, help="weights of the detector (default: where capjax import writes them)")
    add("--method", default="attention,gradcam")
    add("--layer", default="features", help="of Grad-CAM (default: features)")
    add("--samples", type=int, default=128)
    add("--segments", type=int, default=50)
    add("--count", type=int, help="number of photos")
    add("--batch", type=int, default=16)
    runtime.start()
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
