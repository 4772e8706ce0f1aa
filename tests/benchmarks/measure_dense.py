"""Events of the built-in videos, found and told by each of the two ways, trained from scratch.

    python tests/benchmarks/measure_dense.py
    python tests/benchmarks/measure_dense.py --only queries --root DIR

Makes the dataset below --root if it is not there, trains `configs/moving_dense.py` with each argument (one that is
trained already is not trained again), and prints of the best checkpoint, on videos that training has not seen: F1 of
localization at a tIoU of 0.5, the mean tIoU of matched events, SODA_c with METEOR, and SODA_c as a share of what the
truth's own paraphrases score: each of the five annotation sets for a prediction of the other four.
"""

import argparse
import statistics
import sys
from pathlib import Path

from jobs import ROOT, prepare, print_table, train

FORMS = ("queries", "text")
FIGURES = ("F1@0.5", "matched tIoU", "SODA_c")


def annotation_sets(workdir: Path) -> list[dict]:
    """Those of the split that a trained model was evaluated on."""
    from capjax.data.pipeline import DatasetSplit
    from capjax.metrics.activitynet import Annotation, TimedSentence
    from capjax.workdir.layout import Workdir

    source, sets = DatasetSplit.parse(Workdir(workdir).config().data.eval).open(), {}
    for record in (source[i] for i in range(len(source))):
        counts = {}
        for caption in record.captions:
            if caption.kind == "event":
                number = counts[caption.start] = counts.get(caption.start, -1) + 1
                one = sets.setdefault(number, {}).setdefault(record.id, Annotation(record.duration, []))
                one.events.append(TimedSentence(caption.start, caption.end, caption.text))
    return [sets[number] for number in sorted(sets)]


def figures(predictions: dict, references: list[dict]) -> dict[str, float]:
    from capjax.metrics.dense import score_dense

    return score_dense(predictions, references, metrics=["meteor"]).corpus


def row(form: str, workdir: Path, seconds: float, truth: dict[str, float], sets: list[dict]) -> dict[str, str]:
    from capjax.metrics.activitynet import read_submission

    scores = figures(read_submission(workdir / "predictions.json", empty_sentences=True), sets)
    return {
        "form": form,
        "minutes": f"{seconds / 60:.1f}" if seconds else "",
        **{name: f"{scores[name]:.3f}" for name in FIGURES},
        "of the truth's SODA_c": f"{100 * scores['SODA_c'] / truth['SODA_c']:.0f} %",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT / "runs/dense", help="of the dataset and the workdirs")
    parser.add_argument("--count", type=int, default=8000, help="videos, of which 1/20 are scored (default: 8000)")
    parser.add_argument("--only", choices=FORMS, help="default: both")
    args = parser.parse_args()
    root = args.root.resolve()
    settings = prepare(
        root / "moving", "moving", "--count", args.count, "--languages", "en", "--fps", 5,
        vocabulary=("--size", 800, "--time-tokens", 101),
    )  # fmt: skip
    rows, truth = [], None
    for form in [args.only] if args.only else FORMS:
        seconds = train(f"moving_dense.py:{form}", root / form, [*settings, "train.tensorboard=false"])
        sets = annotation_sets(root / form)
        if truth is None:
            each = [
                figures({id: one.events for id, one in held.items()}, sets[:k] + sets[k + 1 :])
                for k, held in enumerate(sets)
            ]
            truth = {name: statistics.mean(one[name] for one in each) for name in FIGURES}
        rows.append(row(form, root / form, seconds, truth, sets))
        print(rows[-1], file=sys.stderr, flush=True)
    rows.append({"form": "truth", "minutes": "", **{name: f"{truth[name]:.3f}" for name in FIGURES}})
    rows[-1]["of the truth's SODA_c"] = "100 %"
    print_table(rows)


if __name__ == "__main__":
    main()
