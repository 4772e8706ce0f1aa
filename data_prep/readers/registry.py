"""Names to readers.

A reader is a module with two functions:

  read(...) -> iterator of Item and Problem, registered here by name;
  add_arguments(parser), which declares on the command line what `read` takes: a parameter for each argument's dest.
"""

import inspect
import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from capjax.registry import Registry
from data_prep.readers.item import ItemStream

READERS = Registry("reader")


def add_arguments(name: str, parser: ArgumentParser):
    """Lets the reader declare its arguments."""
    read = READERS.get(name)
    module = sys.modules[(read.func if isinstance(read, partial) else read).__module__]
    module.add_arguments(parser.add_argument_group(f"arguments of {name}"))


def read(name: str, args: Namespace) -> ItemStream:
    """Runs a reader with those of the parsed arguments that it takes."""
    parameters = inspect.signature(READERS.get(name)).parameters
    return READERS.make(name, **{key: value for key, value in vars(args).items() if key in parameters})


def add_input(parser, what: str):
    """The `--input` and `--images` that all file readers have."""
    parser.add_argument("--input", dest="input_dir", type=Path, required=True, metavar="DIR", help=what)
    parser.add_argument("--images", type=Path, metavar="DIR", help="the photos' folder, if it is not one of the usual")
