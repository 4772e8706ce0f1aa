"""The data of explanations: geometry, saving and loading."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.explain.explanation import Explanation, Geometry, HeatMaps, Word, load, save


@given(st.integers(1, 9), st.integers(1, 9), st.integers(9, 60), st.integers(9, 60), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_map_over_the_whole_picture_is_resampled_as_opencv_does(rows, columns, height, width, seed):
    map = np.random.default_rng(seed).random((rows, columns), np.float32)
    out = Geometry.whole(width, height).resample(map)
    np.testing.assert_allclose(out, cv2.resize(map, (width, height), interpolation=cv2.INTER_LINEAR), atol=1e-5)


@given(st.integers(2, 9), st.integers(0, 99), st.floats(-10, 10), st.floats(40, 70))
@settings(max_examples=60, deadline=None)
def test_the_peak_is_the_largest_pixel(cells, seed, low, high):
    map = np.random.default_rng(seed).permutation(cells * cells).reshape(cells, cells).astype(np.float32)
    geometry = Geometry(64, 48, (low, low, high, high))
    x, y = geometry.peak(map)
    out = geometry.resample(map)
    row, column = min(int(y), 47), min(int(x), 63)
    near = out[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    # A pixel's center is up to half a pixel away from that of a cell, in each direction.
    assert near.max() >= out.max() - cells * cells * cells / (high - low)


def test_the_peak_of_an_area_of_one_value_is_in_its_middle():
    map = np.zeros((40, 60), np.float32)
    map[10:21, 30:51] = 1
    assert Geometry.whole(120, 80).peak(map) == (81, 31)


def test_bands_are_the_rows_of_the_whole():
    geometry, map = Geometry(31, 47, (-2.0, -3.0, 30.0, 50.0)), np.random.default_rng(0).random((2, 5, 4), np.float32)
    whole = geometry.resample(map)
    bands = [geometry.resample(map, slice(top, top + 10)) for top in range(0, 47, 10)]
    np.testing.assert_array_equal(np.concatenate(bands, axis=1), whole)


def make_explanation() -> Explanation:
    rng = np.random.default_rng(0)
    geometry = Geometry(640, 480, (-3.5, 0.0, 636.5, 480.0))
    maps = {
        "attention": HeatMaps(rng.random((3, 2, 4, 5), np.float32), np.array([0.0, 0.5], np.float32), geometry),
        "pointers": HeatMaps(rng.random((1, 2, 1, 1), np.float32), np.array([0.0, 0.5], np.float32), geometry),
    }
    words = (Word("Ein", 0, 3, (0, 1), -0.5), Word("Hund", 4, 8, (1, 3), -1.25))
    return Explanation(
        "clip.mp4", "Ein Hund.", "de", False, -2.0, words, maps, (b"one", b"two"), (0.0, 0.5), (0.25, 0.75)
    )


def test_what_is_saved_is_loaded(tmp_path):
    explanation = make_explanation()
    save(explanation, tmp_path)
    back = load(tmp_path)
    assert back == explanation
    assert back.frames == explanation.frames
    for name, maps in explanation.maps.items():
        np.testing.assert_array_equal(back.maps[name].values, maps.values)
        np.testing.assert_array_equal(back.maps[name].times, maps.times)
        assert back.maps[name].geometry == maps.geometry


@pytest.mark.parametrize("name", ["maps.npz", "explanation.json", "frame-001.jpg"])
def test_a_missing_file_is_named(tmp_path, name):
    save(make_explanation(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load(tmp_path)


@given(cut=st.integers(0, 900))
@settings(max_examples=40, deadline=None)
def test_a_cut_file_of_maps_is_an_error_of_one_line(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    save(make_explanation(), folder)
    data = (folder / "maps.npz").read_bytes()
    (folder / "maps.npz").write_bytes(data[: min(cut, len(data) - 1)])
    with pytest.raises(ValueError, match=r"maps.npz"):
        load(folder)


def test_arrays_of_objects_are_not_loaded(tmp_path):
    save(make_explanation(), tmp_path)
    np.savez(tmp_path / "maps.npz", attention=np.array([{}], object), pointers=np.zeros((1, 2, 1, 1)))
    with pytest.raises(ValueError, match=r"maps.npz is damaged"):
        load(tmp_path)


def test_maps_that_do_not_fit_the_words_are_an_error(tmp_path):
    save(make_explanation(), tmp_path)
    about = json.loads((tmp_path / "explanation.json").read_text())
    about["words"].pop()
    (tmp_path / "explanation.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="does not fit"):
        load(tmp_path)


def test_words_are_found_in_any_case_and_unknown_ones_list_the_known():
    explanation = make_explanation()
    assert explanation.map("attention", "hund").values.shape == (1, 2, 4, 5)
    np.testing.assert_array_equal(explanation.map("attention").values, explanation.maps["attention"].values[-1:])
    with pytest.raises(ValueError, match=r"'Katze' is not in the caption 'Ein Hund.'; its words: Ein, Hund"):
        explanation.map("attention", "Katze")
    with pytest.raises(ValueError, match="no maps of 'lime'; methods of this explanation: attention, pointers"):
        explanation.map("lime", "Hund")
    with pytest.raises(ValueError, match="pointers explains whole captions"):
        explanation.map("pointers", "Hund")
