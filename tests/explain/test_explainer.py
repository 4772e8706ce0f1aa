"""Explanations of whole models, with drawn weights."""

import itertools
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

import capjax
from capjax.explain import Explanation, explain_each
from capjax.explain.gradcam import _smooth
from capjax.explain.model import CaptionModel, sum_by_word, token_log_probs
from capjax.models.encoders.tap import tapped
from capjax.models.gradients import weights_held
from data_prep.features import FeatureBuilder, FeatureSettings
from tests.helpers.pictures import picture
from tests.helpers.tiny_job import shared_once
from tests.helpers.tiny_videos import DENSE, TIMED, draw_workdir
from tests.helpers.weight_files import slim_resnet, write_safetensors

DECODERS = {
    "transformer": ("model.decoder.options.layers=2",),
    "lstm": ("model.decoder.name=lstm", "model.decoder.options={}"),
    "gru": ("model.decoder.name=gru", "model.decoder.options={}"),
}
RESNET = ("model.encoder.name=resnet10_slim", 'model.encoder.options={"channels": 4, "depths": (0, 1)}')


@pytest.fixture(scope="module")
def load(tiny, tmp_path_factory):
    """Loads the drawn model of settings; each is made once."""
    models = {}

    def get(*settings: str):
        if settings not in models:
            name = f"tiny_explain_{zlib.crc32(repr(settings).encode())}"
            make = lambda folder: draw_workdir(tiny.config(*settings), folder / "run")  # noqa: E731
            models[settings] = capjax.load(shared_once(tmp_path_factory, name, make) / "run")
        return models[settings]

    return get


@pytest.fixture(scope="module")
def photos(tiny):
    return sorted(tiny.photos.glob("*.jpg"))[:3]


@pytest.mark.parametrize("decoder", DECODERS)
def test_attention_is_that_with_which_the_tokens_of_a_word_were_chosen(load, photos, decoder):
    model = load(*DECODERS[decoder])
    captions = model.caption(photos, attention=True)
    for caption, explanation in zip(captions, capjax.explain(model, photos), strict=True):
        assert explanation.caption == caption.text
        assert not explanation.given and len(explanation.words) > 0
        mean = caption.attention.mean((1, 2))
        maps = explanation.maps["attention"].values
        for number, word in enumerate(explanation.words):
            np.testing.assert_allclose(maps[number].reshape(-1), mean[slice(*word.tokens)].mean(0), atol=1e-4)
        np.testing.assert_allclose(maps[-1].reshape(-1), mean.mean(0), atol=1e-4)
        first, end = explanation.words[0].tokens
        expected = sum(caption.token_log_probs[first:end])
        assert explanation.words[0].log_prob == pytest.approx(expected, abs=0.05)


def test_a_layer_and_a_head_can_be_chosen_and_unknown_ones_list_the_known(load, photos):
    model = load(*DECODERS["transformer"])
    (caption,) = model.caption(photos[:1], attention=True)
    (explanation,) = capjax.explain(model, photos[:1], attention_layer=1, attention_head=0)
    expected = caption.attention[slice(*explanation.words[0].tokens), 1, 0].mean(0)
    np.testing.assert_allclose(explanation.maps["attention"].values[0].reshape(-1), expected, atol=1e-4)
    with pytest.raises(ValueError, match=r"attention layer 2: the decoder has 2; known: 0, 1"):
        capjax.explain(model, photos[:1], attention_layer=2)
    with pytest.raises(ValueError, match=r"attention head 7: the decoder has 2; known: 0, 1"):
        capjax.explain(model, photos[:1], attention_head=7)


def test_a_second_call_compiles_nothing(load, photos, caplog):
    model = load(*RESNET)
    methods = "attention,gradcam,occlusion,lime"
    capjax.explain(model, photos[:2], method=methods, samples=8, segments=4)
    with jax.log_compiles():
        capjax.explain(model, photos[:2], method=methods, samples=8, segments=4)
    assert not [line for line in caplog.messages if "XLA compilation" in line]


def test_rollout_is_the_product_with_the_encoders_attention(load, photos):
    model = load(*DECODERS["transformer"])
    (plain,), (rolled,) = (capjax.explain(model, photos[:1], rollout=each) for each in (False, True))
    caption_model = CaptionModel(model)
    media = caption_model.media([model.read(photos[0])])
    weights = caption_model.bind(caption_model.weights).encoder_attention(media)["vision"].space
    expected = plain.maps["attention"].values.reshape(-1, 4)
    for layer in reversed(np.asarray(weights)[:, 0, :, 0].mean(1)):
        expected = expected @ (0.5 * np.eye(4) + 0.5 * layer)
    np.testing.assert_allclose(rolled.maps["attention"].values.reshape(-1, 4), expected, atol=1e-5)
    with pytest.raises(ValueError, match="no self-attention"):
        capjax.explain(load(*RESNET), photos[:1], rollout=True)


