"""Numbers and ids in annotation files, which may hold anything; see `capjax.metrics.json_types`."""

import math
from typing import Annotated, Any

from capjax.metrics.json_types import Rule, is_text


def is_number(value: object) -> bool:
    """Whether a value is a finite number; true and false are none."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # integers of JSON have no limit
        return False


def is_box(value: object) -> bool:
    """Whether a value is a list of four numbers."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def is_id(value: Any) -> bool:
    """Whether a value is text or a whole number."""
    if isinstance(value, str):
        return bool(value.strip()) and is_text(value)
    return (type(value) is int and abs(value) < 2**63) or (is_number(value) and value == int(value))


def id_text(id: str | float) -> str:
    """An id as text, so that 17, 17.0 and "17" are the same."""
    return id if isinstance(id, str) else str(int(id))


Id = Annotated[Any, Rule("text or a whole number", is_id)]
