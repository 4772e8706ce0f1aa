"""Configs: found by name, loaded, overridden and stored; errors name the place."""

import subprocess
import sys

import pytest

from capjax import config as config_lib
from capjax.config import ConfigError
from tests.helpers.every_config import every_config

SHAPES = "configs/shapes.py"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def test_overrides_take_the_type_of_the_default():
    config = config_lib.load(
        SHAPES,
        ["optimizer.learning_rate=1", "data.languages=en,de", "train.tensorboard=false", "name=7",
         "data.train=some/dir@train", "model.decoder.options.layers=3", "data.language_weights.en=2.5"],
    )  # fmt: skip
    assert config.optimizer.learning_rate == 1.0 and isinstance(config.optimizer.learning_rate, float)
    assert config.data.languages == ("en", "de")
    assert config.train.tensorboard is False
    assert config.name == "7"
    assert config.data.train == ("some/dir@train",)
    assert config.model.decoder.options.layers == 3
    assert config.data.language_weights.en == 2.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batchsize=8", r"no key 'train.batchsize' in the config; did you mean 'train.batch_size'\?"),
        ("optimizer.lerning_rate=1", "did you mean 'optimizer.learning_rate'"),
        ("learning_rate=1", "did you mean 'optimizer.learning_rate'"),
        ("trian.steps=5", "train.steps"),
        ("train.steps=many", "train.steps = 'many' is a string; expected a whole number, such as 900"),
        ("train.steps=1.5", "train.steps = 1.5 is a number; expected a whole number"),
        ("train.tensorboard=1", "train.tensorboard = 1 is a whole number; expected true or false"),
        ("train=5", "train is a group; set one of"),
        ("model.decoder.options=5", "group"),
        ("batch_size=8", "'train.batch_size' or 'eval.batch_size'"),
        ("train.steps", "write --config.train.steps=VALUE"),
    ],
)
def test_a_wrong_override_names_the_right_key_or_type(override, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.load(SHAPES, [override])


def test_the_options_of_a_constructor_can_be_replaced_as_a_whole():
    config = config_lib.load(SHAPES, ["model.decoder.name=lstm", 'model.decoder.options={"dropout": 0.5}'])
    assert config.model.decoder.options.to_dict() == {"dropout": 0.5}
    assert config_lib.load(SHAPES, ["model.decoder.options={}"]).model.decoder.options.to_dict() == {}


def test_json_gives_back_the_config():
    config = config_lib.load(SHAPES, ["data.languages=en,de"])
    again = config_lib.from_json(config_lib.to_json(config), "here")
    assert config_lib.flatten(again) == config_lib.flatten(config)


def test_every_config_file_loads():
    for source in every_config():
        assert config_lib.load(source).train.steps > 0


def config_file(tmp_path, text: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return str(path)


HEAD = "from capjax.config import default_config\n\n\ndef get_config():\n    config = default_config()\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (HEAD + "    config.train.stepz = 5\n    return config\n", 6, "no setting 'stepz'.*did you mean 'steps'"),
        (HEAD + "    config.train.steps = stepz\n    return config\n", 6, "NameError: name 'stepz' is not defined"),
        (HEAD + "    config.train.steps = 'x'\n    return config\n", 6, "steps"),
        (HEAD + "    return config.trian\n", 6, "trian"),
        (HEAD + "    raise ValueError('takes no argument')\n", 6, "takes no argument"),
        (HEAD + "    raise SystemExit('no data')\n", 6, "SystemExit: no data"),
        (HEAD + "    return 1 / 0\n", 6, "ZeroDivisionError"),
        (HEAD + "    return dict(\n", 6, "SyntaxError: '\\(' was never closed"),
        ("import torchvission\n", 1, "No module named 'torchvission'"),
        ("x = 1\nfrom capjax.config import defaults_config\n", 2, "ImportError: cannot import name 'defaults_config'"),
    ],
)
def test_an_error_in_a_config_file_names_file_and_line(tmp_path, text, line, message):
    path = config_file(tmp_path, text)
    with pytest.raises(ConfigError, match=f"{path}, line {line}: .*{message}"):
        config_lib.load(path)


def test_an_error_in_a_file_beside_the_config_names_that_file(tmp_path):
    (tmp_path / "sizes.py").write_text("def width():\n    return 1 / 0\n")
    path = config_file(tmp_path, "import sizes\n\n\ndef get_config():\n    return sizes.width()\n")
    with pytest.raises(ConfigError, match=f"{tmp_path / 'sizes.py'}, line 2: ZeroDivisionError"):
        config_lib.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"defines get_config\(arg=None\)"),
        (HEAD + "    config.name = 'x'\n", "get_config returned None; expected the config"),
    ],
)
def test_a_file_that_makes_no_config_says_what_is_missing(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.load(config_file(tmp_path, text))


def test_the_config_of_a_workdir_is_no_config_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(config_lib.to_json(config_lib.default_config()))
    with pytest.raises(ConfigError, match=r"config.json is no config file, which is Python; give the --config"):
        config_lib.load(str(path))


def test_an_argument_that_a_config_does_not_take_is_an_error():
    with pytest.raises(ConfigError, match="shapes.py: it takes no argument, so :small should be left out"):
        config_lib.load("shapes:small")


def test_files_beside_a_config_are_those_of_its_folder(tmp_path):
    for width in (32, 64):
        folder = tmp_path / str(width)
        folder.mkdir()
        (folder / "sizes.py").write_text(f"WIDTH = {width}\n")
        text = HEAD.replace("\n", "\nimport sizes\n", 1) + "    config.model.width = sizes.WIDTH\n    return config\n"
        assert config_lib.load(config_file(folder, text)).model.width == width
    assert "sizes" not in sys.modules


def test_a_name_is_a_file_then_one_of_configs_then_one_that_comes_with_capjax(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = HEAD + "    config.name = {!r}\n    return config\n"
    assert config_lib.load("shapes").name == "shapes"
    assert config_lib.load("videos:features").data.features
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/shapes.py").write_text(text.format("mine"))
    assert config_lib.load("shapes").name == config_lib.load("shapes.py").name == "mine"
    (tmp_path / "shapes").write_text("")
    with pytest.raises(ConfigError, match="shapes: a config file defines get_config"):
        config_lib.load("shapes")


def test_an_unknown_name_lists_the_nearest(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"configs/shape.py; did you mean 'shapes'"):
        config_lib.load("configs/shape.py")
    with pytest.raises(FileNotFoundError, match=r"configs/nope.py; known: "):  # all names end alike
        config_lib.load("configs/nope.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no config of that name; did you mean 'photos'"):
        config_lib.load("fotos")


@pytest.mark.parametrize("source", ["shapes", "pod_1b", "slideshow"])
def test_loading_a_config_imports_neither_jax_nor_a_metric(source):
    program = (
        "import sys; from capjax.config import load; load(sys.argv[1]); "
        "heavy = ('jax', 'tensorflow_datasets', 'scipy', 'capjax.metrics.metric'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, source], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