@pytest.mark.parametrize(("settings", "layer"), [(RESNET, "features"), (RESNET, "stem"), ((), "blocks/0")])
def test_gradcam_in_one_pass_is_activation_times_gradient_word_by_word(load, photos, settings, layer):
    model = load(*settings)
    text = "a red picture"
    explanations = capjax.explain(model, photos[:2], method="gradcam", gradcam_layer=layer, caption=text)
    caption_model = CaptionModel(model)
    for path, explanation in zip(photos[:2], explanations, strict=True):
        tokens = caption_model.vocabulary.encode(text)
        item = caption_model.item("", model.read(path), explanation.frames[0], tokens, "en")
        batch = caption_model.batch([item])
        bound = caption_model.bind(caption_model.weights)

        def score(perturbation, batch=batch, bound=bound):
            with tapped(layer, perturbation) as tap:
                memory = bound.memory(bound.features(batch.media), batch.media)
            logits = bound.decode(batch.target, memory).logits
            return sum_by_word(token_log_probs(logits, batch.target), batch.word_tokens)[0], tap.value

        values, activations = score(None)
        for number in (1, len(item.words)):
            with weights_held():
                gradient = jax.grad(lambda x, number=number, score=score: score(x)[0][number])(
                    np.zeros(activations.shape, np.float32)
                )
            rows, columns = explanation.maps["gradcam"].values.shape[2:]
            map = (np.asarray(gradient) * np.asarray(activations)).sum(-1)
            expected = _smooth(map.reshape(1, 1, rows, columns))[0]
            result = explanation.maps["gradcam"].values[number]
            np.testing.assert_allclose(result, expected, atol=2e-3 * np.abs(expected).max() + 1e-6)
        assert float(values[len(item.words)]) == pytest.approx(explanation.log_prob, abs=1e-3)


def test_an_unknown_layer_of_the_encoder_lists_the_known(load, photos):
    with pytest.raises(ValueError, match=r"no layer 'stage'; .*known: features, stages/1/0, stem"):
        capjax.explain(load(*RESNET), photos[:1], method="gradcam", gradcam_layer="stage")


def test_a_given_caption_is_explained(load, photos):
    model = load()
    first, second = capjax.explain(model, photos[:2], caption="A  green dog.")
    assert first.given and first.caption == second.caption == "A green dog."
    assert [word.text for word in first.words] == ["A", "green", "dog"]
    assert first.log_prob < sum(word.log_prob for word in first.words) < 0
    texts = [each.caption for each in capjax.explain(model, photos[:2], caption=["red", "ein rotes Bild"], lang="de")]
    assert texts == ["red", "ein rotes Bild"]
    with pytest.raises(ValueError, match="1 captions were given"):
        capjax.explain(model, photos[:2], caption=["red"])
    with pytest.raises(ValueError, match="is empty"):
        capjax.explain(model, photos[:1], caption=" ")
    with pytest.raises(ValueError, match=r"tokens: this model reads at most \d+; give a shorter one"):
        capjax.explain(model, photos[:1], caption="red " * 50)


def test_a_bad_file_affects_no_other_and_the_order_is_kept(load, photos, tmp_path):
    model = load()
    (tmp_path / "notes.jpg").write_text("no picture")
    media = [photos[0], tmp_path / "notes.jpg", photos[1], tmp_path / "missing.jpg"]
    for size in (1, 2, 8):
        explanations = capjax.explain(model, media, method="attention,gradcam", batch_size=size)
        assert [bool(each.error) for each in explanations] == [False, True, False, True]
        assert "notes.jpg: not an image" in str(explanations[1].error)
        (alone,) = capjax.explain(model, photos[1:2], method="attention,gradcam")
        assert alone.caption == explanations[2].caption
        for method in ("attention", "gradcam"):
            np.testing.assert_allclose(
                alone.maps[method].values, explanations[2].maps[method].values, rtol=1e-2, atol=1e-4
            )


