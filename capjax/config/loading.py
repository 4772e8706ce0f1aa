"""Loads a config file, applies settings of the command line, and stores configs as JSON.

A config file is Python with `get_config(arg=None) -> ml_collections.ConfigDict`; `path.py:arg` passes the argument.
"""

import ast
import importlib.util
import inspect
import json
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from importlib.machinery import SourceFileLoader
from pathlib import Path

from ml_collections import ConfigDict

from capjax import plugins
from capjax.config import aliases
from capjax.config.defaults import SETTINGS, default_config
from capjax.config.errors import ConfigError
from capjax.config.validation import check
from capjax.registry import nearest


def load(source: str, overrides: Iterable[str] = ()) -> ConfigDict:
    """Returns the checked config of `FILE.py[:ARG]` or `NAME[:ARG]`, with `key=value` overrides.

    NAME is a file `configs/NAME.py` of the current directory, else a config that comes with capjax.

    Raises:
      FileNotFoundError: there is no such file.
      ConfigError: an error in the file or in a plug-in, an unknown key, a wrong type or an impossible value.
    """
    name, _, arg = source.partition(":")
    path = find(name)
    if path.suffix == ".json":
        raise ConfigError(f"{path} is no config file, which is Python; give the --config that the run was started with")
    return _apply(overrides, complete(_call(path, arg), str(path)), source, path.parent)


def with_overrides(config: ConfigDict, settings: Iterable[str]) -> ConfigDict:
    """Returns a checked copy of a config with settings such as "mesh.fsdp=16".

    Raises:
      ConfigError: an unknown key, a wrong type or an impossible value.
    """
    return _apply(settings, deepcopy(config), "a setting")


def _apply(settings: Iterable[str], config: ConfigDict, source: str, *folders: Path) -> ConfigDict:
    """Applies settings of the command line, imports the plug-ins, also from `folders`, and checks the config."""
    for setting in settings:
        override(config, setting)
    aliases.warn(source)
    try:
        plugins.import_plugins(config.plugins, folders)
    except plugins.PluginError as error:
        raise ConfigError(f"plugins: {error}") from error
    check(config)
    return config


def find(name: str) -> Path:
    """Returns the path of the config file that the command line calls `name`.

    Raises:
      FileNotFoundError: there is none; the message lists the nearest.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.parent != Path() or path.is_absolute():
        neighbors = [p.stem for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise FileNotFoundError(f"no config file {path}; {nearest(path.stem, neighbors)}")
    folders = [Path("configs"), *_installed_folders()]
    for folder in folders:
        if (candidate := folder / f"{path.name.removesuffix('.py')}.py").is_file():
            return candidate
    names = {p.stem for folder in folders for p in folder.glob("*.py")} - {"__init__"}
    raise FileNotFoundError(f"no config file {name}, and no config of that name; {nearest(path.stem, names)}")


def _installed_folders() -> list[Path]:
    """The folders of the configs that come with capjax: in the package, or beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    return [package / "configs", package.parent / "configs"]


def _call(path: Path, arg: str) -> ConfigDict:
    """Returns what `get_config` of a config file returns.

    Raises:
      ConfigError: the file cannot be run; the message names the line.
    """
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    with _imports_beside(path.parent.resolve()):
        try:
            SourceFileLoader(path.stem, str(path)).exec_module(module)
            get_config = getattr(module, "get_config", None)
            if not callable(get_config):
                raise ConfigError("a config file defines get_config(arg=None); this one does not")
            if arg and not inspect.signature(get_config).parameters:
                raise ConfigError(f"it takes no argument, so :{arg} should be left out")
            config = get_config(arg) if arg else get_config()
            if not isinstance(config, (ConfigDict, dict)):
                raise ConfigError(f"get_config returned {config!r}; expected the config, made by default_config()")
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{plugins.locate_error(error, path)}: {plugins.describe_error(error)}") from error
    return config


