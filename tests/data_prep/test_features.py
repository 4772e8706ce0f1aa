"""Features of a dataset are what the encoder makes of its pictures, however the run went."""

import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from capjax.data.record import Record, RecordCaption, RecordSource
from capjax.data.transforms import view
from capjax.models.frozen_encoder import FrozenEncoder, make_encoder
from capjax.models.pretrained import WeightsError
from data_prep.build import BuildError
from data_prep.cli import main
from data_prep.features import Extractor, FeatureBuilder, FeatureSettings, take_view, with_features
from data_prep.readers import READERS
from data_prep.readers.item import InputError
from tests.helpers.built_records import build_records
from tests.helpers.folders import contents
from tests.helpers.pictures import encode, picture
from tests.helpers.weight_files import slim_resnet, write_safetensors

OPTIONS = {"channels": 4}
SIZE = 32


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "slim.safetensors"
    return write_safetensors(slim_resnet(channels=4, stem=3), path)


@pytest.fixture(scope="module")
def settings(weights):
    return FeatureSettings("resnet10_slim", OPTIONS, str(weights), SIZE, batch=8)  # one for each of eight devices


@pytest.fixture(scope="module")
def extractor(settings):
    return Extractor(settings)


def with_settings(extractor: Extractor, **changes) -> Extractor:
    """The same encoder, not compiled again."""
    other = object.__new__(Extractor)
    other.__dict__ |= extractor.__dict__ | {"settings": replace(extractor.settings, **changes)}
    return other


def record(number: int, frames: int = 1) -> Record:
    jpegs = tuple(encode(picture(40, 32, number * 100 + i)) for i in range(frames))
    return Record(
        f"id{number}", f"{number}.jpg", (RecordCaption(f"photo {number}"),), jpegs, np.arange(frames, dtype=np.float32)
    )


def expected(extractor: Extractor, jpeg: bytes) -> np.ndarray:
    frames = np.zeros((extractor.batch, 1, SIZE, SIZE, 3), np.uint8)
    frames[0, 0] = view(jpeg, SIZE)
    times, mask = np.zeros(frames.shape[:2], np.float32), np.ones(frames.shape[:2], bool)
    return np.asarray(extractor(frames, times, mask))[0, 0]


@pytest.fixture
def dataset(tmp_path, make_jsonl):
    reader = READERS.make("jsonl", make_jsonl(150, size=(40, 32)))
    return build_records("jsonl", reader, tmp_path / "dataset").output_dir


def build(dataset, output, settings, **options):
    builder = FeatureBuilder(dataset, output, settings, progress=False, **options)
    builder.download_and_prepare()
    return builder


def test_view_0_is_what_the_encoder_sees_of_the_whole_picture(extractor):
    records = [record(i) for i in range(7)]
    done = list(with_features(records, extractor))
    assert [one.id for one in done] == [one.id for one in records]
    for before, after in zip(records, done, strict=True):
        assert after.features.shape == (1, 1, 4, 32)
        assert after.features.dtype == np.float16
        assert after.feature_grid == (2, 2)
        np.testing.assert_allclose(after.features[0, 0], expected(extractor, before.frames[0]), rtol=2e-3, atol=1e-3)
        assert after.frames == ()
        assert (after.captions, after.media) == (before.captions, before.media)


def test_pictures_are_kept_on_request(extractor):
    (done,) = with_features([record(0)], with_settings(extractor, keep_frames=True))
    assert done.frames == record(0).frames


