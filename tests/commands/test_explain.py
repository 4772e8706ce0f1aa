"""`capjax explain`: the folder that it writes."""

import cv2
import pytest

from capjax.commands import explain
from tests.helpers.captioned import FIXTURES, blotches
from tests.helpers.tiny_job import in_this_process

pytest.importorskip("skimage")


def test_the_folder_has_a_page_that_links_to_each_explanation_and_names_what_failed(tmp_path, monkeypatch, capsys):
    in_this_process(monkeypatch, tmp_path)
    cv2.imwrite(str(tmp_path / "index.html.png"), blotches(0))
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    output = tmp_path / "out"
    media = [str(tmp_path / name) for name in ("index.html.png", "damaged.jpg")]
    workdir = str(FIXTURES / "workdirs/photo_transformer")
    options = ["--method", "occlusion,lime", "--samples", "8", "--segments", "6", "--caption", "a red picture"]
    assert explain.main([*media, "--workdir", workdir, "--output", str(output), *options]) == 1
    contents = (output / "index.html").read_text()
    assert 'href="index.html-2/index.html"' in contents, "no folder takes the place of the page"
    assert "damaged.jpg" in contents
    page = (output / "index.html-2/index.html").read_text()
    assert page.count("data-target=") == 4
    assert (output / "index.html-2/lime/01-red.png").is_file()
    assert "damaged.jpg" in capsys.readouterr().err
