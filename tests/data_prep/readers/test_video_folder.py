"""Videos found in a folder by name."""

import os
import unicodedata

import pytest
from PIL import Image

from data_prep.readers.item import InputError, Problem
from data_prep.readers.videos import Videos
from tests.helpers.reader_results import put


def find(folder, *names, id="x", split="val"):
    return Videos(folder).find(id, names, "train.json x", split)


@pytest.mark.parametrize("file", ["x.mp4", "x.MKV", "x.WebM", "a/b/x.avi", "TrainValVideo/x.3gp"])
def test_a_video_is_found_whatever_its_extension_and_folder(tmp_path, file):
    put(tmp_path, file, "x.txt", "x.mp4.part", "x.f137.mp4", "X.mp4", "y.mp4", "x")
    assert find(tmp_path, "x") == tmp_path / file


def test_names_with_dots_dashes_and_underscores_are_names(tmp_path):
    put(tmp_path, "-_a.b-C.mp4", "__.mov")
    assert find(tmp_path, "-_a.b-C").name == "-_a.b-C.mp4"
    assert find(tmp_path, "__").name == "__.mov"


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_accents_of_a_name_may_be_composed_or_not(tmp_path, forms):
    file, name = (unicodedata.normalize(form, "Köln") for form in forms)
    put(tmp_path, f"{file}.mp4")
    assert find(tmp_path, name) == tmp_path / f"{file}.mp4"


def test_of_several_names_the_first_counts_that_is_there(tmp_path):
    put(tmp_path, "b.mp4", "c.mp4")
    assert find(tmp_path, "a", "b", "c").name == "b.mp4"


def test_an_absent_video_is_told_with_all_its_names_and_its_split(tmp_path):
    put(tmp_path, "other.mp4", "v_x.json")
    problem = find(tmp_path, "v_x", "x")
    assert problem == Problem(
        "missing_video", f"no video v_x or x in {tmp_path.name}", "train.json x", "x", "absent", "val"
    )


def test_two_files_for_one_video_are_told(tmp_path):
    put(tmp_path, "a/x.mp4", "b/x.webm")
    problem = find(tmp_path, "x")
    assert (problem.kind, problem.costs, problem.split) == ("ambiguous_video", "video", "val")
    assert "a/x.mp4 and b/x.webm" in problem.message


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/x", "..\\x", "x\0", "", " ", "..", "."])
def test_a_name_that_is_a_path_is_refused(tmp_path, name):
    put(tmp_path, "in/a.mp4", "x.mp4", "in/a/x.mp4")
    problem = find(tmp_path / "in", name)
    assert (problem.kind, problem.costs) == ("unsafe_path", "video")


def test_a_name_that_is_no_text_is_told(tmp_path):
    assert find(tmp_path, "\ud800").kind == "encoding"


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    put(tmp_path, "secret/x.mp4", "in/y.mp4")
    (tmp_path / "in" / "x.mp4").symlink_to(tmp_path / "secret" / "x.mp4")
    (tmp_path / "in" / "z.mp4").symlink_to(tmp_path / "in" / "y.mp4")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "secret")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert find(tmp_path / "in", "x").kind == "unsafe_path"
    assert find(tmp_path / "in", "z").name == "z.mp4"
    assert find(tmp_path / "link", "y").name == "y.mp4", "the folder itself may be a link"


def test_links_to_folders_that_are_not_followed_are_named(tmp_path):
    put(tmp_path, "secret/x.mp4", "in/y.mp4")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "secret")
    assert find(tmp_path / "in", "x").message == "no video x in in; links to folders are not followed: more"


@pytest.mark.parametrize("file", ["x", "x.h264", "x.bin", "x.gif"])
def test_a_video_is_found_by_its_content(tmp_path, file):
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    put(tmp_path, "y.mp4", "x.json")
    frames[0].save(tmp_path / file, "GIF", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "x.jpg")
    assert find(tmp_path, "x") == tmp_path / file


def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        Videos(tmp_path / "nowhere")
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="closed: cannot be read"):
        Videos(tmp_path)
