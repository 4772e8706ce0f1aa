"""The batch: shapes, padding, and placement on devices."""

import jax
import numpy as np
import pytest

from capjax.data import batch as batch_lib
from capjax.data.batch import empty_media, feature_entries, media_shapes, model_inputs, to_device
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from tests.helpers.drawn_batches import jpeg


@pytest.mark.parametrize(
    "options", [{"image_size": 8}, {"feature_shape": (2, 3, 5)}, {"feature_shape": (6, 5), "duration": True}]
)
def test_empty_media_have_the_declared_shapes_and_no_frame(options):
    batch = empty_media(4, 3, **options)
    assert {name: (value.shape, value.dtype.name) for name, value in batch.items()} == media_shapes(4, 3, **options)
    assert not batch["frame_mask"].any()
    assert all((value == 1).all() for name, value in batch.items() if name == "duration")


def test_every_declared_entry_is_either_an_input_of_the_model_or_stays_on_the_host():
    names = set(batch_lib.Batch.__annotations__)
    assert set(batch_lib.HOST_ENTRIES) < names
    assert set(model_inputs(dict.fromkeys(names))) == names - set(batch_lib.HOST_ENTRIES)


def test_features_of_several_encoders_have_entries_of_their_own():
    entries = [feature_entries(name) for name in (None, "vit", "i3d")]
    assert len({key for each in entries for key in each}) == 9
    assert entries[0] == ("features", "frame_times", "frame_mask")
    batch = dict.fromkeys([*entries[1], "ids"])
    assert set(model_inputs(batch)) == set(entries[1])


def test_a_row_holds_its_frames_first_and_padding_is_never_empty():
    batch = empty_media(2, 3, image_size=8)
    batch_lib.set_times(batch, 0, np.float32([0.5, 1.5]))
    batch_lib.set_frames(batch, 0, [jpeg(0), jpeg(1)])
    batch_lib.mark_padding(batch, slice(1, None))
    assert batch["frame_mask"].tolist() == [[True, True, False], [True, True, True]]
    assert batch["frame_times"].tolist() == [[0.5, 1.5, 0.0], [0.0, 0.0, 0.0]]
    assert batch["frames"][0, :2].any((1, 2, 3)).all() and not batch["frames"][0, 2].any()


def test_placed_inputs_have_the_rows_of_the_batch():
    mesh = make_mesh({"replica": 1, "data": 2, "fsdp": 2, "tensor": 2})
    rules = ShardingRules(mesh, (("batch", ("replica", "data", "fsdp")),))
    batch = empty_media(4, 2, image_size=8) | {"ids": ["a"] * 4}
    batch["frame_times"][:] = np.arange(8).reshape(4, 2)
    placed = to_device(batch, rules, 4)
    assert "ids" not in placed
    for name, value in placed.items():
        assert isinstance(value, jax.Array)
        np.testing.assert_array_equal(value, batch[name])
