"""The object detector: equal to the graph that was published, and its weights."""

import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax import cli
from capjax.data.transforms import view
from capjax.metrics.objects import COCO_OBJECTS
from capjax.models.centernet import SIZE, Heatmaps, find_peaks
from capjax.models.detector import CATEGORIES, Detector, default_weights
from capjax.models.pretrained import WeightsError, centernet, read_weights
from capjax.models.pretrained.tfjs import read_graph_model
from tests.helpers.centernet_files import write_published_files
from tests.helpers.tfjs_graph import GraphModel

run_network = nnx.jit(lambda network, images: network(images))
OUTPUTS = [f"tower_0/{name}" for name in ("keypoints", "wh", "detections")]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The published graph with random weights."""
    return write_published_files(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def converted(published):
    path = published.with_name("detector.safetensors")
    centernet.convert(published, path)
    return path


@pytest.fixture(scope="module")
def detector(converted):
    return Detector(converted)


@pytest.fixture
def edited(published, tmp_path):
    """Copies of the published files, with a change of the JSON."""

    def edit(change=lambda graph: None) -> Path:
        graph = json.loads(published.read_text())
        change(graph)
        (tmp_path / "centernet.bin").write_bytes(published.with_name("centernet.bin").read_bytes())
        path = tmp_path / "centernet.json"
        path.write_text(json.dumps(graph))
        return path

    return edit


def drawn_image(seed: int = 0) -> np.ndarray:
    """Coarse random colors."""
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    return coarse.repeat(SIZE // 16, 0).repeat(SIZE // 16, 1)


def assert_equal_to_graph(published: Path, weights: Path, image: np.ndarray):
    scores, extents, detections = GraphModel(published).run({"tower_0/images": image[None].astype(np.float32)}, OUTPUTS)
    maps = run_network(centernet.load(weights), image[None])
    np.testing.assert_allclose(maps.scores, scores, atol=1e-5)
    np.testing.assert_allclose(maps.extents, extents, atol=1e-4 * np.abs(extents).max())
    # Of equal heat maps, since cells of nearly equal scores may change places.
    peaks = find_peaks(Heatmaps(jnp.asarray(scores), jnp.asarray(extents)), detections.shape[1])
    np.testing.assert_array_equal(peaks.scores[0], detections[0, :, 4])
    np.testing.assert_array_equal(peaks.categories[0], detections[0, :, 5])
    np.testing.assert_allclose(peaks.boxes[0], detections[0, :, :4], atol=1e-3)


def test_the_network_computes_what_the_published_graph_computes(published, converted):
    assert_equal_to_graph(published, converted, drawn_image())


def test_with_the_published_weights_it_computes_the_same_on_photos(tmp_path, shared_data):
    folder = Path(os.environ.get("CAPJAX_CENTERNET", "missing"))
    if not (folder / "centernet.bin").is_file():
        pytest.skip("$CAPJAX_CENTERNET names no folder with the published centernet.json and centernet.bin")
    centernet.convert(folder / "centernet.json", tmp_path / "detector.safetensors")
    for path in sorted((shared_data / "flickr8k/Flicker8k_Dataset").glob("*.jpg"))[:3]:
        image = view(path.read_bytes(), SIZE)
        assert_equal_to_graph(folder / "centernet.json", tmp_path / "detector.safetensors", image)


def test_converted_weights_have_the_bits_of_the_published_ones(published, converted):
    original = read_graph_model(published)["tower_0/MobilenetV3/expanded_conv_3/expand/Conv2D_weights"]
    weights = read_weights(converted)
    assert weights["blocks/3/expand/kernel"].dtype == np.float16
    np.testing.assert_array_equal(weights["blocks/3/expand/kernel"], original)


def test_peaks_are_the_largest_of_their_neighbors():
    rng = np.random.default_rng(1)
    h, w, c, count = 12, 9, 3, 20
    scores = rng.integers(1, 50, (2, h, w, c)) / 50  # with equal neighbors
    extents = rng.normal(size=(2, h, w, 4))
    peaks = find_peaks(Heatmaps(jnp.asarray(scores), jnp.asarray(extents)), count)
    for b in range(2):
        expected = []
        for y in range(h):
            for x in range(w):
                around = scores[b, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                for category in np.flatnonzero(scores[b, y, x] == around.max((0, 1))):
                    left, top, right, bottom = extents[b, y, x]
                    box = (4 * x - left, 4 * y - top, 4 * x + right, 4 * y + bottom)
                    expected.append((-scores[b, y, x, category], (y * w + x) * c + category, category, box))
        strongest = sorted(expected)[:count]
        np.testing.assert_allclose(peaks.scores[b], [-score for score, *_ in strongest], rtol=1e-6)
        np.testing.assert_array_equal(peaks.categories[b], [category for _, _, category, _ in strongest])
        np.testing.assert_allclose(peaks.boxes[b], [box for *_, box in strongest], atol=1e-5)


def test_objects_depend_neither_on_the_batch_nor_on_weaker_ones(detector):
    images = [drawn_image(seed) for seed in range(5)]
    *_, last = together = list(detector.detect(images, least_score=0.0))
    assert len(together) == 5
    assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for own in together for _, (x0, y0, x1, y1), _ in own)
    assert [item.score for item in last] == sorted((item.score for item in last), reverse=True)
    least = last[len(last) // 2].score
    (strong,) = detector.detect(images[4:], least_score=least)
    assert strong == [item for item in last if item.score >= least]


def test_categories_are_in_the_order_of_coco():
    assert tuple(COCO_OBJECTS) == CATEGORIES and len(CATEGORIES) == 80
    numbers = {"person": 0, "dog": 16, "chair": 56, "toothbrush": 79}  # of COCO's ids 1, 18, 62, 90
    assert {name: CATEGORIES.index(name) for name in numbers} == numbers


def test_the_command_converts_a_folder_to_where_analyze_reads_it(published, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CAPJAX_CACHE", str(tmp_path))
    assert cli.main(["import", str(published.parent)]) == 0
    assert capsys.readouterr().out == f"{default_weights()}\n"
    assert default_weights().is_relative_to(tmp_path)
    Detector(default_weights())


def remove_bytes(path: Path):
    weights = path.with_name("centernet.bin")
    weights.write_bytes(weights.read_bytes()[:-2])


def remove_file(path: Path):
    path.with_name("centernet.bin").unlink()


def cut(path: Path):
    path.write_text(path.read_text()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_bytes, r"centernet.bin: 4,030,288 bytes, but the tensors of centernet.json take 4,030,290"),
        (remove_file, r"centernet.bin is missing"),
        (cut, r"centernet.json"),
        (lambda path: path.unlink(), r"no graph model at .*centernet.json"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_written(edited, tmp_path, damage, message):
    path = edited()
    damage(path)
    with pytest.raises((ValueError, OSError), match=message):
        centernet.convert(path, tmp_path / "out.safetensors")
    assert not list(tmp_path.glob("*out*"))


def weights_of(graph) -> list[dict]:
    return graph["weightsManifest"][0]["weights"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph.pop("weightsManifest"), "no weightsManifest"),
        (lambda graph: graph["weightsManifest"][0].update(paths=["../centernet.bin"]), "the name of a file"),
        (lambda graph: graph["weightsManifest"][0].update(paths="centernet.bin"), "weightsManifest.*paths"),
        (lambda graph: weights_of(graph)[40].update(shape=[-1]), "a list of lengths"),
        (lambda graph: weights_of(graph)[40].update(shape=[2**62, 4]), "the tensors of centernet.json take"),
        (lambda graph: weights_of(graph)[40].update(quantization={"dtype": "uint8"}), "stored as uint8"),
        (lambda graph: weights_of(graph)[-1].update(name="other"), "missing: .*kernel.*unexpected: other|missing"),
    ],
)  # fmt: skip
def test_files_of_another_form_or_network_are_named(edited, tmp_path, change, message):
    with pytest.raises(WeightsError, match=message) as error:
        centernet.convert(edited(change), tmp_path / "out.safetensors")
    assert "centernet" in str(error.value)
    assert not list(tmp_path.glob("*out*"))


def test_weights_that_are_not_finite_are_an_error(edited, tmp_path):
    path = edited()
    weights = path.with_name("centernet.bin")
    weights.write_bytes(weights.read_bytes()[:-2] + np.float16("nan").tobytes())
    with pytest.raises(WeightsError, match="not finite"):
        centernet.convert(path, tmp_path / "out.safetensors")


def test_other_safetensors_are_no_detector(tmp_path, converted):
    data = converted.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data[:-10])
    with pytest.raises(WeightsError, match=r"damaged\.safetensors is damaged.*`capjax import`"):
        Detector(damaged)
    with pytest.raises(FileNotFoundError, match="none.safetensors"):
        Detector(tmp_path / "none.safetensors")
