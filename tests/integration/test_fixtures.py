"""Old datasets, workdirs, exports and configs still load, and the present code answers what the old code answered.

The answers of the old code are in `tests/fixtures/*/expected.json`; see the README there.
"""

import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from capjax.config import aliases, default_config, flatten
from capjax.models.parameter_aliases import modern_name
from tests.helpers.tiny_job import ROOT, shared_once

FIXTURES = ROOT / "tests/fixtures/v0.1.0"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
DEFAULT_SECTIONS = ("records", "vocabularies", "configs", "metrics", "workdirs")
WORKDIRS = sorted(EXPECTED["workdirs"])


def is_recorded_environment() -> bool:
    """Whether packages and processor are those that the old code had, so that floats should have the same bits."""
    recorded = EXPECTED["environment"]
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split("flags")[1].split("\n")[0].split() if info.is_file() else []
    vectors = [flag for flag in ("avx2", "fma", "avx512f", "amx_tile") if flag in flags]
    return (
        (platform.machine(), vectors, os.cpu_count()) == (recorded["machine"], recorded["vectors"], recorded["cores"])
        and all(version(name) == expected for name, expected in recorded["packages"].items())
    )  # fmt: skip


# Relative and absolute tolerance of floats.
BITS, ROUNDING = 0.0, 1e-4


