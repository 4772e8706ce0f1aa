"""Damage to any file of a workdir or dataset: the run loads what is whole, or stops with one line that names a file."""

import contextlib
import random
import shutil
from pathlib import Path

import pytest

import capjax
from capjax import digests
from capjax.data.record import RecordSource
from capjax.evals.evaluate import read_scores
from capjax.models.frozen_encoder import FrozenEncoder
from capjax.workdir.layout import Workdir
from capjax.workdir.metrics_log import read_metrics
from tests.helpers.bounds import bounded
from tests.helpers.byte_damage import damage
from tests.helpers.fuzzing import count_cases
from tests.helpers.tiny_job import ROOT

CASES = count_cases(40, 1_000)
FIXTURES = ROOT / "tests/fixtures/v0.1.0"
WORKDIRS = ("features_reranked", "photo_lstm", "dense_queries")
DATASETS = ("photos", "features")


def load_workdir(folder: Path):
    model = capjax.load(folder)
    assert model.step > 0
    read_metrics(Workdir(folder).metrics_path)
    read_scores(folder)


def load_dataset(folder: Path):
    for split in ("train", "val"):
        source = RecordSource(folder, split)
        assert source.sizes() and source.media is not None
        assert source.languages or source.languages is None  # a report may lack them
        source.videos  # noqa: B018
        for index in range(len(source)):
            assert source[index].id
    if (folder / "encoder").is_dir():
        FrozenEncoder.load(folder / "encoder")


def add_digests(folder: Path):
    """Adds the digests that a new workdir or dataset has."""
    for inner in (*folder.glob("best/*/*"), *folder.glob("encoder")):
        if inner.is_dir():
            digests.write_digests(inner)
    names = {"vocabulary.model", "media.json", "neighbours.npz", "dataset_info.json", "features.json", "report.json",
             "sizes-train.json", "sizes-val.json", "config.json"}  # fmt: skip
    digests.write_digests(folder, sorted(names & {path.name for path in folder.iterdir()}))


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    folder = Path(shutil.copytree(FIXTURES, tmp_path_factory.mktemp("fuzz") / "v0.1.0"))
    with contextlib.suppress(ImportError):
        import tensorflow  # noqa: F401 - TFDS imports it for a type that it does not know
    for name in WORKDIRS:  # whole ones load, and libraries are imported before time is measured
        load_workdir(folder / "workdirs" / name)
    for name in DATASETS:
        load_dataset(folder / "data" / name)
    return folder


@pytest.mark.parametrize("seed", range(CASES))
def test_a_damaged_workdir_or_dataset_is_loaded_or_refused_by_name(seed, template, tmp_path):
    rng = random.Random(seed)
    kind, names, load = rng.choice((("workdirs", WORKDIRS, load_workdir), ("data", DATASETS, load_dataset)))
    name = rng.choice(names)
    folder = Path(shutil.copytree(template / kind / name, tmp_path / name))
    has_digests = rng.random() < 0.3
    if has_digests:
        add_digests(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
    texts = [path for path in files if path.suffix in (".json", ".jsonl", ".model", ".npz")]
    path = rng.choice(rng.choice((files, texts)))
    whole = path.read_bytes()
    data = damage(whole, rng)
    path.write_bytes(data)
    with bounded(seconds=10, memory=2**30):
        try:
            load(folder)
        except (ValueError, OSError) as error:
            assert str(folder) in str(error), error
            assert len(str(error)) < 1500, error
