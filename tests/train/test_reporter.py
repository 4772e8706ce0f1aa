"""What a run writes of itself while it goes."""

import json

import pytest

from capjax.train import reporter as reporter_module
from capjax.train.reporter import Reporter
from capjax.workdir.metrics_log import read_metrics

VALUES = {"loss": 2.0, "seconds_per_step": 0.5}


def make(tmp_path, *, start=0, tensorboard=False):
    directory = tmp_path / "tensorboard" if tensorboard else None
    return Reporter(tmp_path / "metrics.jsonl", start=start, steps=10, batch_size=8, tensorboard_dir=directory)


def test_a_resumed_run_drops_the_lines_of_the_steps_it_repeats(tmp_path):
    first = make(tmp_path)
    for step in (1, 2, 3):
        first.metrics(step, VALUES)
    first.close()
    second = make(tmp_path, start=1)
    second.metrics(2, VALUES)
    second.close()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[0]["images_per_second"] == 16


def test_scores_and_metrics_after_an_interruption_follow_the_kept_rows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": step, "loss": 1.5} for step in range(1, 8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 8, "lo')  # killed while writing
    reporter = make(tmp_path, start=5)
    assert read_metrics(path) == rows[:5]
    reporter.metrics(6, {"loss": 1.0, "seconds_per_step": 0.5})
    reporter.scores(6, {"CIDEr": 0.25})
    reporter.close()
    new = [
        {"step": 6, "loss": 1.0, "seconds_per_step": 0.5, "images_per_second": 16.0},
        {"step": 6, "eval/CIDEr": 0.25},
    ]
    assert read_metrics(path) == rows[:5] + new


def test_tensorboard_gets_every_value_that_metrics_jsonl_gets(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pytest.importorskip("clu.metric_writers")
    reporter = make(tmp_path, tensorboard=True)
    for step in (1, 2, 3):
        reporter.metrics(step, VALUES | {"loss": float(step)})
    reporter.scores(3, {"CIDEr": 0.5})
    reporter.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"loss", "seconds_per_step", "images_per_second", "eval/CIDEr"} <= set(tags)
    assert [event.step for event in events.Tensors("loss")] == [1, 2, 3]


def test_an_error_of_the_writer_is_not_lost(tmp_path, monkeypatch):
    def full(directory):
        raise OSError(28, "No space left on device", str(directory))

    monkeypatch.setattr(reporter_module, "_summary_writer", full)
    reporter = make(tmp_path, tensorboard=True)
    reporter.metrics(1, VALUES)
    with pytest.raises(OSError, match="No space left"):
        reporter.close()
