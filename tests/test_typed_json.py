"""JSON values have the types that their readers expect, or the error names the place."""

from typing import Annotated, Any, NotRequired, TypedDict

import pytest

from capjax.typed_json import check_type


class Inner(TypedDict):
    count: Annotated[int, (1, 9)]


class Outer(TypedDict):
    name: str
    inner: NotRequired[dict[str, Inner]]
    shape: NotRequired[tuple[int, int]]
    options: NotRequired[dict | None]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, int), (1, float), (1.5, float), ("a", str), (True, bool), (None, dict | None), ({}, dict | None),
        ([], list[int]), ([1, 2], tuple[int, int]), ({"a": [1.0, 2]}, dict[str, list[float]]), ([[]], Any),
        ({"name": "a", "unknown": 3}, Outer), ({"name": "a", "inner": {"x": {"count": 9}}}, Outer),
        ({"name": "a", "shape": [1, 2], "options": None}, Outer),
    ],
)  # fmt: skip
def test_values_of_the_type_pass(value, kind):
    check_type(value, kind)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, int, "the file: expected a whole number, found True"),
        (1.0, int, "expected a whole number, found 1.0"),
        (float("nan"), Annotated[float, (0, 9)], "the file = nan: expected a number from 0 to 9"),
        (float("inf"), Annotated[float, (0, 9)], "the file = inf: expected a number from 0 to 9"),
        ([], Outer, "the file: expected an object, found a list of 0"),
        ({}, Outer, "the file: name is missing"),
        ({"name": None}, Outer, "name: expected text, found None"),
        ({"name": "a", "inner": []}, Outer, "inner: expected an object, found a list of 0"),
        ({"name": "a", "inner": {"x": {"count": 0}}}, Outer, "inner: x: count = 0: expected a number from 1 to 9"),
        ({"name": "a", "shape": [1]}, Outer, "shape: expected a list of 2, found a list of 1"),
        ({"name": "a", "shape": [1, "2"]}, Outer, r"shape\[1\]: expected a whole number, found '2'"),
        ({"name": "a", "options": 3}, Outer, "options: expected an object, found 3"),
        ({"a": [1, None]}, dict[str, list[float]], r"a\[1\]: expected a number, found None"),
        ("x" * 10**6, int, "expected a whole number, found 'x{30,50}$"),
    ],
)
def test_other_values_are_named_with_their_place(value, kind, message):
    with pytest.raises(ValueError, match=message):
        check_type(value, kind)
