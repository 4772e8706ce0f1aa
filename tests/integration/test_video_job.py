"""Videos → records → training → evaluation → captions: small clips of one color, and five real ones of MSVD."""

import json
import subprocess
import sys

import numpy as np
import pytest

from capjax import cli, jobs
from capjax.text import vocabulary
from data_prep.cli import main as data_prep
from tests.helpers.tiny_job import COLORS, DEFAULT_CONFIG, ROOT, SETTINGS, in_this_process, predictions
from tests.helpers.videos import write_video


def write_clips(folder, colors: dict[str, tuple[int, int, int]]):
    """A video of 2 s in each color, one with two clips, and a line for one that is nowhere."""
    rows = []
    for name, color in colors.items():
        picture = np.broadcast_to(np.uint8(color), (32, 48, 3)).copy()
        write_video(folder / f"{name}.avi", [k / 8 for k in range(16)], size=(48, 32), pictures=[picture] * 16)
        rows.append({"video": f"{name}.avi", "captions": [f"a {name} film", f"{name} all over"]})
    clips = [rows[0] | {"clip": clip} for clip in ([0, 1], [1, 2])]
    rows = [*clips, *rows[1:], {"video": "gone.mp4", "caption": "nothing"}]
    lines = [json.dumps(row | {"split": "train"}) for row in rows]
    (folder / "captions.jsonl").write_text("\n".join(lines))


def test_small_clips_are_learned_and_captioned(tiny, tmp_path, monkeypatch, capsys):
    in_this_process(monkeypatch, tiny.path)
    write_clips(tmp_path, COLORS)
    data = tmp_path / "data"
    assert data_prep(["jsonl", "--input", str(tmp_path), "--output", str(data), "--workers", "1"]) == 0
    texts = [f"{text} {name}" for name in COLORS for text in ("a film", "all over")]
    (tmp_path / "v.model").write_bytes(vocabulary.train({"en": texts}, size=320))
    settings = [
        *SETTINGS, f"data.train={data}@train", f"data.eval={data}@train", f"data.vocabulary={tmp_path / 'v.model'}",
        "data.languages=en,", "data.num_frames=3", "model.temporal.name=transformer", "model.temporal.options.layers=1",
        "train.steps=60", "train.eval_every=0", "checkpoint.every=60", "train.ema=0.0", "model.dropout=0.0",
        "decode.method=greedy",
    ]  # fmt: skip
    assert jobs.run("train", DEFAULT_CONFIG, str(tmp_path / "run"), settings) == 0
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["signatures"]["en"]["CIDEr"].endswith("|videos:7/8"), "one is gone, two are clips of one file"
    captions = predictions(tmp_path / "run")
    assert len(captions) == 7
    assert all(id.partition(".")[0] in text for id, text in captions.items()), captions
    capsys.readouterr()
    names = ["red", "black", "white"]
    files = [str(tmp_path / f"{name}.avi") for name in names]
    assert cli.main(["caption", *files, "--workdir", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, file, line in zip(names, files, lines, strict=True):
        path, text = line.split("\t")
        assert path == file
        assert name in text


@pytest.mark.slow
def test_the_real_clips_of_msvd_are_learned_by_heart(tiny, tmp_path, shared_data):
    """The commands of configs/msvd.py, on pretrained features."""
    folder = shared_data / "msvd"
    env = tiny.environment() | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}

    def command(*words) -> str:
        words = [sys.executable, *map(str, words)]
        done = subprocess.run(words, env=env, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    command("-m", "data_prep", "msvd", "--input", folder, "--output", "data/msvd", "--fractions", "1,0,0")
    command("-m", "data_prep", "vocabulary", "--input", "data/msvd", "--output", "data/msvd.model", "--size", "400")
    command("-m", "data_prep", "features", "--input", "data/msvd", "--output", "data/msvd_lite0", "--encoder",
            "efficientnet_lite0")  # fmt: skip
    command(ROOT / "launch.py", "--config", f"{ROOT / 'configs/msvd.py'}:few", "--workdir", "run")
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["scores"]["en"]["CIDEr"] > 2.0, "people score 1.4 against each other"
    lines = command("-m", "capjax.cli", "caption", folder / "YouTubeClips", "--workdir", "run").splitlines()
    words = {
        "0lh_UWF9ZP4_62_69": ("bowl", "rice", "mix", "stir"), "778mkceE0UQ_40_46": ("car",),
        "TZ860P4iTaM_15_28": ("cat", "piano"), "WTf5EgVY5uU_124_128": ("garlic", "cook", "stir", "fry", "pan"),
        "klteYv1Uv9A_27_33": ("motorcycle", "bike", "motorbike"),
    }  # fmt: skip
    assert len(lines) == len(words)
    for line in lines:
        path, text = line.split("\t")
        assert any(word in text for word in words[path.rpartition("/")[2].removesuffix(".avi")]), line
