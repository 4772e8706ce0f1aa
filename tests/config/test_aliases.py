"""Old names of settings: read everywhere, reported once."""

import json

import pytest

from capjax.config import SETTINGS, ConfigError, aliases, default_config, flatten, from_json, load, to_json

OLD_VALUES = {
    "data.captions": 3, "data.frames": 16, "data.events": 5, "model.changes": True, "model.similarities": 2,
    "optimizer.rates": (("^encoder/", 0.1),), "train.accumulate": 2, "decode.beams": 7, "decode.neighbours": 4,
    "decode.consensus": 9.0, "eval.form": "plain", "mesh.rules": (("batch", ("data",)),),
}  # fmt: skip
STAGES = ((0, {"frames": 8, "hard": 0.5}), (9, {}))
NEW_STAGES = ((0, {"num_frames": 8, "hard": 0.5}), (9, {}))


@pytest.fixture(autouse=True)
def warnings(caplog):
    """The warnings of a test, as if it were a process of its own."""
    aliases._warn_once.cache_clear()
    aliases._read.clear()
    return lambda: [record.message for record in caplog.records if record.levelname == "WARNING"]


def check_values(config):
    for old, value in OLD_VALUES.items():
        assert config[aliases.OLD_NAMES[old]] == value
    assert config.data.curriculum == NEW_STAGES


def check_warning(messages):
    (message,) = messages
    for old in OLD_VALUES:
        assert f"{old} -> {aliases.OLD_NAMES[old]}" in message
    assert "data.curriculum: frames -> num_frames" in message


def test_the_table_is_of_settings_that_exist():
    assert OLD_VALUES.keys() == aliases.OLD_NAMES.keys()
    assert set(aliases.OLD_NAMES.values()) <= SETTINGS.keys() and not aliases.OLD_NAMES.keys() & SETTINGS.keys()


def test_old_names_on_the_command_line(warnings):
    settings = [f"{old}={value}" for old, value in OLD_VALUES.items()]
    check_values(load("shapes", [*settings, f"data.curriculum={STAGES}"]))
    check_warning(warnings())


def test_old_names_in_a_config_file(tmp_path, warnings):
    lines = "".join(f"    config.{old} = {value!r}\n    assert config.{old} == {value!r}\n"
                    for old, value in OLD_VALUES.items())  # fmt: skip
    path = tmp_path / "old.py"
    path.write_text(
        "import common\n\ndef get_config():\n    config = common.get_config()\n"
        f"{lines}    config.data.curriculum = {STAGES}\n    return config\n"
    )
    check_values(load(str(path)))
    check_warning(warnings())
    assert "import common -> from capjax.config import default_config" in warnings()[0]


def test_a_config_file_beside_an_old_common(tmp_path, warnings):
    """A copy of the folder `configs` of capjax 0.1, whose common.py makes a plain ConfigDict."""
    stored = default_config()
    (tmp_path / "common.py").write_text(
        "from ml_collections import ConfigDict\n\ndef get_config():\n"
        f"    return ConfigDict({with_old_names(stored)!r}).lock()\n"
    )
    (tmp_path / "old.py").write_text(
        "import common\n\ndef get_config():\n    config = common.get_config()\n"
        "    config.data.frames = 7\n    return config\n"
    )
    config = load(str(tmp_path / "old.py"))
    assert config.data.num_frames == 7
    assert "data.frames -> data.num_frames" in warnings()[0]


def with_old_names(config) -> dict:
    tree = config.to_dict()
    for old, new in aliases.OLD_NAMES.items():
        group, name = old.split(".")
        tree[group][name] = tree[group].pop(new.split(".")[1])
    return tree


def test_old_names_in_a_stored_config(warnings):
    tree = with_old_names(default_config())
    for old, value in OLD_VALUES.items():
        group, name = old.split(".")
        tree[group][name] = value
    tree["data"]["curriculum"] = STAGES
    for _ in range(3):
        check_values(from_json(json.dumps(tree), "run/config.json"))
    check_warning(warnings())
    assert "run/config.json uses old names" in warnings()[0]


def test_settings_that_a_stored_config_lacks_have_their_default(warnings):
    tree = default_config().to_dict()
    del tree["compile"], tree["model"]["events"]["queries"], tree["seed"]
    tree["train"]["steps"] = 7
    config = from_json(json.dumps(tree), "run/config.json")
    assert flatten(config) == flatten(default_config()) | {"train.steps": 7}
    assert not warnings()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["train"].update(stepz=3), "no key 'train.stepz'.*did you mean 'train.steps'"),
        (lambda tree: tree["train"].update(steps="x"), "expected a whole number"),
        (lambda tree: tree["train"].update(steps=0), "expected 1 or more"),
        (lambda tree: tree.update(train=3), "train"),
    ],
)
def test_a_stored_config_that_was_damaged_names_file_and_key(change, message):
    tree = default_config().to_dict()
    change(tree)
    with pytest.raises(ConfigError, match=f"run/config.json.*{message}"):
        from_json(json.dumps(tree), "run/config.json")


def test_new_names_are_not_reported(warnings):
    from_json(to_json(load("shapes", ["decode.num_beams=2", "model.events.frames=8"])), "here")
    assert not warnings()
