"""The exception that every part of capjax raises for a config that cannot be used."""


class ConfigError(ValueError):
    """A config that cannot be used. The message names the key, its value and the values that are allowed."""
