"""When the state is saved and evaluated; the run is a recorder."""

import contextlib
import json
from types import SimpleNamespace

import pytest

from capjax.train import hooks
from capjax.train.hooks import Evaluate, SaveCheckpoints

STEPS = 10


class Recorder:
    """Stands in for a TrainRun of 10 steps, and notes what its hooks do."""

    def __init__(self, workdir, *, start=0, every=3, eval_every=4):
        self.log, self.start, self.step, self.stop_signal = [], start, start, None
        self.config = SimpleNamespace(
            train=SimpleNamespace(steps=STEPS, eval_every=eval_every),
            checkpoint=SimpleNamespace(every=every, best="CIDEr"), data=SimpleNamespace(languages=("en",)),
        )  # fmt: skip
        self.workdir = SimpleNamespace(metrics_path=workdir / "metrics.jsonl")
        self.state = SimpleNamespace(for_eval=lambda: ({}, {}))
        self.batches = SimpleNamespace(get_state=dict)
        result = SimpleNamespace(scores={"en": {"CIDEr": 0.5}}, warnings=[])
        self.eval_split = SimpleNamespace(evaluate=lambda *args, **options: self.note("evaluate", result))
        self.checkpoints = SimpleNamespace(
            save=lambda step, *_: self.note("save"), beats_best=lambda *_: False, close=lambda: None
        )
        self.reporter = SimpleNamespace(scores=lambda *_: None, say=lambda text: None)
        self.verify, self.busy = (lambda: None), contextlib.nullcontext
        self.excluded = self.exit_on_signal = contextlib.nullcontext

    @property
    def is_last(self) -> bool:
        return self.step == STEPS

    def note(self, what, result=None):
        self.log.append((self.step, what))
        return result

    def train(self, *stop_at: int) -> list[tuple[int, str]]:
        chain = [SaveCheckpoints(), Evaluate(SimpleNamespace())]
        for hook in chain:
            hook.on_start(self)
        for step in range(self.start + 1, STEPS + 1):
            self.step = step
            self.stop_signal = 15 if self.step in stop_at else None
            for hook in chain:
                hook.after_step(self)
        return self.log


def test_the_state_is_saved_before_it_is_evaluated(tmp_path):
    assert Recorder(tmp_path).train() == [
        (3, "save"), (4, "save"), (4, "evaluate"), (6, "save"), (8, "save"), (8, "evaluate"), (9, "save"),
        (10, "save"), (10, "evaluate"),
    ]  # fmt: skip


def test_a_run_that_stops_saves_and_leaves_the_evaluation_to_the_next_start(tmp_path):
    log = Recorder(tmp_path).train(4, 5)
    assert (4, "save") in log and (5, "save") in log and (4, "evaluate") not in log


@pytest.mark.parametrize(
    ("row", "repeats"), [({"step": 8, "loss": 1.0}, True), ({"step": 8, "eval/CIDEr": 1.0}, False)]
)
def test_an_evaluation_that_was_cut_off_is_repeated(tmp_path, row, repeats):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    log = Recorder(tmp_path, start=8).train()
    assert ((8, "evaluate") in log) == repeats


def test_a_start_between_evaluations_evaluates_nothing(tmp_path):
    assert (7, "evaluate") not in Recorder(tmp_path, start=7).train()


def test_a_profile_covers_its_steps(tmp_path, monkeypatch):
    run, calls = Recorder(tmp_path), []
    run.settle, run.workdir.path = (lambda: None), tmp_path
    monkeypatch.setattr(hooks.jax.profiler, "start_trace", lambda path: calls.append((run.step + 1, path)))
    monkeypatch.setattr(hooks.jax.profiler, "stop_trace", lambda: calls.append(run.step))
    profile = hooks.Profile(1, 3)
    profile.on_start(run)
    for run.step in range(1, STEPS + 1):
        profile.after_step(run)
    profile.close()
    assert calls == [(1, tmp_path / "profile"), 3]
