"""The media of a folder are found by content, and what is skipped is counted with the reason."""

import os

import numpy as np

from capjax.data.media_folder import find_media
from tests.helpers.pictures import encode, picture
from tests.helpers.videos import write_video


def test_media_are_found_by_content_and_the_rest_is_counted(tmp_path):
    photo = encode(picture(60, 40))
    names = ["a.jfif", "b", "c.dat", "sub/d.jpg", "sub/deep/e.JPG"]
    for name in (*names, "._f.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photo)
    (tmp_path / "g.pgm").write_bytes(encode(picture(60, 40).convert("L"), "PPM"))
    (tmp_path / "h.jpg").write_text("damaged, so that its reader reports it")
    write_video(tmp_path / "v", np.arange(3) / 10, format="mp4")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "data.JSON").write_text("{}")
    (tmp_path / "README").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    media = find_media(tmp_path)
    assert media.paths == sorted((tmp_path / name for name in (*names, "g.pgm", "h.jpg", "v")), key=str)
    assert media.skipped == {
        "neither photo nor video (.txt)": 1, "neither photo nor video (.json)": 1,
        "neither photo nor video (no suffix)": 2, "metadata of macOS (._*)": 1,
    }  # fmt: skip
    assert not media.unreadable
    videos = find_media(tmp_path, videos_only=True)
    assert videos.paths == [tmp_path / "v"]
    assert videos.skipped["photos"] == 7


def test_linked_folders_are_searched_once(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(encode(picture(60, 40)))
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder" / "loop").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    media = find_media(tmp_path / "folder")
    assert [path.name for path in media.paths] == ["a.jpg", "broken.jpg"], "what is missing is reported by its reader"
    assert media.skipped == {"in a folder that is linked more than once": 2}


def test_unreadable_files_and_folders_are_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.jpg").write_bytes(encode(picture(60, 40)))
    scandir = os.scandir

    def refusing(path):  # permissions do not bind the superuser, who may run the tests
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    media = find_media(tmp_path)
    assert [path.name for path in media.paths] == ["a.jpg"]
    assert media.unreadable == [f"{tmp_path / 'closed'}: Permission denied"]
