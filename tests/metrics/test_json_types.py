"""JSON values have the types that their readers expect, or the error names the place."""

from typing import Annotated, Any, NotRequired, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.metrics.json_types import Rule, Text, between, check_type


class Inner(TypedDict):
    count: Annotated[int, between(1, 9)]


class Outer(TypedDict):
    name: str
    inner: NotRequired[dict[str, Inner]]
    shape: NotRequired[tuple[int, int]]
    options: NotRequired[dict | None]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, int), (1, float), (1.5, float), ("a", str), (True, bool), (None, dict | None), ({}, dict | None),
        ([], list[int]), ("café", Text), ({"a": [1.0, 2]}, dict[str, list[float]]), ([[]], Any),
        ({"name": "a", "unknown": 3}, Outer), ({"name": "a", "inner": {"x": {"count": 9}}}, Outer),
        ({"name": "a", "shape": [1, 2], "options": None}, Outer),
    ],
)  # fmt: skip
def test_values_of_the_type_pass(value, kind):
    check_type(value, kind)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, int, "^expected a whole number, found True"),
        (1.0, int, "expected a whole number, found 1.0"),
        (float("nan"), Annotated[float, between(0, 9)], "^expected a number from 0 to 9, found nan"),
        (float("inf"), Annotated[float, between(0, 9)], "^expected a number from 0 to 9, found inf"),
        ("\ud800", Text, r"^expected text without halves of surrogate pairs.*, found '.ud800'"),
        ([], Outer, r"^expected an object, found \[\]"),
        ({}, Outer, "^expected name, found nothing"),
        ({"nmae": 1, "shape": []}, Outer, "^expected name, found 'nmae', 'shape'"),
        ({"name": None}, Outer, "name: expected text, found None"),
        ({"name": "a", "inner": []}, Outer, r"inner: expected an object, found \[\]"),
        (
            {"name": "a", "inner": {"x": {"count": 0}}},
            Outer,
            "inner: 'x': count: expected .* 1 to 9, found 0",
        ),
        ({"name": "a", "shape": [1]}, Outer, "shape: expected a list of 2, found one of 1"),
        ({"name": "a", "shape": 2}, Outer, "shape: expected a list of 2, found 2"),
        ({"name": "a", "shape": [1, "2"]}, Outer, r"shape\[1\]: expected a whole number, found '2'"),
        ({"name": "a", "options": 3}, Outer, "options: expected an object or null, found 3"),
        ({"a": [1, None]}, dict[str, list[float]], r"'a'\[1\]: expected a number, found None"),
        ("x" * 10**6, int, r"expected a whole number, found 'x{76}\.\.\.$"),
    ],
)
def test_other_values_are_named_with_their_place(value, kind, message):
    with pytest.raises(ValueError, match=message):
        check_type(value, kind)


def test_the_message_begins_with_the_place():
    with pytest.raises(ValueError, match="^a.json: name: expected text, found 3$"):
        check_type({"name": 3}, Outer, "a.json")


@pytest.mark.parametrize("number", [0, 5, 99])
def test_one_bad_entry_of_a_long_list_is_found(number):
    texts = ["a"] * 100
    check_type(texts, list[str])
    texts[number] = None
    with pytest.raises(ValueError, match=rf"^\[{number}\]: expected text, found None$"):
        check_type(texts, list[str])


def test_null_is_allowed_beside_any_type():
    check_type([None, 3], list[Annotated[Any, Rule("a whole number", lambda value: type(value) is int)] | None])


kinds = st.recursive(
    st.sampled_from([str, int, float, bool, type(None)]),
    lambda kinds: kinds.flatmap(lambda kind: st.sampled_from([list[kind], dict[str, kind], kind | None])),
    max_leaves=4,
)


@settings(deadline=None)  # drawing values of a type takes long the first time
@given(st.data(), kinds)
def test_values_of_any_type_pass_and_a_value_of_no_type_is_named(data, kind):
    value = data.draw(st.from_type(kind))
    check_type([value, None, value], list[kind | None])
    with pytest.raises(ValueError, match=r"^\[1\]: expected .*, found <class 'object'>$"):
        check_type([value, object], list[kind])
