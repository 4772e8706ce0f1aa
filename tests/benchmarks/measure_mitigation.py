"""Bias of a planted co-occurrence of 90 %, without and with each mitigation: amplification, leakage and CIDEr.

    python tests/benchmarks/measure_mitigation.py --seeds 0

Trains a small model on the pictures of mitigation_data.py once for each arm and seed, and captions two sets of
pictures: `val`, in which the shape tells the gender as often as in the training pictures, and `test`, in which it does
not. On `val`, amplification is that of Zhao et al. 2017, as `capjax analyze --training` reports it: the share of the
gender that goes with a shape less its share in training. On `test`, it is that share less the true one, a half.
Differences from the model without mitigation have p-values by approximate randomization, paired by picture. The arm
`shares` is the model without mitigation, decoded with `decode.attribute_shares`: as in training on `val`, and equal on
`test`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from jobs import ROOT, call, prepare, print_table, train
from mitigation_data import CONTEXTS, write_data

from capjax.analyze.analysis import Inputs, analyze
from capjax.metrics import score
from capjax.metrics.files import read_predictions, read_references
from capjax.metrics.significance import Comparison, comparisons

WORDS = ["mitigation.attribute=(('man',),('woman',))", "mitigation.context=(('star',),('square',))"]
ARMS: dict[str, list[str]] = {
    "none": [],
    "sampling": [*WORDS, "mitigation.balance=sampling"],
    "weights": [*WORDS, "mitigation.balance=weights"],
    "counterfactual-0.5": [*WORDS, "mitigation.counterfactual=0.5", "mitigation.neutral=person,"],
    "counterfactual-1": [*WORDS, "mitigation.counterfactual=1.0", "mitigation.neutral=person,"],
}
SMALL = [
    "data.image_size=32", "data.target_len=20", "model.width=64", "model.encoder.options.channels=24",
    "model.encoder.options.depths=(0, 1, 1)", "model.decoder.options.layers=1", "optimizer.warmup_steps=50",
    "train.eval_every=0", "checkpoint.every=1000000", "train.tensorboard=false", "checkpoint.best=CIDEr-D",
]  # fmt: skip


def share_statistics(predictions: dict[str, str]) -> np.ndarray:
    """Captions that name each shape and the gender that goes with it, or any gender, float64 [2 * shapes, items]."""
    rows = []
    for shape, usual in CONTEXTS.items():
        words = [caption.lower().rstrip(".").replace(",", "").split() for caption in predictions.values()]
        named = [shape in own and ("man" in own) != ("woman" in own) for own in words]
        rows += [[is_named and usual in own for is_named, own in zip(named, words, strict=True)], named]
    return np.array(rows, float)


def amplification(sums: np.ndarray) -> np.ndarray:
    """Mean over the shapes of the share of the gender that goes with it, less a half."""
    sums = np.asarray(sums, float)
    return (sums[::2] / np.maximum(sums[1::2], 1)).mean(0) - 0.5


def compare_shares(first: dict[str, str], second: dict[str, str]) -> Comparison:
    resampled = [{"share": (share_statistics(system), amplification)} for system in (first, second)]
    return comparisons(*resampled)["share"]


def compare_cider(first: dict[str, str], second: dict[str, str], references: dict) -> tuple[float, Comparison]:
    measures = [score(system, references, metrics=["cider"]).measures["CIDEr"] for system in (first, second)]
    resampled = [{"CIDEr": (measure.statistics, measure.aggregate)} for measure in measures]
    return measures[0].corpus, comparisons(*resampled)["CIDEr"]


def with_p(value: float, compared: Comparison | None, digits: int = 3) -> str:
    text = f"{value:+.{digits}f}" if digits == 3 else f"{value:.{digits}f}"
    if compared is None:
        return text
    return f"{text} (p {'< 0.001' if compared.p_value < 0.001 else f'= {compared.p_value:.3f}'})"


def row(root: Path, name: str, seed: int, base: str) -> dict[str, str]:
    """The figures of an arm, with p-values of the differences from `base`."""
    figures, is_base = {"mitigation": name, "seed": str(seed)}, name == base
    paths = {split: root / f"captions-{split}.json" for split in ("val", "test")}
    training = root / "captions-train.json"  # not the dataset, whose photos would be compared for near-duplicates
    own, other = ({split: predictions_of(root / f"{arm}_{seed}", split) for split in paths} for arm in (name, base))
    reports = {
        split: analyze(Inputs(own[split], paths[split], training=training, compare=other[split])) for split in paths
    }
    zhao, leakage = reports["val"].amplification, {split: report.leakage for split, report in reports.items()}
    figures["amplification, val"] = with_p(zhao.value, None if is_base else reports["val"].compared_amplification)
    predictions, base_predictions = (read_predictions(path["test"], lang="en") for path in (own, other))
    references = read_references(paths["test"], lang="en")
    balanced = float(amplification(share_statistics(predictions).sum(1)))
    compared = compare_shares(predictions, base_predictions)
    figures["amplification, test"] = with_p(balanced, None if is_base else compared)
    for split, own_leakage in leakage.items():
        compared_leakage = None if is_base else reports[split].compared_leakage
        figures[f"LIC, {split}"] = with_p(own_leakage.lic.difference, compared_leakage)
    cider, compared = compare_cider(predictions, base_predictions, references)
    figures["CIDEr, test"] = with_p(cider, None if is_base else compared, digits=2)
    print(figures, flush=True)
    return figures


def predictions_of(workdir: Path, split: str) -> Path:
    """Training itself evaluates `val`."""
    return (workdir if split == "val" else workdir / split) / "predictions.json"


def evaluate(workdir: Path, output: Path, settings: list[str]):
    if not (output / "scores.json").is_file():
        options = [f"--config.{setting}" for setting in settings]
        where = ("--config", "configs/shapes.py", "--workdir", workdir, "--output", output)
        call("launch.py", "--mode", "eval", *where, *options, log=workdir.with_suffix(".log"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS])
    parser.add_argument("--root", type=Path, default=ROOT / "runs/mitigation", help="of the dataset and the workdirs")
    args = parser.parse_args()
    root = args.root.resolve()
    media, data = root / "media", root / "data"
    if not media.is_dir():
        write_data(media)
    for split in ("train", "val", "test"):
        lines = [json.loads(line) for line in (media / "captions.jsonl").read_text().splitlines()]
        captions = {line["id"]: line["captions"] for line in lines if line["split"] == split}
        (root / f"captions-{split}.json").write_text(json.dumps(captions))
    settings = [*prepare(data, "jsonl", "--input", media), *SMALL, f"train.steps={args.steps}"]
    rows = []
    for seed in args.seeds:
        for name in args.arms:
            own = [*settings, f"seed={seed}", *ARMS[name]]
            workdir = root / f"{name}_{seed}"
            train("shapes.py", workdir, own)
            evaluate(workdir, workdir / "test", [*own, f"data.eval={data}@test"])
            if name == "none":
                for split, shares in (("val", "training"), ("test", "equal")):
                    constraint = [*WORDS, f"decode.attribute_shares={shares}", f"data.eval={data}@{split}"]
                    evaluate(workdir, predictions_of(root / f"shares_{seed}", split).parent, [*own, *constraint])
                rows.append(row(root, name, seed, "none"))
                name = "shares"
            rows.append(row(root, name, seed, "none"))
    print_table(rows)


if __name__ == "__main__":
    main()
