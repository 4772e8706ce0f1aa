"""README and tutorials: every command and every block of Python runs, on small data."""

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers import small_commands
from tests.helpers.pictures import encode, picture
from tests.helpers.tiny_job import ROOT
from tests.helpers.videos import write_video

TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks of a page, those in lists included."""
    fences = re.findall(r"^( *)```(\w+)\n(.*?)^\1```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [(language, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, language, text in fences]


def installed(line: str) -> list[str]:
    """The extras that a `pip install` line names."""
    match = re.search(r"\[([\w,]+)\]", line)
    return match[1].split(",") if match else []


@pytest.fixture
def folder(tmp_path) -> Path:
    """A working folder with the files that README and tutorials speak of, and commands that are small."""
    photos, videos = tmp_path / "my_photos", tmp_path / "my_videos"
    (photos / "cats").mkdir(parents=True)
    videos.mkdir()
    rows, translations = [], []
    for number in range(1, 13):
        name, split = f"cats/{number}.jpg", "val" if number > 10 else "train"
        (photos / name).write_bytes(encode(picture(96, 72, number)))
        captions = [f"A cat on a chair, number {number}.", "A small cat.", {"text": "Eine Katze.", "lang": "de"}]
        rows.append({"image": name, "captions": captions, "split": split})
        translations.append(f"{name}#0\tEine Katze auf einem Stuhl.\n")
    (photos / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "captions.de.txt").write_text("".join(translations))
    (tmp_path / "new_photo.jpg").write_bytes(encode(picture(96, 72, 99)))
    rows = []
    for number in range(6):
        quality = {"crf": str(20 + number)}  # exact copies would be dropped from val
        write_video(videos / f"{number}.mp4", [k / 2 for k in range(8)], size=(96, 64), options=quality)
        captions = ["A cat jumps.", {"text": "It crouches.", "start": 0.5, "end": 3.2}]
        rows.append({"video": f"{number}.mp4", "captions": captions, "split": "val" if number > 3 else "train"})
    (videos / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("clip.mp4", "talk.mp4"):
        write_video(tmp_path / name, [k / 2 for k in range(8)], size=(96, 64))
    (tmp_path / "predictions.json").write_text(json.dumps([{"image_id": 1, "caption": "a cat sits"}]))
    (tmp_path / "captions_val2014.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "1.jpg"}],
                "annotations": [{"id": 1, "image_id": 1, "caption": "A cat is sitting."}],
            }
        )
    )
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, words in (("capjax", [sys.executable, small_commands.__file__]), ("python", [sys.executable])):
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def run(page: Path, folder: Path):
    """Runs the blocks of a page in order."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    environment = {
        **os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "CAPJAX_CACHE": str(folder / "cache"), "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }  # fmt: skip
    for language, text in blocks(page):
        if language == "python":
            words = [sys.executable, "-c", text]
        elif language == "sh":
            lines = text.splitlines(keepends=True)
            for line in lines:
                if "pip install" in line:
                    assert set(installed(line)) <= extras.keys(), line
            words = ["bash", "-euc", "".join(line for line in lines if "pip install" not in line)]
        else:
            assert language in ("json", "text"), f"{page.name}: a block of {language}"
            continue
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}:\n{text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_readme(folder):
    run(ROOT / "README.md", folder)
    assert (folder / "demo/index.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorial(page, folder):
    run(page, folder)


def test_the_guide_to_large_collections(folder, tiny):
    (folder / "runs").mkdir()
    (folder / "runs/mine").symlink_to(tiny.trained())
    run(ROOT / "docs/guides/bulk.md", folder)
    assert (folder / "data/recaptioned/report.json").is_file()


def test_the_readme_can_be_read_at_once():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not link.startswith("http") and "reference/" not in link:  # these pages are generated
            assert (page.parent / link).exists(), link
