"""Configs of jobs: their settings with defaults and checks, and how they are loaded.

A config file is Python with `get_config(arg=None)`, which starts from `default_config()`:

>>> from capjax.config import default_config
>>> def get_config():
...     config = default_config()
...     config.train.steps = 5000
...     return config

A config is checked once, when it is loaded; code that receives it relies on its values.
"""

from capjax.config.defaults import SETTINGS, default_config, flatten
from capjax.config.errors import ConfigError
from capjax.config.loading import from_json, load, override, to_json, with_overrides
from capjax.config.validation import check

__all__ = [
    "SETTINGS",
    "ConfigError",
    "check",
    "default_config",
    "flatten",
    "from_json",
    "load",
    "override",
    "to_json",
    "with_overrides",
]
