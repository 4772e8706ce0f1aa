"""Lists and values in error messages."""

from capjax.metrics.messages import shorten, show_value


def test_a_short_list_is_written_out_and_a_long_one_is_counted():
    assert shorten([]) == ""
    assert shorten(["a", 2]) == "'a', 2"
    assert shorten(range(7)) == "0, 1, 2, 3, 4 and 2 more"
    assert shorten("abcd", shown=2, show=str, separator="; ") == "a; b and 2 more"


def test_long_items_and_values_are_shortened():
    assert shorten(["x" * 200]) == show_value("x" * 200)
    assert show_value("x" * 200) == "'" + "x" * 76 + "..."
    assert show_value([1, 2]) == "[1, 2]"


def test_large_and_nested_values_are_shortened():
    nested = value = []
    for _ in range(900):
        value.append([])
        value = value[0]
    for value in (nested, list(range(10**5)), "x" * 10**6, {str(k): "y" * 1000 for k in range(1000)}, 10**400):
        assert len(show_value(value)) <= 80
