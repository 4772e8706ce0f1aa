"""A config to a model: sizes, names, and the errors of a config that cannot be built. Nothing is compiled."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from capjax.config import ConfigError
from capjax.models import pretrained
from capjax.models.build import check_stages, load_encoders, make_pure_model
from capjax.models.frozen_encoder import make_encoder
from capjax.models.pure_model import batch_stats_of, make_key, params_of


@pytest.fixture
def config(common_config):
    common_config.data.image_size = 32
    common_config.model.width = 32
    common_config.model.encoder.name = "resnet10_slim"
    common_config.model.encoder.options.channels = 8
    common_config.model.decoder.options = {"layers": 1, "heads": 4}
    return common_config


def test_the_model_has_the_sizes_of_the_config(config):
    shapes = make_pure_model(config, vocab=50).shapes
    assert shapes["decoder/embedding/table"].shape == (50, 32)
    assert shapes["decoder/blocks/mlp/up/kernel"].shape == (1, 32, 128)
    assert shapes["connectors/vision/project/kernel"].shape == (64, 32)
    assert shapes["connectors/vision/row"].shape == shapes["connectors/vision/column"].shape == (2, 32)


@pytest.mark.parametrize(("target_len", "max_len", "expected"), [(40, 30, 40), (20, 30, 33)])
def test_there_are_positions_for_the_longest_target_and_the_longest_caption(config, target_len, max_len, expected):
    config.data.target_len, config.decode.max_len = target_len, max_len
    assert make_pure_model(config, vocab=50).shapes["decoder/position"].shape == (expected, 32)


VIT_STAGES = ((0, {"image_size": 16}), (50, {"image_size": 20}), (90, {}))


def test_a_stage_with_pictures_that_the_encoder_cannot_see_is_an_error_at_the_start(config):
    config.model.encoder.name, config.model.encoder.options = "vit_tiny", {}
    config.data.curriculum = VIT_STAGES
    with pytest.raises(ConfigError, match="from step 50: .*1 frames of 20 x 20 pixels: .*a whole number of patches"):
        check_stages(make_pure_model(config, vocab=50), config)
    config.data.curriculum = VIT_STAGES[::2]
    check_stages(make_pure_model(config, vocab=50), config)


def test_stages_are_checked_beside_encoders_whose_input_is_known_from_data_alone(config):
    config.model.encoder.name, config.model.encoder.options, config.data.curriculum = "vit_tiny", {}, VIT_STAGES
    with config.unlocked():
        config.model.encoders = {"audio": {"name": "resnet10_slim", "input": "audio"}}
    with pytest.raises(ConfigError, match="from step 50: .*a whole number of patches"):
        check_stages(make_pure_model(config, vocab=50), config)
    config.data.curriculum = VIT_STAGES[::2]
    check_stages(make_pure_model(config, vocab=50), config)


def test_features_are_checked_in_all_buckets(config):
    config.data.features, config.data.num_frames, config.data.buckets = True, 8, (2, 8)
    pure_model = make_pure_model(config, vocab=50, feature_shape=(3, 4, 20))
    check_stages(pure_model, config, (3, 4, 20))
    with pytest.raises(ConfigError, match="data.buckets: the model cannot take 2 frames: .*grid of 3 x 4, not for 10"):
        check_stages(pure_model, config, (2, 5, 20))


def test_a_model_of_features_has_no_encoder(config):
    config.data.features = True
    config.model.encoder.name = "not looked at"
    pure_model = make_pure_model(config, vocab=50, feature_shape=(3, 4, 20))
    assert not pure_model.batch_stat_shapes and not any(name.startswith("encoders/") for name in pure_model.shapes)
    assert pure_model.shapes["connectors/vision/project/kernel"].shape == (20, 32)
    assert pure_model.shapes["connectors/vision/row"].shape == (3, 32)
    assert pure_model.shapes["connectors/vision/column"].shape == (4, 32)


@pytest.mark.parametrize("decoder", ["transformer", "lstm", "gru"])
@pytest.mark.parametrize("encoder", ["resnet10_slim", "vit_tiny"])
def test_bfloat16_models_have_float32_parameters(config, encoder, decoder):
    config.model.encoder.name, config.model.encoder.options = encoder, {}
    config.model.decoder.name, config.model.decoder.options = decoder, {}
    config.model.dtype = "bfloat16"
    pure_model = make_pure_model(config, vocab=50)
    specs = [*pure_model.shapes.values(), *pure_model.batch_stat_shapes.values()]
    assert {spec.dtype for spec in specs} == {jnp.dtype("float32")}


def test_init_gives_the_shapes_that_were_declared_and_bind_the_module_around_them(config):
    pure_model = make_pure_model(config, vocab=50)
    params, batch_stats = jax.eval_shape(pure_model.init, jax.eval_shape(lambda: make_key(0)))
    assert {name: spec.shape for name, spec in params.items()} == {n: s.shape for n, s in pure_model.shapes.items()}
    assert batch_stats.keys() == pure_model.batch_stat_shapes.keys() and batch_stats
    assert pure_model.axes.keys() == params.keys()
    assert all(len(axes) in (0, params[name].ndim) for name, axes in pure_model.axes.items())
    numbered = {name: jnp.float32(i) for i, name in enumerate([*params, *batch_stats])}
    model = pure_model.bind({n: numbered[n] for n in params}, {n: numbered[n] for n in batch_stats})
    assert params_of(model) | batch_stats_of(model) == numbered


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("decoder.name", "transfomer", r"unknown decoder 'transfomer': did you mean 'transformer'\? known: gru, lstm"),
        ("encoder.name", "resnet8", r"unknown encoder 'resnet8': did you mean 'resnet18'\?"),
        ("decoder.options", {"layer": 2}, r"model\.decoder\.options\.layer: .*'transformer' .*did you mean 'layers'"),
        ("encoder.options", {"depth": 2}, r"model\.encoder\.options\.depth: .*did you mean 'depths'.*known: .*stem"),
        ("decoder.options", {"max_len": 9}, r"options\.max_len: .*no such option; known: dropout, heads, layers"),
        ("encoder.options", {"image_size": 9}, r"options\.image_size: .*no such option"),
        ("decoder.options", {"layers": "two"}, r"options\.layers = 'two': expected int, such as 6"),
        ("decoder.options", {"heads": 4.0}, r"options\.heads = 4\.0: expected int, such as 8"),
        ("decoder.options", {"tie": "maybe"}, r"options\.tie = 'maybe': expected bool, such as True"),
        ("encoder.options", {"channels": "8"}, r"options\.channels = '8': expected int, such as 32"),
        ("encoder.options", {"stem": "big"}, "stem 'big': expected 'imagenet', 'small', 'patch'"),
        ("decoder.options", {"heads": 5}, "width 32 with 5 heads in the decoder: .* heads that divide the width"),
    ],
)
def test_a_model_that_cannot_be_built_is_a_clear_error(config, key, value, message):
    group, last = key.split(".")
    config.model[group][last] = value
    with pytest.raises(ConfigError, match=message):
        make_pure_model(config, vocab=50)


def test_an_int_is_a_fine_float(config):
    config.model.decoder.options.mlp_ratio = 2
    shapes = make_pure_model(config, vocab=50).shapes
    assert shapes["decoder/blocks/mlp/up/kernel"].shape == (1, 32, 64)


def test_options_of_one_decoder_are_not_those_of_another(config):
    config.model.decoder.name = "gru"
    with pytest.raises(ConfigError, match="decoder 'gru' has no such option; known: attention_width, dropout, tie"):
        make_pure_model(config, vocab=50)


def test_an_encoder_alone_has_the_captioners_names(config):
    alone = make_encoder("resnet10_slim", image_size=32, options={"channels": 8})
    whole = make_pure_model(config, vocab=50)
    for part, other in ((alone.shapes, whole.shapes), (alone.batch_stat_shapes, whole.batch_stat_shapes)):
        assert {f"encoders/vision/{name}" for name in part} == {name for name in other if name.startswith("encoders/")}


@pytest.mark.parametrize("weights", ["", "some.pth"])
def test_pretrained_arrays_have_the_names_of_the_model(config, weights, monkeypatch):
    config.model.encoder.weights = weights
    asked = []

    def load(encoder, source):
        asked.append(source)
        nnx.update(encoder, jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), nnx.state(encoder)))

    monkeypatch.setattr(pretrained, "load_pretrained", load)
    params, batch_stats = load_encoders(config)
    pure_model = make_pure_model(config, vocab=50)
    if not weights:
        assert (params, batch_stats, asked) == ({}, {}, [])
        return
    assert [str(path) for path in asked] == ["some.pth"]
    for arrays, shapes in ((params, pure_model.shapes), (batch_stats, pure_model.batch_stat_shapes)):
        expected = {name: spec.shape for name, spec in shapes.items() if name.startswith("encoders/")}
        assert {name: value.shape for name, value in arrays.items()} == expected


def test_features_need_no_pretrained_encoder(config):
    config.model.encoder.weights, config.data.features = "missing.pth", True
    assert load_encoders(config) == ({}, {})