def test_maps_lie_in_the_upright_photo_at_its_own_size(load, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(400, 300).save(tmp_path / "turned.jpg", exif=exif)
    (explanation,) = capjax.explain(load(), [tmp_path / "turned.jpg"], method="attention,gradcam")
    for maps in explanation.maps.values():
        assert (maps.geometry.width, maps.geometry.height) == (300, 400)
        assert maps.geometry.box == (0, 0, 300, 400)
    with Image.open(tmp_path / "turned.jpg") as image:
        assert image.size == (400, 300)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, p: capjax.explain(m, p[0]), TypeError, "expected several photos"),
        (lambda m, p: capjax.explain(m, p, method="cam"), ValueError, "unknown explanation method 'cam'.*gradcam"),
        (lambda m, p: capjax.explain(m, p, layers=1), ValueError, "unknown option of explanations 'layers'.*did you"),
        (lambda m, p: capjax.explain(m, p, lang="zh"), ValueError, "writes en, de"),
        (lambda m, p: capjax.explain(m, p, batch_size=0), ValueError, "expected 1 or more"),
        (lambda m, p: capjax.explain(m, p, method="pointers"), ValueError, "models whose queries find events"),
    ],
)
def test_wrong_arguments_are_named(load, photos, call, error, message):
    with pytest.raises(error, match=message):
        call(load(), photos)


def test_explain_is_a_function_and_a_package(load, photos):
    import capjax.explain.words  # noqa: F401  # importing a module of it must not replace the function

    assert isinstance(capjax.explain(load(), photos[:1])[0], Explanation)
    assert next(iter(explain_each(load(), photos))).words


@pytest.fixture(scope="module")
def feature_model(tiny, tmp_path_factory):
    """A model that takes features of a frozen encoder."""

    def make(folder):
        weights = write_safetensors(slim_resnet(channels=4, stem=3), folder / "encoder.safetensors")
        settings = FeatureSettings("resnet10_slim", {"channels": 4}, str(weights), 32, views=1, batch=8)
        FeatureBuilder(tiny.data, folder / "features", settings, progress=False).download_and_prepare()
        data = (f"data.train={folder / 'features'}@train", f"data.eval={folder / 'features'}@val")
        draw_workdir(tiny.config("data.features=true", *data), folder / "run")

    return capjax.load(shared_once(tmp_path_factory, "tiny_explain_features", make) / "run")


def test_a_model_of_features_is_explained_through_its_frozen_encoder(feature_model, photos):
    captions = feature_model.caption(photos)
    explanations = capjax.explain(feature_model, photos, method="attention,gradcam")
    assert [each.caption for each in explanations] == [each.text for each in captions]
    inner = capjax.explain(feature_model, photos, method="gradcam", gradcam_layer="stages/2/0")
    assert inner[0].maps["gradcam"].values.shape[2:] == (4, 4)
    assert all(each.maps["gradcam"].values.max() > 0 for each in inner)
    assert [each.caption for each in inner] == [each.text for each in captions]


@pytest.mark.parametrize("settings", [DENSE, TIMED], ids=["queries", "text"])
def test_every_event_is_explained(tiny_videos, settings):
    model = capjax.load(tiny_videos.model("explain_" + str(len(settings)), settings))
    videos = [tiny_videos.file(record) for record in itertools.islice(tiny_videos.source(), 2)]
    explanations = capjax.explain(model, videos, method="attention,gradcam")
    by_video = [list(each) for each in model.events(videos)]
    assert len(explanations) == sum(map(len, by_video)) > 0
    for explanation, event in zip(explanations, itertools.chain(*by_video), strict=True):
        assert (explanation.caption, explanation.event) == (event.text, (event.start, event.end))
        for maps in explanation.maps.values():
            assert maps.values.shape[:2] == (len(explanation.words) + 1, len(maps.times))
            assert np.isfinite(maps.values).all()
        if settings is DENSE:  # written times are constrained by a grammar, which the probabilities of search include
            total = sum(event.token_log_probs)
            assert explanation.log_prob == pytest.approx(total, abs=0.05 * abs(total) + 0.1)
    with pytest.raises(ValueError, match="of which would it be"):
        capjax.explain(model, videos, caption="a dog")


def test_pointers_are_the_probability_of_being_inside(tiny_videos):
    model = capjax.load(tiny_videos.model("explain_" + str(len(DENSE)), DENSE))
    videos = [tiny_videos.file(record) for record in itertools.islice(tiny_videos.source(), 2)]
    for explanation in capjax.explain(model, videos, method="queries,pointers"):
        inside = explanation.map("pointers").values.reshape(-1)
        attention = explanation.map("queries").values.reshape(-1)
        assert len(inside) == len(explanation.frames)
        assert (inside >= -1e-6).all() and (inside <= 1 + 1e-5).all()
        assert attention.sum() == pytest.approx(1, abs=1e-4)
