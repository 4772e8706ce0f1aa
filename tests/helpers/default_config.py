"""A config file with the default of every setting, for jobs whose settings all come from the command line."""

from capjax.config import default_config


def get_config():
    return default_config()
