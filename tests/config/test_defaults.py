"""The table of settings."""

import pytest

from capjax.config import SETTINGS, check, default_config, flatten


def test_the_defaults_are_a_valid_config():
    check(default_config())


def keys_of(values: dict, prefix: str = ""):
    for name, value in values.items():
        key = f"{prefix}{name}"
        yield from [key] if key in SETTINGS or not isinstance(value, dict) else keys_of(value, f"{key}.")


def test_every_setting_is_documented_and_in_the_config():
    assert sorted(SETTINGS) == sorted(keys_of(default_config().to_dict()))
    for key, setting in SETTINGS.items():
        assert setting.doc.endswith((".", ")")) and setting.doc[0] != " ", key


def test_two_configs_share_nothing():
    one, other = default_config(), default_config()
    one.train.xla_options.some_option = 1
    one.model.encoder.options = {"width": 8}
    assert flatten(other) == flatten(default_config())
    assert "some_option" not in one.eval.xla_options


def test_an_unknown_key_is_an_error_that_names_the_nearest():
    config = default_config()
    with pytest.raises(AttributeError, match="no setting 'num_frame'.*did you mean 'num_frames'"):
        config.data.num_frame = 3
    with pytest.raises(AttributeError):
        _ = config.data.num_frame
    config.model.encoder.options.anything = 3