def answers_of(tmp_path_factory, *sections: str) -> dict:
    """Returns the answers of the present code to sections of expected.json, from a process with the recorded flags."""

    def make(folder: Path):
        shutil.copytree(FIXTURES, folder / "files")
        done = subprocess.run(
            [sys.executable, "-m", "tests.helpers.fixture_answers", *sections, "--write", str(folder / "answers.json")],
            cwd=folder / "files", capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": EXPECTED["environment"]["xla_flags"],
                              "JAX_PLATFORMS": "cpu"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    folder = shared_once(tmp_path_factory, f"fixture_answers_{'_'.join(sections)}", make)
    return json.loads((folder / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict:
    return answers_of(tmp_path_factory, *DEFAULT_SECTIONS)


def differences(expected, answer, tolerance: Callable[[str], float], path: str = "") -> Iterator[str]:
    """Yields the entries of `expected` that `answer` lacks or has otherwise. `tolerance` is a function of the path."""
    if isinstance(expected, dict) and isinstance(answer, dict):
        for key in expected.keys() | answer.keys():
            if (key in expected) != (key in answer):
                yield f"{path}/{key}: only {'expected' if key in expected else 'answered'}"
            else:
                yield from differences(expected[key], answer[key], tolerance, f"{path}/{key}")
    elif isinstance(expected, list) and isinstance(answer, list) and len(expected) == len(answer):
        for index, (left, right) in enumerate(zip(expected, answer, strict=True)):
            yield from differences(left, right, tolerance, f"{path}/{index}")
    elif isinstance(expected, float) and isinstance(answer, float):
        allowed = tolerance(path)
        is_nan = math.isnan(expected) and math.isnan(answer)
        if not is_nan and not math.isclose(expected, answer, rel_tol=allowed, abs_tol=allowed):
            yield f"{path}: {expected!r} expected, {answer!r} answered (tolerance {allowed})"
    elif expected != answer:
        yield f"{path}: {expected!r} expected, {answer!r} answered"


def assert_same(expected, answer, tolerance: float | Callable[[str], float] = BITS):
    different = list(differences(expected, answer, tolerance if callable(tolerance) else lambda path: tolerance))
    assert not different, f"{len(different)} differences\n" + "\n".join(sorted(different)[:20])


def model_tolerance(name: str) -> float:
    # The last digits of convolutions, in features_reranked, depend on the number of cores.
    return BITS if is_recorded_environment() and name != "features_reranked" else ROUNDING


def without_wording(value):
    """Removes the version of capjax and the rules of normalization, which capjax 0.1 did not name, from signatures, and
    the wording of warnings, whose number remains."""
    if isinstance(value, dict):
        return {key: len(item) if key == "warnings" else without_wording(item) for key, item in value.items()}
    return re.sub(r"\+nfc[^|]*|\|capjax:[^|]*", "", value) if isinstance(value, str) else value


@pytest.mark.parametrize("dataset", EXPECTED["records"])
def test_records_are_read(answers, dataset):
    assert_same(EXPECTED["records"][dataset], answers["records"][dataset])


def test_vocabularies_have_the_same_ids(answers):
    assert_same(EXPECTED["vocabularies"], answers["vocabularies"])


@pytest.mark.parametrize("index", range(len(EXPECTED["configs"])))
def test_configs_have_the_same_values(answers, index):
    answer = answers["configs"][index]["config"]
    expected = {aliases.OLD_NAMES.get(key, key): value for key, value in EXPECTED["configs"][index]["config"].items()}
    expected["data.curriculum"] = [
        [first, {aliases.OLD_STAGE_NAMES.get(key, key): value for key, value in stage.items()}]
        for first, stage in expected["data.curriculum"]
    ]
    new_settings = {key: value for key, value in flatten(default_config()).items() if key not in expected}
    assert_same(expected | json.loads(json.dumps(new_settings, default=ConfigDict.to_dict)), answer)


@pytest.mark.parametrize("lang", EXPECTED["metrics"]["captions"])
def test_captions_have_the_same_scores(answers, lang):
    expected = dict(EXPECTED["metrics"]["captions"][lang])
    for key in ("predictions", "references", "metrics"):
        del expected[key]
    assert_same(without_wording(expected), without_wording(answers["metrics"]["captions"][lang]))


def test_events_have_the_same_scores(answers):
    expected = {k: v for k, v in EXPECTED["metrics"]["events"].items() if k not in ("predictions", "references")}
    assert_same(without_wording(expected), without_wording(answers["metrics"]["events"]))


@pytest.mark.parametrize("name", WORKDIRS)
def test_models_give_the_same_captions_and_events(answers, name):
    expected, answer = EXPECTED["workdirs"][name], answers["workdirs"][name]
    for key in ("step", "languages", "dense"):
        assert answer[key] == expected[key]
    for question, reply in zip(expected["asked"], answer["asked"], strict=True):
        assert_same(question["answers"], reply["answers"], model_tolerance(name))


@pytest.mark.parametrize("name", WORKDIRS)
def test_old_names_of_options_warn(answers, name):
    for reply in answers["workdirs"][name]["asked"]:
        old_names = [name for name in reply["options"] if f"decode.{name}" in aliases.OLD_NAMES]
        for old_name in old_names:
            new_name = aliases.OLD_NAMES[f"decode.{old_name}"].removeprefix("decode.")
            assert any(repr(old_name) in text and repr(new_name) in text for text in reply["deprecated"])
        assert len(reply["deprecated"]) == len(old_names)


@pytest.fixture(scope="module")
def slow_answers(tmp_path_factory) -> dict:
    return answers_of(tmp_path_factory, "eval", "begun", "resumed", "exports")


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKDIRS)
def test_evaluation_writes_the_same_files(slow_answers, name):
    expected, answer = EXPECTED["workdirs"][name]["eval"], slow_answers["eval"][name]["eval"]
    assert_same(without_wording(expected), without_wording(answer), model_tolerance(name))


def training_tolerance(path: str) -> float:
    if not is_recorded_environment():
        return ROUNDING
    return 1e-5 if path.endswith("gradient_norm") else BITS


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKDIRS)
def test_training_begins_with_the_same_losses(slow_answers, name):
    assert_same(EXPECTED["begun"][name], slow_answers["begun"][name], training_tolerance)


@pytest.mark.slow
def test_an_old_training_goes_on_to_the_same_losses_and_scores(slow_answers):
    expected, answer = EXPECTED["resumed"], slow_answers["resumed"]
    assert_same(expected["metrics"], answer["metrics"], training_tolerance)
    assert_same(without_wording(expected["scores"]), without_wording(answer["scores"]), training_tolerance)


def modern_path(path: str) -> str:
    """The present path in the training state of an array of a checkpoint of capjax 0.1."""
    return re.sub(r"'([^']*/[^']*)'", lambda match: repr(modern_name(match[1])), path)


def parameters(state: dict) -> dict:
    """The entries of parameters and their averages, without the arrays of the optimizer."""
    return {path: array for path, array in state.items() if not path.startswith("['opt_state']")}


@pytest.mark.slow
def test_an_old_training_goes_on_to_the_same_state(slow_answers):
    expected = {modern_path(path): array for path, array in EXPECTED["resumed"]["state"].items()}
    answer = slow_answers["resumed"]["state"]
    without_bits = [{path: array | {"sha256": ""} for path, array in state.items()} for state in (expected, answer)]
    assert_same(*without_bits, ROUNDING)
    if is_recorded_environment():
        assert_same(parameters(expected), parameters(answer))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED["exports"])
def test_old_exports_give_the_same_answers(slow_answers, name):
    expected, answer = EXPECTED["exports"][name], slow_answers["exports"][name]
    assert_same(expected["asked"], answer["asked"], model_tolerance(name))
    assert_same(without_wording(expected["eval"]), without_wording(answer["eval"]), model_tolerance(name))
