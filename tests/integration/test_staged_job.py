"""A job on videos: curriculum and buckets through training, evaluation and interruptions; frames or features."""

import json
import re
import signal

import jax
import pytest

from capjax import config as config_lib
from capjax.train.loop import train
from data_prep.cli import main as data_prep
from tests.helpers.kill_run import differences, run, states
from tests.helpers.tiny_job import ROOT, SETTINGS, Tiny, in_this_process, one_device, rows, shared_once
from tests.helpers.weight_files import slim_resnet, write_safetensors

STEPS = 10
STAGES = ((0, {"num_frames": 8, "image_size": 16, "hard": 0.25}), (4, {}))
# With buckets of 8 and 16 frames: one shape in the first stage, two in the second.
SETTINGS = (
    *SETTINGS, "data.languages=en", "data.num_frames=16", "data.buckets=8,16", "data.target_len=20",
    "train.batch_size=4",
    f"data.curriculum={STAGES!r}", "model.temporal.name=transformer",
    'model.temporal.options={"layers": 1, "heads": 2}', "optimizer.schedule=constant", "optimizer.learning_rate=0.003",
    f"train.steps={STEPS}", "train.eval_every=0", "checkpoint.every=2", "decode.method=greedy", "eval.batch_size=1",
)  # fmt: skip


def _make_data(folder):
    ours = ["--size", "32", "--fps", "1", "--languages", "en", "--paraphrases", "1", "--workers", "1"]
    assert data_prep(["moving", "--count", "40", *ours, "--output", str(folder / "frames")]) == 0
    weights = write_safetensors(slim_resnet(channels=4, stem=3), folder / "encoder.safetensors")
    asked = ["--encoder", "resnet10_slim", "--encoder-options", '{"channels": 4}', "--weights", str(weights)]
    both = ["--input", str(folder / "frames"), "--output", str(folder / "data"), "--image-size", "32", "--keep-frames"]
    assert data_prep(["features", *both, *asked]) == 0
    words = ["--input", str(folder / "data"), "--output", str(folder / "vocabulary.model"), "--size", "300"]
    assert data_prep(["vocabulary", *words]) == 0


class Videos(Tiny):
    """Moving scenes of 4 to 20 frames, with frames and features."""

    def __init__(self, tmp_path_factory):
        self.path = shared_once(tmp_path_factory, "tiny_staged", _make_data)
        self.data = self.path / "data"

    def settings(self, *more: str) -> list[str]:
        return [*SETTINGS, *self.sources(), *more]

    def sources(self) -> list[str]:
        data = (f"data.train={self.data}@train", f"data.eval={self.data}@val")
        return [*data, f"data.vocabulary={self.path / 'vocabulary.model'}"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return Videos(tmp_path_factory)


@pytest.fixture
def job(videos, monkeypatch):
    """Trains the job in a workdir, with programs that earlier runs have compiled."""
    in_this_process(monkeypatch, videos.path)
    return lambda workdir, *more: train(videos.config(*more), workdir)


def test_a_job_in_stages_compiles_a_program_a_shape_and_goes_on_bit_identical(job, tmp_path, caplog, videos):
    jax.config.update("jax_log_compiles", True)
    try:
        with caplog.at_level("WARNING", logger="jax"):
            scores = job(tmp_path / "alone")
    finally:
        jax.config.update("jax_log_compiles", False)
    assert "CIDEr" in scores
    compiled = re.findall(r"Finished XLA compilation of jit\((\w+)\)", caplog.text)
    assert compiled.count("step") == 3, "buckets x stages is 4; the first stage has no videos of 16 frames"
    assert 1 <= compiled.count("_generate") <= 2, "no more than buckets"

    # Stopped within the first stage and within the second: a larger train.steps goes on.
    for steps in (2, 7, STEPS):
        job(tmp_path / "stopped", f"train.steps={steps}", "data.eval=")
        state = json.loads((tmp_path / f"stopped/checkpoints/{steps}/iterator/metadata").read_text())
        assert (state["next_index"], state["stage"]["number"]) == (steps, int(steps >= 4))
    assert differences(tmp_path / "alone", tmp_path / "stopped") == []

    with pytest.raises(config_lib.ConfigError, match=r"holds a run with data.curriculum = .*; use another --workdir"):
        job(tmp_path / "stopped", "data.curriculum=()")
    with pytest.raises(config_lib.ConfigError, match=r"holds a run with data.buckets = \(8, 16\)"):
        job(tmp_path / "stopped", "data.buckets=()")


@pytest.mark.slow
def test_kills_in_any_stage_change_not_one_bit(videos, tmp_path):
    assert videos.launch(tmp_path / "alone", "train.steps=60").returncode == 0
    run(videos, tmp_path / "run", [signal.SIGKILL] * 5, "train.steps=60", reach=12, seed=3)
    assert differences(tmp_path / "alone", tmp_path / "run") == []


@pytest.mark.slow
def test_one_config_trains_on_frames_or_on_their_features(videos, tmp_path, monkeypatch):
    one_device(monkeypatch)
    small = (
        *videos.sources(), "data.image_size=32", "data.target_len=20", "data.captions_per_item=1", "model.width=32",
        "model.encoder.name=resnet10_slim", 'model.encoder.options={"channels": 4}', "model.encoder.weights=",
        'model.temporal.options={"layers": 1, "heads": 2, "space": "same"}', "optimizer.warmup_steps=1",
        'model.decoder.options={"layers": 1, "heads": 2}', "train.batch_size=4", "train.steps=12", "train.log_every=1",
        "train.tensorboard=false", "decode.method=greedy", "decode.max_len=6", "eval.batch_size=2",
    )  # fmt: skip
    learned = {}
    for what in ("frames", "features"):
        workdir = tmp_path / what
        config = config_lib.load(f"{ROOT}/configs/videos.py:{what}", small)
        assert "CIDEr" in train(config, workdir)
        losses = [row["loss"] for row in rows(workdir) if "loss" in row]
        assert len(losses) == 12 and sum(losses[-3:]) < sum(losses[:3])
        learned[what] = {name for name in states(workdir) if "params" in name}
    encoder = {name for name in learned["frames"] if "encoders/" in name}
    assert encoder and learned["frames"] - encoder == learned["features"], "the same model but for the encoder"
