"""`capjax.load(workdir).caption(images)` says what evaluation said, wherever the workdir lies."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image, ImageOps

import capjax
from capjax import runtime
from capjax.parallel.mesh import make_fitting_mesh
from capjax.predict import MediaError
from tests.helpers.tiny_job import copy, predictions


@pytest.fixture(scope="module")
def model(tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPJAX_CACHE", str(tiny.path / "cache"))
        runtime.start()
    return capjax.load(tiny.trained())


@pytest.mark.parametrize("lang", ["en", "de"])
def test_raw_photos_get_the_captions_of_the_evaluation(tiny, model, lang):
    wanted = predictions(tiny.trained(), lang)
    assert len(set(wanted.values())) > 2, "a model that says the same of all would prove nothing"
    captions = model.caption([tiny.photos / name for name in wanted], lang=lang)
    assert {name: caption.text for name, caption in zip(wanted, captions, strict=True)} == wanted
    assert all(caption.lang == lang and np.isfinite(caption.score) and caption.score < 0 for caption in captions)


def test_the_weights_are_those_of_the_best_evaluation(tiny, model):
    rows = [json.loads(line) for line in (tiny.trained() / "metrics.jsonl").read_text().splitlines()]
    best = max((row for row in rows if "eval/CIDEr" in row), key=lambda row: row["eval/CIDEr"])
    assert model.step == best["step"]


def test_all_forms_of_an_image_give_one_caption(tiny, model):
    path = tiny.photos / "000.jpg"
    with Image.open(path) as image:
        image.load()
    forms = [str(path), path, path.read_bytes(), image, np.asarray(image)]
    texts = {caption.text for form in forms for caption in model.caption([form])}
    assert len(texts) == 1


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_turned_photo_gives_one_caption_in_every_form(tiny, tmp_path, model, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    with Image.open(tiny.photos / "000.jpg") as image:
        image.crop((0, 0, image.width, image.height // 2)).save(path, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(path))
    loaded = Image.open(path)
    loaded.load()
    captions = model.caption([path, path.read_bytes(), Image.open(path), loaded, upright, np.asarray(upright)])
    assert len({(caption.text, caption.score) for caption in captions}) == 1
    assert not any(caption.error for caption in captions)


def test_an_animation_is_a_video_in_every_form(tmp_path, model):
    frames = [Image.new("RGB", (64, 48), color) for color in ("red", "green", "blue")]
    path = tmp_path / "moving.jpg"  # whatever its name
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=400)
    samples = [model.read(form) for form in (path, path.read_bytes(), Image.open(path))]
    assert [sample.duration for sample in samples] == pytest.approx([1.2] * 3)
    assert samples[0].frames == samples[1].frames == samples[2].frames
    with pytest.raises(MediaError, match="^the video"):
        model.read(b"\0\0\0\x18ftypisom" + bytes(1000))


@pytest.mark.parametrize("item", [None, 3, np.zeros(4), np.zeros((4, 4, 3), np.int64), object(), ["a.jpg"]])
def test_an_item_of_a_wrong_type_costs_no_other(tiny, model, item):
    path = tiny.photos / "000.jpg"
    first, second, third = model.caption([path, item, path])
    assert first.text == third.text != ""
    assert isinstance(second.error, MediaError)


def test_a_caption_does_not_depend_on_its_company(tiny, model):
    paths = sorted(tiny.photos.glob("*.jpg"))[:9]
    together = model.caption(paths)
    assert together == model.caption(iter(paths), batch_size=9)
    alone = [caption for path in paths[:2] for caption in model.caption([path])]
    assert [caption.text for caption in alone] == [caption.text for caption in together[:2]]
    np.testing.assert_allclose([c.score for c in alone], [c.score for c in together[:2]], rtol=1e-4)
    assert model.caption([]) == []


def test_a_moved_workdir_needs_nothing_else(tiny, tmp_path, model):
    workdir = copy(tiny.trained(), tmp_path / "elsewhere")
    config = json.loads((workdir / "config.json").read_text())
    config["data"] |= {"train": ["gone@train"], "eval": "gone@val", "vocabulary": "gone.model"}
    (workdir / "config.json").write_text(json.dumps(config))
    photo = tiny.photos / "003.jpg"
    assert capjax.load(workdir).caption([photo])[0].text == model.caption([photo])[0].text


def test_a_file_that_cannot_be_read_is_named(tmp_path, model):
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(MediaError, match=r"notes.jpg: not an image"):
        model.read(tmp_path / "notes.jpg")
    with pytest.raises(MediaError, match=r"missing.jpg does not exist"):
        model.read(tmp_path / "missing.jpg")


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_each_item_gets_a_caption_or_an_error_in_order(tiny, tmp_path, model, batch_size):
    (tmp_path / "notes.jpg").write_text("no picture")
    first, second = sorted(tiny.photos.glob("*.jpg"))[:2]
    media = [tmp_path / "notes.jpg", first, tmp_path / "missing.jpg", b"no picture", second]
    captions = model.caption(media, batch_size=batch_size, lang="de")
    texts = [caption.text for caption in model.caption([first, second], lang="de")]
    assert [caption.text for caption in captions] == ["", texts[0], "", "", texts[1]]
    assert [isinstance(caption.error, MediaError) for caption in captions] == [True, False, True, True, False]
    assert "notes.jpg: not an image" in str(captions[0].error)
    assert "missing.jpg does not exist" in str(captions[2].error)
    assert all(caption.lang == "de" for caption in captions)
    assert [bool(np.isnan(caption.score)) for caption in captions] == [True, False, True, True, False]


def test_one_photo_in_place_of_several_is_an_error(tiny, model):
    for photo in (tiny.photos / "000.jpg", str(tiny.photos / "000.jpg"), b"bytes"):
        with pytest.raises(TypeError, match="expected several photos or videos, such as a list; found one"):
            model.caption(photo)


def test_token_log_probabilities_sum_to_the_score_before_its_normalization(tiny, model):
    captions = model.caption(sorted(tiny.photos.glob("*.jpg"))[:6], length_penalty=0.7)
    for caption in captions:
        assert model._vocabulary.decode(caption.tokens) == caption.text
        total = caption.score * ((5 + len(caption.tokens)) / 6) ** 0.7
        assert sum(caption.token_log_probs) == pytest.approx(total, abs=1e-4)


def test_attention_is_returned_on_request_and_changes_nothing_else(tiny, model):
    paths = sorted(tiny.photos.glob("*.jpg"))[:3]
    plain, captions = model.caption(paths), model.caption(paths, attention=True)
    assert captions == plain
    for caption in captions:
        tokens, _, _, n = caption.attention.shape
        assert (tokens, n) == (len(caption.tokens), 4)
        np.testing.assert_allclose(caption.attention.sum(-1), 1.0, atol=1e-5)
    assert plain[0].attention is None


def test_a_model_can_be_loaded_and_used_in_any_thread(tiny, model):
    photos = sorted(tiny.photos.glob("*.jpg"))[:3]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: capjax.load(tiny.trained()).caption(photos)).result() == model.caption(photos)


def test_options_given_to_load_hold_for_every_caption(tiny, model):
    photos = sorted(tiny.photos.glob("*.jpg"))[:3]
    loaded = capjax.load(tiny.trained(), num_beams=1, max_len=1)
    assert loaded.caption(photos) == model.caption(photos, num_beams=1, max_len=1) != model.caption(photos)
    assert loaded.caption(photos, max_len=8) == model.caption(photos, num_beams=1)


def test_the_next_best_captions_follow_the_best_in_the_order_of_their_scores(tiny, model):
    photos = sorted(tiny.photos.glob("*.jpg"))[:3]
    for best, caption in zip(model.caption(photos), model.caption(photos, num_captions=2), strict=True):
        assert caption == best and best.alternatives == ()
        (second,) = caption.alternatives
        assert second.text != caption.text and second.score <= caption.score and second.lang == caption.lang
        assert sum(second.token_log_probs) < 0 and second.alternatives == ()


def test_more_captions_than_hypotheses_are_refused(tiny, model):
    for number, options in ((3, {}), (0, {}), (2, {"method": "greedy"})):
        with pytest.raises(ValueError, match=f"{number} captions per item"):
            model.caption([tiny.photos / "000.jpg"], num_captions=number, **options)


def test_old_names_of_decoding_options_warn(tiny, model):
    photo = [tiny.photos / "000.jpg"]
    with pytest.warns(DeprecationWarning, match="'beams' is now 'num_beams'"):
        assert model.caption(photo, beams=1) == model.caption(photo, num_beams=1)


def test_what_the_model_cannot_do_is_said(tiny, model):
    photo = [tiny.photos / "000.jpg"]
    with pytest.raises(ValueError, match="this model writes en, de; it was not trained on 'fr'"):
        model.caption(photo, lang="fr")
    with pytest.raises(ValueError, match="unknown decoding option 'beam'; expected one of .*num_beams"):
        model.caption(photo, beam=3)
    with pytest.raises(ValueError, match="beams = 0"):
        model.caption(photo, num_beams=0)
    with pytest.raises(ValueError, match="method = 'top_p': known: beam, greedy, sample"):
        model.caption(photo, method="top_p")


@pytest.mark.parametrize("form", [str, Path, Path.read_bytes, Image.open, lambda path: np.asarray(Image.open(path))])
def test_one_photo_instead_of_several_is_refused(tiny, model, form):
    with pytest.raises(TypeError, match="expected several photos or videos, such as a list; found one"):
        model.caption(form(tiny.photos / "000.jpg"))


def test_a_folder_without_a_model_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no trained model here"):
        capjax.load(tmp_path)


def test_a_workdir_whose_parts_are_of_two_runs_is_refused(tiny, tmp_path):
    workdir = copy(tiny.trained(), tmp_path / "mixed")
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["width"] = 64
    (workdir / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="checkpoint and config.json are of different models.*connectors/vision/"):
        capjax.load(workdir)


def test_groups_are_captioned_as_each_alone_in_every_language(tiny, tmp_path, model):
    (tmp_path / "notes.jpg").write_text("no picture")
    paths = sorted(tiny.photos.glob("*.jpg"))
    groups = [paths[:3], [], [tmp_path / "notes.jpg", *paths[3:8]], [lambda: paths[8]]]
    results = list(model.caption_groups(iter(groups), ["en", "de"], batch_size=2))
    assert [len(group) for group in results] == [3, 0, 6, 1]
    for column, lang in enumerate(("en", "de")):
        expected = [*model.caption(paths[:3], lang=lang), *model.caption(paths[3:9], lang=lang)]
        captions = [captions[column] for group in results for captions in group]
        assert [caption.text for caption in captions if not caption.error] == [caption.text for caption in expected]
    assert [bool(captions[0].error) for captions in results[2]] == [True, False, False, False, False, False]


def test_photos_and_videos_are_batched_separately(tiny, tmp_path, model, monkeypatch):
    frames = [Image.new("RGB", (64, 48), color) for color in ("red", "green", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=400)
    photos = sorted(tiny.photos.glob("*.jpg"))[:3]
    batches, make = [], model._batch.frames
    monkeypatch.setattr(model._batch, "frames", lambda samples: batches.append(len(samples)) or make(samples))
    media = [photos[0], tmp_path / "moving.gif", photos[1], photos[2]]
    captions = model.caption(media)
    assert batches == [3, 1]
    assert [caption.text for caption in captions] == [model.caption([each])[0].text for each in media]


@pytest.mark.parametrize("sizes", [{"data": -1}, {"data": -1, "fsdp": 2, "tensor": 2}])
def test_several_devices_caption_as_one_does(tiny, model, sizes):
    mesh = make_fitting_mesh({"replica": 1, "data": 1, "fsdp": 1, "tensor": 1} | sizes, jax.devices()[:4])
    paths = sorted(tiny.photos.glob("*.jpg"))[:9]
    captions = capjax.load(tiny.trained(), mesh=mesh).caption([tiny.photos / "gone.jpg", *paths])
    expected = model.caption(paths)
    assert captions[0].error
    assert [caption.text for caption in captions[1:]] == [caption.text for caption in expected]
    np.testing.assert_allclose([c.score for c in captions[1:]], [c.score for c in expected], rtol=1e-4)


def test_a_model_may_be_loaded_and_used_in_any_thread(tiny, model):
    photo = tiny.photos / "000.jpg"
    with ThreadPoolExecutor(1) as pool:
        captions = pool.submit(lambda: capjax.load(tiny.trained()).caption([photo])).result()
    assert captions == model.caption([photo])
