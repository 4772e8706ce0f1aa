"""`capjax score`: the scorer `python -m capjax.metrics`, with the metrics of plug-ins."""

from collections.abc import Sequence

from capjax import plugins
from capjax.metrics import FAMILIES, cli


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    return cli.main(argv, prog="capjax score", add_arguments=plugins.add_argument, prepare=_import_plugins)


def _import_plugins(options):
    plugins.import_plugins(options.plugins)
    if set(options.metrics or ()) - FAMILIES.keys():
        plugins.import_entry_points()
