"""Slideshows of photos against the photo model: are cuts found, and is each photo captioned as well as by itself?

    python tests/benchmarks/measure_slideshow.py --photos data/flickr8k --vocabulary data/flickr8k.model \\
        --workdir runs/flickr8k

`--photos` is a dataset of photos, `--workdir` a model that was trained on it with `configs/flickr8k.py`. Makes
slideshows of its photos below --root, with features, trains `configs/slideshow.py` (what is there already is not made
again), and prints F1 of localization at a tIoU of 0.5 on slideshows of val photos, and CIDEr of both models' captions
on the same photos: for every time that a photo is shown, against its own captions, with the same document frequencies.
A showing that no predicted event overlaps by half has an empty caption.
"""

import argparse
import json
from pathlib import Path

from jobs import ROOT, call, print_table, train


def tiou(a, b) -> float:
    shared = max(0.0, min(a.end, b[1]) - max(a.start, b[0]))
    return shared / max(max(a.end, b[1]) - min(a.start, b[0]), 1e-9)


def showings(dataset: Path) -> list[tuple[str, str, tuple[float, float]]]:
    """(video, photo, (start, end)) of every time that a photo is shown in val."""
    from capjax.data.record import RecordSource

    source, rows = RecordSource(dataset, "val"), []
    for record in (source[i] for i in range(len(source))):
        times = sorted({(caption.start, caption.end) for caption in record.captions})
        photos = [label.name.removeprefix("photo:") for label in record.labels]
        rows += [(record.id, photo, time) for photo, time in zip(photos, times, strict=True)]
    return rows


def references(photos: Path) -> dict[str, list[str]]:
    from capjax.data.record import RecordSource

    source = RecordSource(photos, "val")
    records = (source[i] for i in range(len(source)))
    return {record.id: [c.text for c in record.captions if c.lang == "en"] for record in records}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="DATASET")
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True, help="of the photo model")
    parser.add_argument("--root", type=Path, default=ROOT / "runs/slideshow")
    parser.add_argument("--shown", type=float, default=6.0, help="how often each photo is shown (default: 6)")
    args = parser.parse_args()
    from capjax.metrics import score
    from capjax.metrics.activitynet import read_submission

    root = args.root.resolve()
    slides, features, workdir, log = root / "slides", root / "slides_lite0", root / "model", root / "data.log"
    if not slides.is_dir():
        given = ("--input", args.photos.resolve(), "--shown", args.shown, "--fps", 1)
        call("-m", "data_prep", "slideshow", *given, "--output", slides, log=log)
    if not features.is_dir():
        given = ("--input", slides, "--output", features, "--encoder", "efficientnet_lite0")
        call("-m", "data_prep", "features", *given, log=log)
    settings = [f"data.train={features}@train", f"data.eval={features}@val", "train.tensorboard=false"]
    seconds = train("slideshow.py", workdir, [*settings, f"data.vocabulary={args.vocabulary.resolve()}"])

    events = read_submission(workdir / "predictions.json", empty_sentences=True)
    photo_captions = {
        row["image_id"]: row["caption"] for row in json.loads((args.workdir / "predictions.json").read_text())
    }
    truth, ours, theirs, held = references(args.photos), {}, {}, {}
    for number, (video, photo, time) in enumerate(showings(slides)):
        best = max(events[video], key=lambda event: tiou(event, time), default=None)
        ours[str(number)] = best.sentence if best and tiou(best, time) >= 0.5 else ""
        theirs[str(number)], held[str(number)] = photo_captions[photo], truth[photo]
    rows = []
    for name, captions in (("slideshow", ours), ("photo model", theirs)):
        corpus_scores = score(captions, held, metrics=["bleu", "cider"]).corpus
        rows.append(
            {"model": name, "CIDEr": f"{corpus_scores['CIDEr']:.3f}", "BLEU-4": f"{corpus_scores['BLEU-4']:.3f}"}
        )
    scores = json.loads((workdir / "scores.json").read_text())["scores"]["en"]
    rows[0] |= {"F1@0.5": f"{scores['F1@0.5']:.3f}", "minutes": f"{seconds / 60:.1f}"}
    rows[1] |= {"F1@0.5": "", "minutes": ""}
    print_table(rows)
    share = float(rows[0]["CIDEr"]) / float(rows[1]["CIDEr"])
    print(
        f"\n{len(held)} showings of {len(truth)} photos; CIDEr of the slideshow model: {100 * share:.0f} % of the other"
    )


if __name__ == "__main__":
    main()