@contextmanager
def _imports_beside(folder: Path) -> Iterator[None]:
    """Lets a config file import its neighbors, and `common`, which held the defaults in capjax 0.1."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        if importlib.util.find_spec("common") is None:
            sys.modules["common"] = _old_common()
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:  # another folder may have a file of the same name
            origin = getattr(sys.modules[name], "__file__", None)
            if name == "common" or (origin and Path(origin).parent == folder and "." not in name):
                del sys.modules[name]


def _old_common() -> types.ModuleType:
    module = types.ModuleType("common")

    def get_config() -> ConfigDict:
        aliases.note_old_import()
        return default_config()

    module.__dict__["get_config"] = get_config
    return module


def complete(values: Mapping, where: str) -> ConfigDict:
    """Returns the default config with these values, whose keys may be old names. Missing settings have their default.

    Raises:
      ConfigError: an unknown key or a wrong type; `where` names the source.
    """
    config = default_config()
    for key, value in _leaves(values):
        if key not in SETTINGS:
            raise ConfigError(f"{where}: {_unknown_key(key)}")
        _set(config, key, value)
    return config


def _leaves(values: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields (present dotted key, value) of every setting in nested mappings."""
    for name, value in values.items():
        key = aliases.rename(f"{prefix}{name}")
        is_group = isinstance(value, (ConfigDict, dict)) and not (key in SETTINGS and SETTINGS[key].is_mapping)
        if is_group and len(value):
            yield from _leaves(value, f"{key}.")
        elif not is_group or key in SETTINGS:
            yield key, value


def override(config: ConfigDict, setting: str):
    """Applies a setting as written on the command line, `key.sub=value`.

    Raises:
      ConfigError: an unknown key or a wrong type.
    """
    key, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"--config.{key}: write --config.{key}=VALUE")
    key = aliases.rename(key)
    if key in SETTINGS:
        value = text if isinstance(SETTINGS[key].default, str) else _literal(text)
        _set(config, key, value)
        return
    mapping, _, name = key.rpartition(".")
    if mapping in SETTINGS and SETTINGS[mapping].is_mapping:
        config[mapping][name] = _literal(text)
        return
    if group := [name.removeprefix(f"{key}.") for name in SETTINGS if name.startswith(f"{key}.")]:
        names = dict.fromkeys(name.partition(".")[0] for name in group)
        raise ConfigError(f"--config.{key}={text}: {key} is a group; set one of {', '.join(names)}")
    raise ConfigError(f"--config.{key}: {_unknown_key(key)}")


def _set(config: ConfigDict, key: str, value):
    group, _, name = key.rpartition(".")
    node = config[group] if group else config
    if SETTINGS[key].is_mapping:
        if not isinstance(value, (ConfigDict, dict)):
            example = f"--config.{key}='{{\"name\": value}}'"
            raise ConfigError(f"{key} = {value!r}: {key} is a group; set one of its keys, or all: {example}")
        node[name] = ConfigDict(value.to_dict() if isinstance(value, ConfigDict) else value)
    else:
        value = _coerce(key, value, node[name])
        node[name] = aliases.rename_stages(value) if key == "data.curriculum" else value


def _unknown_key(key: str) -> str:
    # A user who remembers the last part but not the group means the same name in another group.
    same = [name for name in SETTINGS if name.split(".")[-1] == key.split(".")[-1]]
    near = f"did you mean {' or '.join(map(repr, same))}?" if same else nearest(key, SETTINGS).split("known:")[0]
    return f"there is no key {key!r} in the config; {near.strip() or 'all keys are in capjax/config/defaults.py'}"


def _literal(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _coerce(key: str, value, default):
    """Returns `value` in the type of `default`; an int is accepted as a float, and one value as a tuple of one."""
    kind = type(default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is tuple:
        if isinstance(value, str):
            return tuple(part for part in value.split(",") if part)
        return tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if type(value) is not kind:
        raise ConfigError(f"{key} = {value!r} is {_a(type(value))}; expected {_a(kind)}, such as {default!r}")
    return value


def _a(kind: type) -> str:
    return {"str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false"}.get(
        kind.__name__, f"a {kind.__name__}"
    )


def to_json(config: ConfigDict) -> str:
    """Returns a config as JSON, which `from_json` reads."""
    return json.dumps(config.to_dict(), indent=2, ensure_ascii=False) + "\n"


def from_json(text: str, where: str) -> ConfigDict:
    """Returns the checked config that `to_json` wrote, also with an older version of capjax.

    Old names of settings are accepted; settings that the text lacks have their default. Plug-ins are imported only as
    `plugins.import_remembered` allows it.

    Args:
      where: the source, for messages.

    Raises:
      ConfigError: the text is not such a config, or a plug-in cannot be imported.
    """
    try:
        config = complete(_tuples(json.loads(text)), where)
        plugins.import_remembered(config.plugins, where)
        check(config)
    except plugins.PluginError as error:
        raise ConfigError(str(error)) from error
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as error:
        raise ConfigError(
            f"{where} is cut short or damaged, or is not a config that capjax wrote ({error}); copy it again"
        ) from error
    aliases.warn(where)
    return config


def _tuples(value):
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
