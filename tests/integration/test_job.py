"""media → records → training → evaluation → captions, on the tiny job."""

import json
import re

import jax
import pytest

import capjax
from capjax import jobs, runtime
from capjax.workdir.checkpoint import load_weights
from capjax.workdir.layout import Workdir
from tests.helpers.disks import read_only, small_disk
from tests.helpers.tiny_job import DEFAULT_CONFIG, STEPS, copy, one_device, predictions, rows


@pytest.fixture
def job(tiny, monkeypatch, capsys):
    """jobs.run on the tiny job -> (exit status, errors)."""
    monkeypatch.setenv("CAPJAX_CACHE", str(tiny.path / "cache"))
    runtime.start()

    def run(workdir, *more, mode="train", checkpoint="", output=None):
        settings = tiny.settings(*more)
        status = jobs.run(mode, DEFAULT_CONFIG, str(workdir), settings, checkpoint=checkpoint, output=output)
        return status, capsys.readouterr().err

    return run


def test_a_workdir_has_all_that_a_run_made(tiny):
    workdir = tiny.trained()
    assert Workdir(workdir).config().to_dict() == tiny.config().to_dict()
    assert (workdir / "vocabulary.model").read_bytes() == (tiny.path / "vocabulary.model").read_bytes()
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["36", "40"], "the last two"
    assert len(list((workdir / "best").iterdir())) == 1
    losses = {row["step"]: row["loss"] for row in rows(workdir) if "loss" in row}
    assert list(losses) == list(range(1, STEPS + 1))
    assert losses[STEPS] < losses[1] / 4, "it learns"
    assert "**" in (workdir / "samples.md").read_text()
    assert sorted(path.name for path in workdir.iterdir()) == [
        "best", "checkpoints", "config.json", "digests.json", "media.json", "metrics.jsonl", "predictions.de.json",
        "predictions.json", "samples.md", "scores.json", "vocabulary.model",
    ]  # fmt: skip


def test_evaluation_gives_the_scores_that_training_gave(tiny):
    workdir = tiny.trained()
    scores = json.loads((workdir / "scores.json").read_text())
    (trained,) = [row for row in rows(workdir) if "eval/CIDEr" in row and row["step"] == scores["step"]]
    for metric in scores["scores"]["en"]:
        mean = sum(scores["scores"][lang][metric] for lang in ("en", "de")) / 2
        assert trained[f"eval/{metric}"] == pytest.approx(mean, abs=1e-12)
    assert scores["step"] == load_weights(workdir)[0]
    assert scores["items"] == {"en": 12, "de": 12}
    assert len(predictions(workdir)) == len(predictions(workdir, "de")) == 12


def test_the_step_is_compiled_once(tiny):
    log = (tiny.trained().parent / "train.log").read_text()
    compiled = re.findall(r"Finished XLA compilation of jit\((\w+)\)", log)
    assert {name: compiled.count(name) for name in ("init", "step", "_encode", "_generate")} == {
        "init": 1, "step": 1, "_encode": 1, "_generate": 1,
    }  # fmt: skip


def test_evaluation_runs_on_other_devices(tiny, job, tmp_path):
    assert jax.device_count() == 8
    workdir = copy(tiny.trained(), tmp_path / "run")
    wanted = predictions(workdir)
    (workdir / "predictions.json").unlink()
    status, errors = job(workdir, "mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2", mode="eval")
    assert status == 0, errors
    assert predictions(workdir) == wanted


def test_a_read_only_workdir_is_captioned_and_evaluated_into_another_folder(tiny, job, tmp_path, monkeypatch):
    one_device(monkeypatch)
    workdir, output = copy(tiny.trained(), tmp_path / "run"), tmp_path / "scores"
    with read_only(workdir):
        status, errors = job(workdir, mode="eval")
        assert status == 1
        assert f"{workdir} cannot be written (" in errors and "give another folder with --output DIR" in errors
        assert "Traceback" not in errors
        status, errors = job(workdir, mode="eval", output=str(output))
        assert status == 0, errors
        (caption,) = capjax.load(workdir).caption([tiny.photos / "000.jpg"])
        assert caption.text
    assert sorted(p.name for p in output.iterdir()) == [
        "predictions.de.json", "predictions.json", "samples.md", "scores.json",
    ]  # fmt: skip
    for name in ("predictions.json", "predictions.de.json", "scores.json"):
        assert (output / name).read_bytes() == (workdir / name).read_bytes()


