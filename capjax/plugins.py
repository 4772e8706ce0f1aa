"""Plug-ins: modules of users that register encoders, decoders, connectors, metrics, readers, loss terms or optimizers.

A module is imported if the user names it, in the setting `plugins` or by `--plugins`. A distribution can also declare
it as an entry point of the group `capjax.plugins`; it is then imported as soon as a name is looked up that is not
registered. A workdir or an export remembers the modules of its config. They are imported without the user's consent
only if they are entry points, so that opening the files of others runs no code that lies in the current directory.
"""

import argparse
import functools
import importlib.util
import logging
import sys
import traceback
from collections.abc import Iterable
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

GROUP = "capjax.plugins"

log = logging.getLogger("capjax")


class PluginError(ValueError):
    """A plug-in that cannot be imported. The message names the module, and file and line of an error in it."""


def import_plugins(names: Iterable[str], folders: Iterable[Path] = ()):
    """Imports modules that the user has named.

    Args:
      names: dotted module names, on `sys.path`, in the current directory or in one of `folders`.

    Raises:
      PluginError: a module does not exist, or raises an error.
    """
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise PluginError(f"{name!r} is not the name of a module, such as 'my_module' or 'my_package.captioning'")
        if name not in sys.modules:
            _add_to_path(name.partition(".")[0], [Path(), *folders])
            _import(name)


def import_remembered(names: Iterable[str], source: str):
    """Imports the modules that a file of a workdir or an export names, as far as the user consents to it.

    Args:
      names: module names. A module that is imported already, by `import_plugins` or by the user's program, is accepted.
      source: the file, for messages.

    Raises:
      PluginError: a module is neither imported nor an installed entry point, or raises an error.
    """
    for name in names:
        if name in sys.modules:
            continue
        if not any(entry_point.module == name for entry_point in _entry_points()):
            raise PluginError(
                f"{source} needs the plug-in {name!r}. If you trust it, name it: --plugins {name} of `capjax caption`, "
                f'plugins=("{name}",) of `capjax.load`, --config.plugins={name} of launch.py; or install a '
                f"distribution with the entry point {name!r} in the group {GROUP!r}"
            )
        _import(name)


@functools.cache
def import_entry_points():
    """Imports all plug-ins that are installed as entry points; one that fails is reported by a warning."""
    for entry_point in _entry_points():
        try:
            _import(entry_point.module)
        except PluginError as error:
            log.warning("plug-in %s of the group %s: %s", entry_point.name, GROUP, error)


def add_argument(parser):
    """Adds `--plugins` to a parser or a group of arguments."""
    parser.add_argument(
        "--plugins", type=lambda text: tuple(filter(None, text.split(","))), default=(), metavar="MODULE,...",
        help="modules with your own encoders, readers, metrics and so on; see docs/guides/extending.md",
    )  # fmt: skip


def import_argument(words: Iterable[str]):
    """Imports the modules that `--plugins` names among the words of a command line, before they are parsed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_argument(parser)
    import_plugins(parser.parse_known_args(list(words))[0].plugins)


def locate_error(error: BaseException, path: Path) -> str:
    """Returns file and line of an error: the innermost frame in the file `path` or in a file beside it."""
    place = str(path)
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if file.parent.resolve() == path.parent.resolve():
            place = f"{path.parent / file.name}, line {line}"
    return place


def describe_error(error: BaseException) -> str:
    """Returns an error in one line: its message, and its type unless it is a ValueError, whose message is for users."""
    if isinstance(error, AttributeError) and error.args and isinstance(error.args[0], KeyError):
        return str(error.args[0].args[0])  # attributes of a ConfigDict are keys
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg}"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


@functools.cache
def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _add_to_path(package: str, folders: list[Path]):
    """Appends the folder of a top-level module to `sys.path`, unless the module is found there already.

    The folder stays there, since processes that this one starts find the module by the same path.
    """
    importlib.invalidate_caches()
    if package in sys.modules or PathFinder.find_spec(package) is not None:
        return
    for folder in map(Path.resolve, folders):
        if PathFinder.find_spec(package, [str(folder)]) is not None:
            sys.path.append(str(folder))
            return


def _import(name: str):
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and (name == error.name or name.startswith(f"{error.name}.")):
            raise PluginError(
                f"there is no module {name!r} in the current directory ({Path().resolve()}), beside the config file or "
                "among the installed packages"
            ) from error
        raise PluginError(f"{locate_error(error, _path_of(name))}: {describe_error(error)}") from error


def _path_of(name: str) -> Path:
    """The file of a module that cannot be imported; its name if it has no file."""
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # of a package that raises an error, which is found for the package itself
        spec = importlib.util.find_spec(name.partition(".")[0])
    return Path(spec.origin if spec and spec.origin else name)
