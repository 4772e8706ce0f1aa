"""Old module paths and names give the present objects, each with one warning that names the present path."""

import importlib
import subprocess
import sys
import warnings

import pytest

from capjax._deprecated import MODULES, NAMES, OldName


def present_object(path: str):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def forget(path: str, monkeypatch):
    """Lets an old path be used as if for the first time in this process."""
    module, _, name = path.rpartition(".")
    if module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    else:
        vars(importlib.import_module(module)).pop(name, None)


@pytest.mark.parametrize("old", NAMES)
def test_old_names_give_the_present_object_and_warn_once(old, monkeypatch):
    forget(old, monkeypatch)
    module, _, name = old.rpartition(".")
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        namespace = {}
        exec(f"from {module} import {name}", namespace)
    assert namespace[name] is present_object(NAMES[old])
    assert [str(w.message) for w in raised if "is now" in str(w.message)] == [f"{old} is now {NAMES[old]}"]
    assert all(w.filename == "<string>" for w in raised if "is now" in str(w.message))


@pytest.mark.parametrize("old", MODULES)
def test_old_modules_have_the_names_of_the_present_module(old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    present, module = importlib.import_module(MODULES[old]), importlib.import_module(old)
    own = [name for name, value in vars(present).items() if getattr(value, "__module__", "") == present.__name__]
    for name in own[:1]:
        with pytest.warns(DeprecationWarning, match=MODULES[old]):
            assert getattr(module, name) is getattr(present, name)
    assert not hasattr(module, "no_such_name")


@pytest.mark.parametrize(
    ("old", "present"),
    [
        ("capjax.predict.predictor.Predictor.watch", "localize"),
        ("capjax.text.vocabulary.Vocabulary.time_pieces", "num_time_tokens"),
    ],
)
def test_old_methods_and_attributes_give_the_present_ones_and_warn(old, present):
    path, _, name = old.rpartition(".")
    cls = present_object(path)
    with pytest.warns(DeprecationWarning, match=f"{cls.__name__}.{name} is now {cls.__name__}.{present}") as raised:
        assert getattr(cls, name) is getattr(cls, present)
    assert raised[0].filename == __file__


def test_an_old_attribute_of_an_instance_has_its_value():
    class Model:
        width = OldName("size")

        def __init__(self):
            self.size = 3

    with pytest.warns(DeprecationWarning, match="Model.width is now Model.size"):
        assert Model().width == 3


def test_modules_in_old_packages_are_found():
    with pytest.warns(DeprecationWarning, match="data_prep.synthetic.shapes.draw"):
        from data_prep.shapes.draw import draw
    assert draw is present_object("data_prep.synthetic.shapes.draw.draw")


def test_old_packages_run_as_programs():
    for package in ("shapes", "moving"):
        done = subprocess.run(
            [sys.executable, "-W", "always", "-m", f"data_prep.{package}", "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "usage" in done.stdout and f"is now data_prep.synthetic.{package}" in done.stderr


def test_other_names_are_missing_as_before():
    import capjax.data.record as record

    assert not hasattr(record, "no_such_name")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("capjax.data.no_such_module")


def test_present_code_uses_no_old_paths():
    """Importing all of the library gives none of its warnings."""
    code = "import capjax.predict, capjax.jobs, capjax.metrics.scoring, data_prep.cli, data_prep.readers"
    done = subprocess.run(
        [sys.executable, "-W", "error:.* is now:DeprecationWarning", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_importing_capjax_imports_nothing_heavy():
    code = "import sys, capjax; print([m for m in ('jax', 'numpy', 'capjax.predict') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
