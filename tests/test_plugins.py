"""Plug-ins: how modules of users are found, what their errors name, and entry points."""

import sys
from importlib.metadata import EntryPoint

import pytest

from capjax import config, plugins
from capjax.config import ConfigError
from capjax.config.defaults import SETTINGS
from capjax.plugins import PluginError, import_plugins, import_remembered
from capjax.registry import Registry
from capjax.train.optimizer import OPTIMIZERS

OPTIMIZER = """
from capjax.train.optimizer import OPTIMIZERS
OPTIMIZERS.register("test_optimizer")(lambda config: [])
"""


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Modules, `sys.path`, registries and entry points are as before after each test."""
    modules, makers = set(sys.modules), dict(OPTIMIZERS._makers)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("test_plugin"):
            del sys.modules[name]
    OPTIMIZERS._makers = makers
    plugins._entry_points.cache_clear()
    plugins.import_entry_points.cache_clear()


@pytest.fixture
def install(monkeypatch):
    """Returns a function that makes a module an installed entry point."""

    def install(name: str):
        point = EntryPoint(name, name, plugins.GROUP)
        monkeypatch.setattr(plugins, "entry_points", lambda group: (point,) if group == plugins.GROUP else ())
        plugins._entry_points.cache_clear()
        plugins.import_entry_points.cache_clear()

    return install


def write_config(folder, text: str = ""):
    path = folder / "job.py"
    path.write_text(
        "from capjax.config import default_config\n\n\ndef get_config():\n    config = default_config()\n"
        f"    {text or 'pass'}\n    return config\n"
    )
    return str(path)


def test_a_config_finds_a_plugin_beside_it_and_accepts_its_names(tmp_path):
    (tmp_path / "test_plugin_a.py").write_text(OPTIMIZER)
    source = write_config(tmp_path, 'config.plugins, config.optimizer.name = ("test_plugin_a",), "test_optimizer"')
    assert config.load(source).optimizer.name == "test_optimizer"
    with pytest.raises(ConfigError, match="optimizer.name = 'test_optimiser': did you mean 'test_optimizer'"):
        config.load(source, ["optimizer.name=test_optimiser"])


def test_a_plugin_is_found_in_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "test_plugin_b.py").write_text(OPTIMIZER)
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    overrides = ["plugins=test_plugin_b", "optimizer.name=test_optimizer"]
    assert config.load(write_config(tmp_path / "configs"), overrides).plugins == ("test_plugin_b",)


def test_a_config_may_import_its_plugin(tmp_path):
    """The module is then run twice, and what it registers is the same."""
    (tmp_path / "test_plugin_c.py").write_text(OPTIMIZER)
    source = write_config(tmp_path, 'import test_plugin_c; config.plugins = ("test_plugin_c",)')
    assert config.load(source).plugins == ("test_plugin_c",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = undefined\n", r"test_plugin_d\.py, line 2: NameError: name 'undefined' is not defined"),
        ("x = 1\nif x\n", r"test_plugin_d\.py, line 2: SyntaxError: "),
        ("import not_installed_module", r"test_plugin_d\.py, line 1: ModuleNotFoundError: .*not_installed_module"),
        ("import sys\nsys.exit(3)", r"test_plugin_d\.py, line 2: SystemExit: 3"),
        (
            "from capjax.train.optimizer import OPTIMIZERS\nOPTIMIZERS.register('adam')(len)",
            r"test_plugin_d\.py, line 2: optimizer 'adam' is registered twice",
        ),
    ],
)
def test_an_error_in_a_plugin_names_file_and_line(tmp_path, text, message):
    (tmp_path / "test_plugin_d.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        config.load(write_config(tmp_path), ["plugins=test_plugin_d"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test_plugin_none", "there is no module 'test_plugin_none' in the current directory"),
        ("json.none", "there is no module 'json.none'"),
        ("my-plugin.py", "'my-plugin.py' is not the name of a module, such as 'my_module'"),
    ],
)
def test_a_plugin_that_does_not_exist_is_named(name, message):
    with pytest.raises(PluginError, match=message):
        import_plugins([name])


def test_a_remembered_module_is_imported_if_it_is_an_entry_point(tmp_path, monkeypatch, install):
    (tmp_path / "test_plugin_e.py").write_text(OPTIMIZER)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="config.json needs the plug-in 'test_plugin_e'"):
        import_remembered(["test_plugin_e"], "config.json")
    assert "test_plugin_e" not in sys.modules
    install("test_plugin_e")
    import_remembered(["test_plugin_e"], "config.json")
    assert "test_optimizer" in OPTIMIZERS.names()


def test_a_remembered_module_is_accepted_once_the_user_has_named_it(tmp_path, monkeypatch):
    (tmp_path / "test_plugin_f.py").write_text(OPTIMIZER)
    monkeypatch.chdir(tmp_path)
    import_plugins(["test_plugin_f"])
    import_remembered(["test_plugin_f"], "config.json")


def test_an_unknown_name_imports_the_entry_points(tmp_path, monkeypatch, install):
    (tmp_path / "test_plugin_g.py").write_text(OPTIMIZER)
    monkeypatch.syspath_prepend(tmp_path)
    install("test_plugin_g")
    OPTIMIZERS.get("adam")
    assert "test_plugin_g" not in sys.modules, "names that are registered need no entry point"
    assert config.load(write_config(tmp_path), ["optimizer.name=test_optimizer"])
    assert OPTIMIZERS.get("test_optimizer")


def test_an_entry_point_that_fails_is_a_warning(tmp_path, monkeypatch, install, caplog):
    (tmp_path / "test_plugin_h.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    install("test_plugin_h")
    with pytest.raises(ValueError, match="unknown thing 'a'"):
        Registry("thing").get("a")
    assert "test_plugin_h.py, line 1: ZeroDivisionError" in caplog.text


def test_the_settings_list_the_optimizers():
    names = SETTINGS["optimizer.name"].check.expected.removesuffix(", or one of a plug-in").split(", ")
    assert sorted(names) == OPTIMIZERS.names()
