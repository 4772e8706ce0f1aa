"""launch.py: its arguments, and what it says of wrong ones before anything is written."""

import importlib.util

import pytest

from capjax import jobs
from capjax.parallel import hosts
from tests.helpers.tiny_job import ROOT

SPEC = importlib.util.spec_from_file_location("launch", ROOT / "launch.py")
launch = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(launch)

SHAPES = ROOT / "configs/shapes.py"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """launch.py with a workdir -> (exit status, errors)."""
    monkeypatch.setenv("CAPJAX_CACHE", str(tmp_path / "cache"))

    def main(*args, config=SHAPES):
        argv = ["launch.py", "--config", str(config), "--workdir", str(tmp_path / "run"), *args]
        monkeypatch.setattr("sys.argv", argv)
        return launch.main(), capsys.readouterr().err

    return main


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.encoder.nam=vit_tiny", "did you mean 'model.encoder.name'?"),
        ("optimizer.name=adamm", "optimizer.name = 'adamm': did you mean 'adam"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_is_written(run, tmp_path, override, message):
    status, errors = run(f"--config.{override}")
    assert status == 1
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


def test_a_missing_config_names_its_neighbor(run):
    status, errors = run(config=ROOT / "configs/shape.py")
    assert status == 1
    assert "did you mean 'shapes'?" in errors


def test_a_config_without_data_says_what_to_set(run):
    status, errors = run()
    assert status == 1
    assert "launch.py: data.vocabulary is empty; make one with" in errors


@pytest.mark.parametrize(
    "args",
    [
        ["--output=x"],
        ["--mode=export", "--model=x"],
        ["--checkpoint=3"],
        ["--mode=eval", "--model=x", "--checkpoint=3"],
        ["--mode", "trian"],
        ["--stpes=3"],
        ["train.steps=3"],
        ["--conf", "x"],
    ],
)
def test_wrong_arguments_exit_with_2(run, args):
    with pytest.raises(SystemExit) as stop:
        run(*args)
    assert stop.value.code == 2


@pytest.mark.parametrize("mode", ["train", "eval", "export"])
def test_the_help_of_a_command_is_about_its_mode_alone(mode, capsys):
    with pytest.raises(SystemExit):
        launch.main(["--help"], mode)
    assert "--mode=" not in capsys.readouterr().out


def test_arguments_reach_the_job(run, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(jobs, "run", lambda *args, **more: calls.append((*args, more)) or 0)
    given = ["seed=3", "data.languages=en,de"]
    assert run("--mode=eval", *(f"--config.{setting}" for setting in given))[0] == 0
    where, compiles = (str(SHAPES), str(tmp_path / "run")), {"topologies": [], "batches": None}
    more = {"compiles": compiles, "output": None, "model": None, "checkpoint": "", "program": "launch.py"}
    assert calls == [("eval", *where, given, more)]
    assert run("--mode=eval", "--model=there")[0] == 0
    assert calls[-1] == ("eval", *where, [], more | {"model": "there"})
    assert run("--mode=eval", "--checkpoint=best")[0] == 0
    assert calls[-1] == ("eval", *where, [], more | {"checkpoint": "best"})
    assert run("--mode=export", "--output=here")[0] == 0
    assert calls[-1] == ("export", *where, [], more | {"output": "here"})


def test_scores_are_printed_and_other_errors_are_not_hidden(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(jobs, "train", lambda config, workdir: {"CIDEr": 0.5})
    assert jobs.run("train", str(SHAPES), str(tmp_path), []) == 0
    assert capsys.readouterr().out == "CIDEr    0.5000\n"

    def fail(config, workdir):
        raise OSError(28, "No space left on device", "checkpoints/5")

    monkeypatch.setattr(jobs, "train", fail)
    assert jobs.run("train", str(SHAPES), str(tmp_path), []) == 1
    assert "No space left on device: 'checkpoints/5'" in capsys.readouterr().err


@pytest.mark.parametrize(("stepped", "status"), [(False, 1), (True, 70)])
def test_only_an_unforeseen_error_after_the_first_step_may_be_worth_a_restart(
    monkeypatch, tmp_path, capsys, stepped, status
):
    def fail(config, workdir):
        hosts.heartbeat(0, busy=True)
        hosts.heartbeat(1)  # the first step is started, and may still fail
        hosts.heartbeat(1)
        if stepped:
            hosts.heartbeat(2)
        return 1 / 0

    monkeypatch.setattr(jobs, "train", fail)
    assert jobs.run("train", str(SHAPES), str(tmp_path), []) == status
    assert "Traceback" in (errors := capsys.readouterr().err) and "ZeroDivisionError" in errors


@pytest.mark.parametrize("line", ["import torchvission", "x = y", "x = (", "raise OSError('gone')"])
def test_an_error_in_a_config_file_names_the_line_and_is_not_restarted(run, tmp_path, line):
    config = tmp_path / "mine.py"
    config.write_text(f"# mine\n{line}\n")
    status, errors = run(config=config)
    assert status == 1
    assert f"launch.py: {config}, line 2: " in errors
    assert "Traceback" not in errors


def test_a_name_that_is_not_utf8_is_refused_before_anything_is_written(run, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        run("--output", "caf\udce9", "--mode=export")
    assert not list(tmp_path.iterdir())


def test_bulk_has_arguments_of_its_own(monkeypatch):
    received = []
    monkeypatch.setattr("capjax.commands.bulk.main", lambda *args: received.append(args) or 0)
    assert launch.main(["--input", "a", "--mode=bulk", "--output", "b", "--workdir", "c"]) == 0
    assert received == [(["--input", "a", "--output", "b", "--workdir", "c"], "launch.py --mode=bulk")]
    with pytest.raises(SystemExit) as stop:
        launch.main(["--mode=train", "--input", "a"])
    assert stop.value.code == 2
