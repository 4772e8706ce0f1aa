"""Names of media as annotations from other systems write them."""

import unicodedata

import pytest

from data_prep.build import BuildError
from data_prep.readers import READERS
from data_prep.readers.item import Problem
from data_prep.readers.media_folder import MediaFolder
from tests.helpers.built_records import build_records
from tests.helpers.reader_results import put


def path(folder, name):
    return MediaFolder(folder).path(name, "here", "id")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (unicodedata.normalize("NFD", "café/Köln.jpg"), unicodedata.normalize("NFC", "café/Köln.jpg")),
        (unicodedata.normalize("NFC", "café/Köln.jpg"), unicodedata.normalize("NFD", "café/Köln.jpg")),
        ("cats/small/1.jpg", "cats\\small\\1.jpg"),
        ("cats/1.JPG", "Cats/1.jpg"),
        ("cats/1.jpg", "./cats//1.jpg"),
        ("cats/1.jpg", "cats/1"),
        ("cats/1.jpg", "CATS\\1"),
        ("1000092795.jpg", "1000092795"),
        ("a.b.jpg", "a.b"),
        ("1.jpg", " 1.jpg "),
    ],
)
def test_a_name_means_the_only_file_that_it_can_mean(tmp_path, file, name):
    put(tmp_path, file, "other.jpg", "cats/2.jpg", "1.txt", "1000092795.txt", "a.json", "cats/1.txt", "a.b.txt")
    assert path(tmp_path, name) == tmp_path / file


def test_an_absolute_path_inside_the_folder_is_accepted(tmp_path):
    put(tmp_path, "in/cats/1.jpg", "out.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for folder in ("in", "link"):
        for name in ("in/cats/1.jpg", f"{folder}/cats/1.jpg", f"{folder}/CATS/1.jpg"):
            assert path(tmp_path / folder, str(tmp_path / name)).resolve() == tmp_path / "in/cats/1.jpg"
    for name in (tmp_path / "out.jpg", tmp_path / "in/../out.jpg", "/etc/passwd", "C:\\cats\\1.jpg", "\\cats\\1.jpg"):
        assert path(tmp_path / "in", str(name)).kind == "unsafe_path"


def test_the_exact_name_comes_first(tmp_path):
    put(tmp_path, "a.jpg", "A.jpg", "a.JPG", "a", "b\\c.jpg", "b/c.jpg")
    for name in ("a.jpg", "A.jpg", "a.JPG", "a", "b\\c.jpg"):
        assert path(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["A.JPG", "b", "d/x.jpg"])
def test_a_name_that_several_files_can_have_is_bad(tmp_path, name):
    put(tmp_path, "a.jpg", "A.jpg", "b.jpg", "b.png", "D/x.jpg", "d2/x.jpg", "D/X.jpg")
    if name == "d/x.jpg":
        assert path(tmp_path, name) == tmp_path / "D/x.jpg"
        return
    problem = path(tmp_path, name)
    assert isinstance(problem, Problem)
    assert (problem.kind, problem.costs) == ("ambiguous_photo", "photo")
    assert " or " in problem.message


def test_a_similar_name_may_not_lead_out_either(tmp_path):
    put(tmp_path, "secret.jpg", "in/x.jpg")
    (tmp_path / "in" / "Link.jpg").symlink_to(tmp_path / "secret.jpg")
    assert path(tmp_path / "in", "link.jpg").kind == "unsafe_path"


def test_the_first_line_of_the_error_names_the_nearest_file_and_the_remedy(tmp_path, make_photos):
    make_photos(tmp_path, ["beach_01.jpg", "dog.jpg"])
    (tmp_path / "captions.csv").write_text("image,caption\nbeach-1.jpg,A beach.\ndog.jpg,A dog.\n")
    with pytest.raises(BuildError) as error:
        build_records("mine", READERS.make("csv", tmp_path), tmp_path / "out")
    first_line = str(error.value).split("\n")[0]
    assert "captions.csv:2" in first_line
    assert "the nearest file is 'beach_01.jpg'; correct the name" in first_line


@pytest.mark.parametrize("name", ["x" * 300 + "/a.jpg", "x" * 300, "a/" * 3000 + "a.jpg"])
def test_a_name_that_is_too_long_costs_its_photo(tmp_path, make_photos, name):
    make_photos(tmp_path, ["dog.jpg"])
    (tmp_path / "captions.csv").write_text(f"image,caption\n{name},A cat.\ndog.jpg,A dog.\n")
    builder = build_records("mine", READERS.make("csv", tmp_path), tmp_path / "out", max_bad=0.5)
    assert [problem.kind for problem in builder.report.problems] == ["missing_photo"]


def test_a_missing_folder_of_media_is_named(tmp_path, make_photos):
    make_photos(tmp_path, ["dog.jpg"])
    (tmp_path / "captions.csv").write_text("image,caption\npets/cat.jpg,A cat.\ndog.jpg,A dog.\n")
    with pytest.raises(BuildError, match=r"no folder 'pets'.*--images"):
        build_records("mine", READERS.make("csv", tmp_path), tmp_path / "out")
