"""Registry of readers.

A reader is a module with two functions:

  read(...) -> iterator of Item and Problem, registered here by name;
  add_arguments(parser), which declares the command-line arguments of `read`: each `dest` is a parameter of `read`.
"""

import inspect
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import ModuleType

from capjax.registry import Registry
from data_prep.readers.item import ItemStream

READERS = Registry("reader")


def module_of(name: str) -> ModuleType:
    """The module of a reader."""
    return sys.modules[READERS.get(name).__module__]


def add_arguments(name: str, parser: ArgumentParser):
    """Adds the arguments of a reader to a parser."""
    module_of(name).add_arguments(parser.add_argument_group(f"arguments of {name}"))


def read(name: str, args: Namespace) -> ItemStream:
    """Runs a reader with its own arguments among the parsed ones."""
    parameters = inspect.signature(READERS.get(name)).parameters
    return READERS.make(name, **{key: value for key, value in vars(args).items() if key in parameters})


def add_input(parser, what: str):
    """Adds `--input` and `--images`, which all readers of photo files have."""
    parser.add_argument("--input", dest="input_dir", type=Path, required=True, metavar="DIR", help=what)
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the photos, if it is not at its usual place"
    )
