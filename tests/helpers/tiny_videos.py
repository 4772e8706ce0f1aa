"""Tiny videos with events, and tiny models for them, for the tests of whole paths on videos.

The models are not trained: their weights are drawn, and large, so that they say something else of every video. That is
enough to see whether two paths agree, and takes a second in place of a minute.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from capjax.config import default_config, with_overrides
from capjax.data.pipeline import DatasetSplit
from capjax.data.record import RecordSource
from capjax.files import write_bytes
from capjax.models.build import make_pure_model
from capjax.text import vocabulary
from capjax.workdir.checkpoint import Checkpoints
from capjax.workdir.layout import Workdir
from capjax.workdir.prepare import prepare
from data_prep.clips import ClipSettings
from data_prep.media import Storage
from data_prep.readers import READERS
from tests.helpers.built_records import build_records
from tests.helpers.drawn_models import draw_params
from tests.helpers.tiny_job import shared_once

LANGUAGES, BINS = ("en", "de"), 16
SETTINGS = (
    "name=tiny_videos", "data.languages=en,de", "data.image_size=32", "data.num_frames=6", "data.max_events=4",
    "data.target_len=40", "model.width=32", "model.dropout=0.0", "model.encoder.name=vit_tiny",
    "model.encoder.options.width=32", "model.encoder.options.depth=1", "model.encoder.options.heads=2",
    "model.encoder.options.patch=16", "model.temporal.name=transformer", "model.temporal.options.layers=1",
    "model.temporal.options.heads=2", "model.events.queries=6", "model.events.layers=1", "model.events.heads=2",
    "model.decoder.options.layers=1", "model.decoder.options.heads=2", "decode.method=greedy", "decode.max_len=12",
    "eval.batch_size=8", "eval.metrics=rouge,cider",
)  # fmt: skip
DENSE = ("data.task=dense", "checkpoint.best=F1")
TIMED = (*DENSE, f"data.time_bins={BINS}", "decode.max_len=24")


def _make_data(folder: Path):
    (folder / "videos").mkdir()
    items = list(READERS.make("moving", count=12, size=32, languages=LANGUAGES, paraphrases=2))
    kept = []
    for number, item in enumerate(items):
        path = folder / "videos" / item.name
        path.write_bytes(item.media())
        kept.append(replace(item, media=path, split="val" if number % 2 else "train"))
    cuts = {"whole": ClipSettings(), "windows": ClipSettings("windows", 4.0, 2.0)}
    for name, clips in cuts.items():
        build_records("moving", iter(kept), folder / name, settings=Storage(clips=clips))
    sentences = {lang: [c.text for item in kept for c in item.captions if c.lang == lang] for lang in LANGUAGES}
    write_bytes(folder / "vocabulary.model", vocabulary.train(sentences, size=400, time_tokens=BINS))


def _talkative(params: dict, pieces: vocabulary.Vocabulary, timed: bool) -> dict:
    """Words rather than bytes; times now and then, or as many events as there can be."""
    params = {path: np.array(value) * (2.0 if path.endswith("kernel") else 1.0) for path, value in params.items()}
    bias = params["decoder/embedding/bias"]
    bias[[i for i in pieces.text_ids if len(pieces.decode([i])) < 2 or "\ufffd" in pieces.decode([i])]] = -100.0
    if timed:
        bias[[pieces.eos_id, *(pieces.time_id(i) for i in range(BINS))]] += 1.0
    if "events/count/bias" in params:
        params["events/count/bias"][-1] = 100.0
    return params


def draw_workdir(config: ConfigDict, path: Path, seed: int = 0, step: int = 1):
    """A workdir with a drawn model, as training leaves it after a step."""
    workdir = Workdir(path)
    prepare(workdir, config, [DatasetSplit.parse(part).open() for part in config.data.train])
    pieces = vocabulary.Vocabulary.load(workdir.vocabulary_path)
    pure_model = make_pure_model(config, vocab=pieces.size, feature_shape=workdir.feature_shape())
    params = _talkative(draw_params(pure_model, seed), pieces, config.data.time_bins > 0)
    batch_stats = {
        name: np.full(spec.shape, 0.0 if name.endswith("mean") else 1.0, np.float32)
        for name, spec in pure_model.batch_stat_shapes.items()
    }
    checkpoints = Checkpoints(workdir.path, keep=1)
    checkpoints.save_best(step, 0.0, params, batch_stats)
    checkpoints.close()


class TinyVideos:
    """The folder with videos/, their records in whole/ and windows/, and vocabulary.model."""

    def __init__(self, tmp_path_factory):
        self.path = shared_once(tmp_path_factory, "tiny_videos", _make_data)
        self._factory = tmp_path_factory

    def config(self, *more: str, data: str = "whole") -> ConfigDict:
        parts = (f"data.train={self.path / data}@train", f"data.eval={self.path / data}@val")
        settings = [*SETTINGS, *parts, f"data.vocabulary={self.path / 'vocabulary.model'}", *more]
        return with_overrides(default_config(), settings)

    def model(self, name: str, more: Sequence[str] = (), data: str = "whole") -> Path:
        """A workdir with a drawn model, as training leaves it. Tests must not write into it."""

        def make(folder: Path):
            draw_workdir(self.config(*more, data=data), folder / "run")

        return shared_once(self._factory, f"tiny_videos_{name}", make) / "run"

    def source(self, data: str = "whole", split: str = "val") -> RecordSource:
        return RecordSource(self.path / data, split)

    def file(self, record) -> Path:
        return self.path / "videos" / record.media
