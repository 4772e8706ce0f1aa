"""Types of command-line arguments."""

import argparse
import json
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A type of argument whose ValueErrors are shown with their own messages, which argparse would replace."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def number(kind: type, low: float, high: float = float("inf")) -> Callable[[str], float]:
    """An int or float from `low` to `high`."""

    def parse(text: str):
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} should be from {low} to {high}")
        return value

    parse.__name__ = kind.__name__  # argparse names it in its messages
    return parse


def json_object(text: str) -> dict:
    """A JSON object."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} should be a JSON object, such as {{"depth": 12}}')
    return value
