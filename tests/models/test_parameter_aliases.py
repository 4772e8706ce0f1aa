"""Names of parameters of version 0.1.0."""

import jax.numpy as jnp
import pytest

from capjax.models.build import make_pure_model
from capjax.models.parameter_aliases import legacy_name, matches, modern_name, rename_parameters

PAIRS = (
    ("encoder/blocks/attention_norm/scale", "encoders/vision/blocks/attention_norm/scale"),
    ("fuser/project/kernel", "connectors/vision/project/kernel"),
    ("fuser/row", "connectors/vision/row"),
    ("fuser/changes/change/bias", "connectors/vision/frame_difference/change/bias"),
    ("fuser/changes/seen/kernel", "connectors/vision/frame_difference/appearance/kernel"),
    ("fuser/changes/here/kernel", "connectors/vision/frame_difference/position_out/kernel"),
    ("fuser/changes/anywhere/kernel", "connectors/vision/frame_difference/frame_out/kernel"),
    ("fuser/similarities/weigh/bias", "connectors/vision/frame_similarity/hidden/bias"),
    ("fuser/similarities/tell/kernel", "connectors/vision/frame_similarity/out/kernel"),
    ("decoder/blocks/self_norm/scale", "decoder/blocks/attention_norm/scale"),
    ("decoder/blocks/self_attention/qkv/kernel", "decoder/blocks/attention/qkv/kernel"),
    ("decoder/blocks/cross_attention/out/bias", "decoder/blocks/cross_attention/out/bias"),
    ("events/blocks/self_attention/out/bias", "events/blocks/attention/out/bias"),
    ("events/point/kernel", "events/pointer_query/kernel"),
    ("events/pointed/kernel", "events/pointer_key/kernel"),
    ("events/shift/bias", "events/offset/bias"),
    ("temporal/blocks/mlp/up/kernel", "temporal/blocks/mlp/up/kernel"),
)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_each_name_has_one_current_and_one_old_form(old, new):
    assert modern_name(old) == modern_name(new) == new
    assert legacy_name(new) == old


def test_every_name_of_a_model_survives_the_way_to_its_old_form_and_back(common_config):
    config = common_config
    config.data.task, config.data.num_frames, config.data.image_size, config.model.width = "dense", 4, 32, 32
    config.model.encoder.name, config.model.decoder.options = "vit_tiny", {"layers": 1, "heads": 4}
    config.model.frame_difference, config.model.frame_similarity = True, 2
    config.model.temporal.name = "transformer"
    names = list(make_pure_model(config, vocab=20).shapes)
    old = [legacy_name(name) for name in names]
    assert [modern_name(name) for name in old] == names and len(set(old)) == len(names)
    beginnings = {name.split("/")[0] for name in old}
    assert beginnings == {"encoder", "fuser", "temporal", "events", "decoder"}


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("^encoder/", True),
        ("^encoders/vision/", True),
        ("^encoders/audio/", False),
        ("^encoder/blocks/.*scale$", True),
        ("^decoder/", False),
        ("scale$", True),
    ],
)
def test_a_pattern_matches_the_current_and_the_old_name(pattern, matched):
    assert matches("encoders/vision/blocks/mlp_norm/scale", [pattern]) == matched


def test_a_pattern_for_the_old_encoder_does_not_match_another_encoder():
    assert not matches("encoders/audio/blocks/mlp_norm/scale", ["^encoder/"])


def test_parameters_are_renamed_at_any_depth_of_a_tree():
    state = {"params": {"fuser/row": 1}, "opt_state": [{"mu": {"encoder/x": 2}, "count": jnp.int32(3)}, ()]}
    renamed = rename_parameters(state, modern_name)
    assert renamed["params"] == {"connectors/vision/row": 1}
    assert renamed["opt_state"][0]["mu"] == {"encoders/vision/x": 2} and renamed["opt_state"][0]["count"] == 3
    assert rename_parameters(renamed, legacy_name) == state