def test_a_full_disk_ends_a_run_with_one_line_and_the_run_goes_on_when_there_is_room(tiny, tmp_path):
    workdir = tmp_path / "disk/run"
    with small_disk(tmp_path / "disk", 16 * 2**20):
        (tmp_path / "disk/other").write_bytes(bytes(15 * 2**20))
        done = tiny.launch(workdir)
        assert done.returncode in (1, 70), done.stderr
        named = rf"{workdir}/\S+ cannot be written: No space left on device; free some space on its disk"
        assert re.search(named, done.stderr.splitlines()[-1])
        assert "Traceback" not in done.stderr
        (tmp_path / "disk/other").unlink()
        done = tiny.launch(workdir)
        assert done.returncode == 0, done.stderr
        assert losses_of(workdir).keys() == set(range(1, STEPS + 1))


def losses_of(workdir) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in rows(workdir) if "loss" in row}


def test_any_checkpoint_can_be_scored_beside_the_best(tiny, job, tmp_path, monkeypatch):
    one_device(monkeypatch)
    workdir = copy(tiny.trained(), tmp_path / "run")
    best = (workdir / "scores.json").read_bytes()
    status, errors = job(workdir, mode="eval", checkpoint="36")
    assert status == 0, errors
    assert json.loads((workdir / "step_36/scores.json").read_text())["step"] == 36
    assert (workdir / "scores.json").read_bytes() == best
    status, errors = job(workdir, mode="eval", checkpoint="35")
    assert status == 1
    assert "no checkpoint '35'; there are 36, 40, best (" in errors


def test_evaluating_with_another_models_config_is_refused(tiny, job, tmp_path):
    workdir = copy(tiny.trained(), tmp_path / "run")
    status, errors = job(workdir, "model.width=64", mode="eval")
    assert status == 1
    assert "holds a run with model.width = 32, and this config has 64" in errors


def test_evaluating_an_empty_folder_says_that_nothing_was_trained(job, tmp_path):
    status, errors = job(tmp_path / "none", mode="eval")
    assert status == 1
    assert errors.startswith(f"launch.py: {tmp_path / 'none'}: no trained model here")
    assert not (tmp_path / "none").exists()


def test_going_on_with_another_model_names_what_differs(tiny, job, tmp_path, monkeypatch):
    one_device(monkeypatch)
    workdir = copy(tiny.trained(), tmp_path / "run")
    status, errors = job(workdir, "model.width=64")
    assert status == 1
    assert "holds a run with model.width = 32, and this config has 64; use another --workdir" in errors
    # decode.max_len may change, but here it asks for more positions than the model has.
    status, errors = job(workdir, "decode.max_len=30")
    assert status == 1
    assert "params/decoder/position: saved (12, 32), expected (33, 32)" in errors


def test_a_start_in_the_workdir_of_another_run_leaves_its_files(job, tmp_path):
    with Workdir(tmp_path / "run").lock():
        status, errors = job(tmp_path / "run")
        (tmp_path / "run/config.json").write_text("of the other run")
    assert status == 1 and "another run is training in" in errors
    assert (tmp_path / "run/config.json").read_text() == "of the other run"


def test_a_failed_start_leaves_no_workdir(tiny, job, tmp_path):
    problems = {
        f"data.train={tiny.data}@trian": "no split 'trian'", "model.encoder.name=vit_tinny": "mean 'vit_tiny'",
        "train.loss_terms.coverage=1.0": "unknown loss term 'coverage'", f"init={tmp_path}/none": "no trained model",
    }  # fmt: skip
    for settings, problem in problems.items():
        status, errors = job(tmp_path / "runs/new", settings)
        assert (status, problem in errors) == (1, True), errors
        assert not (tmp_path / "runs").exists()


def test_a_failed_start_can_be_mended(tiny, job, tmp_path):
    workdir = tmp_path / "run"
    status, errors = job(workdir, f"data.train={tiny.data}@trian")
    assert status == 1
    assert "no split 'trian'; it has train, val" in errors
    status, errors = job(workdir, "model.encoder.name=vit_tinny")
    assert status == 1
    assert "did you mean 'vit_tiny'" in errors, "and not that the folder is another run's"


@pytest.mark.slow
def test_training_goes_on_over_other_devices(job, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    with monkeypatch.context() as patch:
        one_device(patch)
        assert job(workdir, "train.steps=8", "train.eval_every=0", "optimizer.schedule=constant")[0] == 0
        whole = copy(workdir, tmp_path / "whole")
        assert job(whole, "train.steps=16", "train.eval_every=0", "optimizer.schedule=constant")[0] == 0
    eight = ("mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2")
    status, errors = job(workdir, "train.steps=16", "train.eval_every=0", "optimizer.schedule=constant", *eight)
    assert status == 0, errors
    assert "8 cpu devices; resuming from step 8" in errors
    losses = [[row["loss"] for row in rows(path) if "loss" in row] for path in (whole, workdir)]
    assert losses[0][:8] == losses[1][:8]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
