"""metrics.jsonl of a run, and the rate that the progress bar shows."""

import io
import json

from tqdm import tqdm

from capjax.train.reporter import Reporter
from capjax.workdir.metrics_log import read_metrics

VALUES = {"loss": 2.0, "seconds_per_step": 0.5}


def make(tmp_path, *, start=0):
    return Reporter(tmp_path / "metrics.jsonl", start=start, steps=10, batch_size=8)


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


def test_compilation_is_left_out_of_the_rate(tmp_path):
    reporter = make(tmp_path)
    reporter._bar = tqdm(total=10, file=io.StringIO())
    start, last = reporter._bar.start_t, reporter._bar.last_print_t
    reporter.exclude(60.0)
    assert (reporter._bar.start_t, reporter._bar.last_print_t) == (start + 60.0, last + 60.0)
    reporter.close()