@pytest.mark.parametrize("batch", [1, 16])
def test_videos_and_views_of_any_number_go_through_batches_of_any_size(settings, extractor, batch):
    records = [record(0, 5), record(1, 1), record(2, 9), record(3, 2)]
    wanted = list(with_features(records, with_settings(extractor, views=3)))
    done = list(with_features(records, Extractor(replace(settings, views=3, batch=batch))))
    for before, one, other in zip(records, wanted, done, strict=True):
        assert one.features.shape == (3, len(before.frames), 4, 32)
        np.testing.assert_allclose(one.features, other.features, rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(one.features[0, -1], expected(extractor, before.frames[-1]), rtol=2e-3, atol=1e-3)


def test_memory_holds_two_batches_and_no_more(extractor):
    read = itertools.count()
    endless = (replace(record(0), id=f"id{next(read)}") for _ in itertools.repeat(None))
    stream = with_features(endless, extractor)
    for wanted in range(9):
        assert next(stream).id == f"id{wanted}"
        assert next(read) <= wanted + 1 + 3 * extractor.batch + wanted  # each look at the counter moves it by one
    stream.close()


def test_further_views_are_crops_that_depend_on_id_and_number_alone(settings):
    jpeg = encode(picture(40, 32, 1))
    crops = [take_view(jpeg, "a", number, settings) for number in range(4)]
    again = [take_view(jpeg, "a", number, settings) for number in range(4)]
    np.testing.assert_array_equal(crops, again)
    assert len({crop.tobytes() for crop in crops}) == 4
    assert take_view(jpeg, "b", 1, settings).tobytes() != crops[1].tobytes()
    np.testing.assert_array_equal(crops[0], view(jpeg, SIZE))


def test_crops_are_mirrored_only_on_request(settings):
    left_bright = np.zeros((64, 64, 3), np.uint8)
    left_bright[:, :32] = 255
    jpeg = encode(Image.fromarray(left_bright))

    def mirrored(settings):
        crops = [take_view(jpeg, "a", number, settings) for number in range(1, 40)]
        return np.mean([crop[:, 0].mean() < crop[:, -1].mean() for crop in crops])

    assert mirrored(settings) == 0
    assert 0.2 < mirrored(replace(settings, flips=True)) < 0.8


def test_a_dataset_is_written_with_its_encoder(dataset, tmp_path, settings, extractor, weights):
    build(dataset, tmp_path / "out", replace(settings, views=2))
    for split in ("train", "val"):
        before, after = RecordSource(dataset, split), RecordSource(tmp_path / "out", split)
        assert len(before) == len(after)
        for i in range(0, len(before), 7):
            assert after[i].id == before[i].id
            assert after[i].captions == before[i].captions
            assert after[i].features.shape == (2, 1, 4, 32)
            np.testing.assert_allclose(
                after[i].features[0, 0], expected(extractor, before[i].frames[0]), rtol=2e-3, atol=1e-3
            )
    about = json.loads((tmp_path / "out/encoder/encoder.json").read_text())
    assert about["encoder"] == "resnet10_slim"
    assert about["feature_shape"] == [2, 2, 32]
    assert about["image_size"] == SIZE
    assert about["views"] == 2
    assert about["weights_file"] == weights.name
    assert len(about["weights_sha256"]) == 64
    assert json.loads((tmp_path / "out/report.json").read_text())["splits"]["train"]["photos"] == 135
    assert not (tmp_path / "out.partial").exists()


def test_the_dataset_names_the_one_that_it_was_extracted_from(dataset, tmp_path, settings):
    """By a relative path, so that both can be moved together."""
    (tmp_path / "deep").mkdir()
    build(dataset, tmp_path / "deep/out", settings)
    assert json.loads((tmp_path / "deep/out/report.json").read_text())["extracted_from"]["path"] == "../../dataset"
    features = RecordSource(tmp_path / "deep/out", "val")
    original = features.original()
    assert [original[i].id for i in range(len(original))] == [features[i].id for i in range(len(features))]
    assert original[0].frames


@pytest.mark.parametrize("name", ["encoder.json", "encoder.safetensors"])
@pytest.mark.parametrize("left", [None, 0, 60])
def test_a_file_of_the_encoder_that_is_missing_or_cut_short_is_named(extractor, tmp_path, name, left):
    extractor.save(tmp_path / "encoder")
    assert FrozenEncoder.load(tmp_path / "encoder").feature_shape == (2, 2, 32)
    path = tmp_path / "encoder" / name
    whole = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(whole[:left])
    with pytest.raises((FileNotFoundError, ValueError), match=f"{path} is .*; copy {tmp_path / 'encoder'} again"):
        FrozenEncoder.load(tmp_path / "encoder")


def test_a_missing_file_of_the_input_is_named(dataset, tmp_path, settings):
    file = next(dataset.glob("*val.array_record*"))
    file.unlink()
    with pytest.raises(BuildError, match=f"{file} is missing; copy the dataset again"):
        build(dataset, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_a_damaged_report_of_the_input_is_named_before_anything_is_computed(dataset, tmp_path, settings):
    (dataset / "report.json").write_text("{")
    with pytest.raises(InputError, match=f"{dataset / 'report.json'} is cut short or damaged"):
        FeatureBuilder(dataset, tmp_path / "out", settings)


def test_the_encoder_in_the_dataset_is_enough_for_raw_photos(dataset, tmp_path, settings):
    build(dataset, tmp_path / "out", settings)
    about = json.loads((tmp_path / "out/encoder/encoder.json").read_text())
    arrays = load_file(tmp_path / "out/encoder/encoder.safetensors")
    pure_model = make_encoder(about["encoder"], image_size=about["image_size"], options=about["options"])
    params = {name: arrays.pop(name) for name in pure_model.shapes}
    batch_stats = {name: arrays.pop(name) for name in pure_model.batch_stat_shapes}
    assert not arrays
    raw, stored = RecordSource(dataset, "val")[3], RecordSource(tmp_path / "out", "val")[3]
    images = view(raw.frames[0], about["image_size"])[None]
    grid = jax.jit(lambda x: pure_model.bind(params, batch_stats)(x))(images)
    np.testing.assert_allclose(grid.reshape(1, 4, 32), stored.features[0], rtol=2e-3, atol=1e-3)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(dataset, tmp_path, settings, monkeypatch):
    build(dataset, tmp_path / "whole", settings)
    calls = itertools.count()
    compute = Extractor.__call__

    def stopped(self, *clips):
        if next(calls) == 12:  # in the second of train's two shards, of 9 batches each
            raise KeyboardInterrupt
        return compute(self, *clips)

    monkeypatch.setattr(Extractor, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        build(dataset, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "out.partial").rglob("*.tmp"))
    monkeypatch.setattr(Extractor, "__call__", compute)
    assert build(dataset, tmp_path / "out", settings).images == 150 - 67
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_settings_begin_anew(dataset, tmp_path, settings, monkeypatch):
    monkeypatch.setattr(FeatureBuilder, "_publish", lambda self: None)
    assert build(dataset, tmp_path / "out", settings).images == 150
    assert build(dataset, tmp_path / "out", settings).images == 0
    assert build(dataset, tmp_path / "out", replace(settings, flips=True)).images == 150


def test_damaged_and_missing_pictures_are_named(extractor):
    for frames, message in (((b"\xff\xd8 no jpeg",), "'id0' .0.jpg.*JPEG"), ((), "'id0' .0.jpg. has no pictures")):
        with pytest.raises(InputError, match=message):
            list(with_features([replace(record(0), frames=frames)], extractor))


def test_features_that_are_no_numbers_are_refused(extractor):
    broken = with_settings(extractor)
    broken._extract = lambda placed, *clips: np.full((8, 1, 4, 32), np.inf, np.float16)
    with pytest.raises(InputError, match="'id0'.*too large for float16"):
        list(with_features([record(0)], broken))


def arguments(dataset, output, *more) -> list[str]:
    return ["features", "--input", str(dataset), "--output", str(output), *map(str, more)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--encoder", "resnet19"], "unknown encoder 'resnet19': did you mean 'resnet1"),
        (["--encoder", "resnet18"], "--weights is missing"),
        (["--encoder", "efficientnet_lite0", "--views", "0"], "--views"),
        (["--encoder", "efficientnet_lite0", "--crop-scale", "0.9", "0.5"], "--crop-scale"),
        (["--encoder", "efficientnet_lite0", "--image-size", "-3"], "--image-size -3"),
        (["--encoder", "vit_s16", "--image-size", "100", "--weights", "x.pth"], "whole number of patches"),
        (
            ["--encoder", "vit_s16", "--encoder-options", '{"dept": 3}', "--weights", "x.pth"],
            "--encoder-options: .*dept",
        ),
        (["--encoder", "resnet18", "--weights", "none.pth"], "no weights at none.pth"),
    ],
)
def test_wrong_arguments_are_explained(dataset, tmp_path, more, message, capsys):
    assert main(arguments(dataset, tmp_path / "out", *more)) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()


def test_a_wrong_input_or_output_is_explained(dataset, tmp_path, settings):
    with pytest.raises(InputError, match="no dataset here"):
        FeatureBuilder(tmp_path, tmp_path / "out", settings)
    with pytest.raises(InputError, match="is the input"):
        FeatureBuilder(dataset, dataset, settings)
    with pytest.raises(WeightsError, match="looks like torchvision or timm ResNet"):
        FeatureBuilder(dataset, tmp_path / "out", replace(settings, encoder="efficientnet_lite0", options={}))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").write_text("mine")
    with pytest.raises(BuildError, match="is not a dataset"):
        build(dataset, tmp_path / "out", settings)


def test_the_command_writes_a_dataset_and_tells_its_speed(dataset, tmp_path, weights, capsys, monkeypatch):
    monkeypatch.setenv("CAPJAX_CACHE", str(tmp_path / "cache"))
    more = ["--encoder", "resnet10_slim", "--encoder-options", json.dumps(OPTIONS), "--weights", weights]
    assert main(arguments(dataset, tmp_path / "out", *more, "--image-size", SIZE, "--batch", 8)) == 0
    assert "features of 2 x 2 x 32 from slim.safetensors" in capsys.readouterr().out
    assert RecordSource(tmp_path / "out", "val")[0].features.shape == (1, 1, 4, 32)


def test_help_needs_no_jax():
    program = (
        "import sys; sys.modules['jax'] = None\n"
        "from data_prep.features import add_arguments\n"
        "from argparse import ArgumentParser; add_arguments(ArgumentParser())"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
def test_one_device_gives_the_features_of_many(dataset, tmp_path, settings, weights):
    assert jax.device_count() > 1, "conftest.py makes eight pretend devices"
    build(dataset, tmp_path / "many", settings)
    more = ["--encoder", "resnet10_slim", "--encoder-options", json.dumps(OPTIONS), "--weights", weights]
    command = [sys.executable, "-m", "data_prep", *arguments(dataset, tmp_path / "one", *more, "--image-size", SIZE)]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1", "JAX_PLATFORMS": "cpu"}
    subprocess.run(command, check=True, env=environment)
    one, many = (RecordSource(tmp_path / name, "train") for name in ("one", "many"))
    for i in range(len(one)):
        np.testing.assert_allclose(one[i].features, many[i].features, rtol=2e-3, atol=1e-3)
