"""Finding the events of a split and scoring them. The model is a stand-in that repeats what it is told."""

import json
import math

import numpy as np
import pytest

from capjax.decode.results import Event
from capjax.evals.dense import evaluate
from capjax.evals.evaluate import read_scores, value_of
from capjax.metrics import activitynet
from capjax.metrics.cli import main as score_files
from capjax.metrics.dense import score_dense
from capjax.metrics.names import TEMPORAL_FIGURES

A, B, C = (2.0, 5.5, "a red circle moves left"), (6.0, 9.0, "it is gone"), (12.0, 19.0, "a star comes")


def record(video: str, start: float, end: float, sets: dict, *, found) -> dict:
    return {"video": (video, start, end - start), "references": {"en": sets} if sets else {}, "found": found}


def batches(*records):
    """Batches of two; the last row may be padding."""
    rows = [*records, *([None] * (len(records) % 2))]
    for pair in (rows[i : i + 2] for i in range(0, len(rows), 2)):
        yield {
            "videos": [row["video"] if row else ("", 0.0, 0.0) for row in pair],
            "rows": range(len(pair)),
            "references": [row["references"] if row else {} for row in pair],
            "found": [row["found"] if row else None for row in pair],
            "valid": np.array([row is not None for row in pair]),
        }


class Parrot:
    """Finds what the record says is found, with seconds of the record."""

    def encode(self, params, batch_stats, batch):
        return batch

    def events(self, params, batch_stats, batch, lang, *, key):
        return [
            [Event(s - video[1], e - video[1], text, 0.5) for s, e, text in predicted or ()]
            for video, predicted in zip(batch["videos"], batch["found"], strict=True)
        ]


def run(*records, metrics=("rouge",), languages=("en",)):
    return evaluate(
        Parrot(), {}, {}, batches(*records), languages=languages, to_device=lambda batch: batch, metrics=metrics
    )


def test_what_is_found_as_it_is_has_full_marks():
    result = run(record("v", 0, 20, {0: [A, B]}, found=[A, B]), record("w", 0, 20, {0: [C]}, found=[C]))
    scores = result.scores["en"]
    for name in ("F1@0.9", "Precision", "Recall", "SODA_d", "matched events", "matched tIoU"):
        assert scores[name] == pytest.approx(1, abs=1e-6), name
    assert scores["boundary error p90 (s)"] == 0
    assert scores["Kendall tau"] == 1
    assert set(TEMPORAL_FIGURES) <= set(scores), "and they are in scores.json"


def test_windows_of_a_video_are_put_together():
    late = (29.999, 31.0, "it is late")
    result = run(
        record("v", 0.0, 20.0, {0: [A], 1: [B, C]}, found=[A, (12.0, 20.0, C[2])]),
        # float32 from another beginning: the same events, but for the last digits; and no event of set 0.
        record("v", 10.0, 30.0, {1: [(C[0] + 1e-5, C[1] - 1e-5, C[2])]}, found=[(12.1, 19.0, C[2])]),
        record("v", 20.0, 40.0, {0: [late], 1: [late]}, found=[late]),
    )
    assert [(e.start, e.end, e.text) for e in result.predictions["en"]["v"]] == [A, C, late]
    first, second = result.references["en"]
    assert list(first["v"].events) == [A, late], "annotation sets are not mixed up"
    assert list(second["v"].events) == [B, C, late]
    assert first["v"].duration == second["v"].duration == 40.0


def test_sets_may_be_missing_in_a_video():
    result = run(record("v", 0, 20, {1: [A]}, found=[A]), record("w", 0, 20, {0: [A], 1: [B]}, found=[B]))
    first, second = result.references["en"]
    assert (list(first), list(second)) == (["w"], ["v", "w"])


def test_scores_are_those_of_the_files_that_are_written(tmp_path, capsys):
    rng, records = np.random.default_rng(0), []
    for video in range(6):
        truth = {k: [(*sorted(rng.uniform(0, 30, 2)), str(rng.choice(list("abc")))) for _ in range(3)] for k in (0, 1)}
        predicted = [(*sorted(rng.uniform(-0.1, 30, 2)), str(rng.choice(list("abc")))) for _ in range(4)]
        records.append(record(f"v{video}", 0.0, 30.0, truth, found=predicted))
    result = run(*records, metrics=("rouge", "cider"))
    external = {"used": True, "details": "pretrained weights of the encoder: a.pth"}
    result.write(tmp_path, step=7, split="d@val", samples=2, output_format="plain", external_data=external)
    written = json.loads((tmp_path / "predictions.json").read_text())
    assert set(written) == {"version", "results", "external_data"}
    assert written["external_data"] == external
    predictions = activitynet.read_submission(tmp_path / "predictions.json")
    wanted = score_dense(predictions, result.references["en"], metrics=["rouge", "cider"])
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["scores"]["en"] == wanted.corpus
    assert (report["step"], report["items"]) == (7, {"en": 6})
    assert any("SODA_c is absent" in warning for warning in report["warnings"])
    # And the command gives them from files.
    for k, annotations in enumerate(result.references["en"]):
        data = {
            id: {"duration": each.duration, "timestamps": [e[:2] for e in each.events],
                 "sentences": [e.sentence for e in each.events]}
            for id, each in annotations.items()
        }  # fmt: skip
        (tmp_path / f"val_{k}.json").write_text(json.dumps(data))
    files = ["--predictions", str(tmp_path / "predictions.json"), "--references"]
    files += [str(tmp_path / f"val_{k}.json") for k in (0, 1)]
    assert score_files([*files, "--metrics", "rouge,cider", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == pytest.approx(wanted.corpus)
    samples = (tmp_path / "samples.md").read_text()
    assert samples.count("truth") == 6
    assert "v3" not in samples


def test_a_best_score_may_be_an_error_or_not_be_defined():
    scores = {"en": {"F1": 0.5, "boundary error p90 (s)": 2.0}, "de": {"F1": 0.25, "boundary error p90 (s)": 1.0}}
    assert value_of(scores, "F1") == 0.375
    assert value_of(scores, "boundary error p90 (s)") == -1.5
    assert value_of(scores, "Kendall tau") == -math.inf
    nothing = run(record("v", 0, 20, {0: [A]}, found=[]))
    assert value_of(nothing.scores, "matched tIoU") == -math.inf
    assert value_of(nothing.scores, "F1@0.5") == 0


def test_a_language_without_events_is_named():
    with pytest.raises(ValueError, match="no events in de"):
        run(record("v", 0, 20, {0: [A]}, found=[A]), languages=("en", "de"))


def test_scores_are_read_back(tmp_path):
    result = run(record("v", 0, 20, {0: [A]}, found=[A]))
    result.write(tmp_path, step=1, split="d@val", samples=0)
    assert read_scores(tmp_path)["F1"] == pytest.approx(1)
