"""`capjax score`: the scorer `python -m capjax.metrics`, with the metrics of plug-ins."""

from collections.abc import Sequence

from capjax import plugins
from capjax.metrics import cli
from capjax.metrics.names import find_family


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    return cli.main(argv, prog="capjax score", add_arguments=plugins.add_argument, prepare=_import_plugins)


def _import_plugins(options):
    plugins.import_plugins(options.plugins)
    if any(find_family(name) is None for name in options.metrics or ()):
        plugins.import_entry_points()
