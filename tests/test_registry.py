import pytest

from capjax.registry import Registry, nearest


def test_names_make_objects_with_their_defaults():
    things = Registry("thing")

    @things.register("big", size=3)
    @things.register("small", size=1)
    def make(size, color="red"):
        return size, color

    assert things.make("big") == (3, "red")
    assert things.make("small", color="blue") == (1, "blue")
    assert things.names() == ["big", "small"]


def test_a_duplicate_is_an_error():
    things = Registry("thing")
    things.register("a")(int)
    with pytest.raises(ValueError, match="twice"):
        things.register("a")(str)


def test_a_module_may_be_imported_again():
    things = Registry("thing")

    def import_module():
        @things.register("a", size=3)
        class Thing:
            def __init__(self, size):
                self.size = size

        return Thing

    import_module()
    again = import_module()
    assert things.get("a").func is again


def test_an_unknown_name_lists_the_known():
    things = Registry("thing")
    things.register("resnet50")(int)
    with pytest.raises(ValueError, match=r"did you mean 'resnet50'.*known: resnet50"):
        things.get("resnet5")


def test_an_empty_name_can_be_seen_among_the_known():
    assert nearest("c", ["", "b"]) == "known: '', b"
