"""Encoders over time with decoders, each trained from scratch on the built-in videos, in one table.

    python tests/benchmarks/measure_encoders.py
    python tests/benchmarks/measure_encoders.py --only i3d,lstm frames,gru --steps 400
    python tests/benchmarks/measure_encoders.py --clips whole --only frames,transformer --shuffled

Makes the dataset below --root if it is not there, trains each in a process and a workdir of its own (one that is
trained already is not trained again), and prints of the best checkpoint: CIDEr-D and BLEU-4 on videos that training has
not seen, CIDEr-D as a share of the truth's own (each true caption scored against the others of its video), and the
share of captions that are exactly true. Seconds per step are the median of those logged, without compilation.
"""

import argparse
import itertools
import json
import statistics
import sys
from pathlib import Path

from jobs import ROOT, prepare, print_table, train

ENCODERS, DECODERS = ("i3d", "convlstm", "video_vit", "frames"), ("lstm", "gru", "transformer")


def own_score(workdir: Path, name: str = "CIDEr") -> float:
    """What the true captions of the evaluation split score against each other."""
    from capjax.data.pipeline import DatasetSplit
    from capjax.metrics import leave_one_out
    from capjax.workdir.layout import Workdir

    source = DatasetSplit.parse(Workdir(workdir).config().data.eval).open()
    texts = {
        record.id: [caption.text for caption in record.captions if caption.kind == "caption"]
        for record in (source[i] for i in range(len(source)))
    }
    return leave_one_out(texts, lang="en")[name]


def row(name: str, workdir: Path, seconds: float) -> dict[str, str]:
    """The figures of a trained model."""
    from capjax.models.build import make_pure_model
    from capjax.text.vocabulary import Vocabulary
    from capjax.workdir.layout import Workdir
    from capjax.workdir.metrics_log import read_metrics
    from data_prep.synthetic.moving.__main__ import truth

    files = Workdir(workdir)
    shapes = make_pure_model(files.config(), vocab=Vocabulary.load(files.vocabulary_path).size).shapes
    scores = json.loads((workdir / "scores.json").read_text())["scores"]["en"]
    kinds = truth(json.loads((workdir / "predictions.json").read_text()), "en", 0)
    true, total = (sum(counts) for counts in zip(*kinds.values(), strict=True))
    logged = [one["seconds_per_step"] for one in read_metrics(files.metrics_path) if "seconds_per_step" in one]
    return {
        "model": name,
        "parameters": f"{sum(shape.size for shape in shapes.values()):,}",
        "s/step": f"{statistics.median(logged):.2f}",
        "minutes": f"{seconds / 60:.1f}" if seconds else "",
        "CIDEr-D": f"{scores['CIDEr']:.3f}",
        "BLEU-4": f"{scores['BLEU-4']:.3f}",
        "of the truth's": f"{100 * scores['CIDEr'] / own_score(workdir):.0f} %",
        "exactly true": f"{100 * true / total:.0f} %",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT / "runs/encoders", help="of the dataset and the workdirs")
    parser.add_argument("--steps", type=int, help="default: those of configs/moving.py")
    parser.add_argument("--count", type=int, default=3000, help="videos, of which 1/20 are scored (default: 3000)")
    parser.add_argument(
        "--clips",
        choices=("events", "whole"),
        default="events",
        help="a clip is an event of a video, or all of it",
    )
    parser.add_argument("--only", nargs="+", metavar="ENCODER,DECODER", help="default: all")
    parser.add_argument("--shuffled", action="store_true", help="also with the frames of each video in another order")
    args = parser.parse_args()
    names = [",".join(pair) for pair in itertools.product(ENCODERS, DECODERS)]
    if unknown := set(args.only or ()) - set(names):
        parser.error(f"--only {', '.join(sorted(unknown))}: expected some of {' '.join(names)}")
    root = args.root.resolve()
    settings = prepare(
        root / args.clips, "moving", "--count", args.count, "--languages", "en", "--fps", 5, "--clips", args.clips,
        vocabulary=("--size", 450),
    )  # fmt: skip
    settings += ["train.tensorboard=false"] + ([f"train.steps={args.steps}"] if args.steps else [])
    rows = []
    for name in args.only or names:
        for shuffled in (False, True)[: 1 + args.shuffled]:
            workdir = root / f"{name.replace(',', '_')}_{args.clips}{'_shuffled' * shuffled}"
            more = ["data.shuffle_frames=true"] if shuffled else []
            seconds = train(f"moving.py:{name}", workdir, [*settings, *more])
            rows.append(row(name + ", shuffled" * shuffled, workdir, seconds))
            print(rows[-1], file=sys.stderr, flush=True)
    print_table(rows)


if __name__ == "__main__":
    main()
