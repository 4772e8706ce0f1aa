"""An export of more weights than one protocol buffer can hold, 2 GB."""

import json
import subprocess
import sys

import numpy as np
import pytest

from capjax.data.pipeline import DatasetSplit
from capjax.data.record import RecordSource
from capjax.models.build import make_pure_model
from capjax.text.vocabulary import Vocabulary
from capjax.workdir.checkpoint import Checkpoints
from capjax.workdir.layout import Workdir
from capjax.workdir.prepare import prepare
from tests.helpers.tiny_job import Tiny

pytest.importorskip("orbax.export")
# 12 * width^2 parameters a layer: 2.3 GB.
LARGE = ("model.encoder.options.width=1536", "model.encoder.options.depth=20", "decode.min_len=3")


@pytest.mark.slow
def test_more_than_two_gigabytes_of_weights_are_exported_and_answer(tmp_path_factory, tmp_path):
    tiny = Tiny(tmp_path_factory)
    config, workdir = tiny.config(*LARGE), Workdir(tmp_path / "run")
    prepare(workdir, config, [DatasetSplit.parse(part).open() for part in config.data.train])
    vocabulary = Vocabulary.load(workdir.vocabulary_path)
    shapes = make_pure_model(config, vocab=vocabulary.size).shapes
    some = np.random.default_rng(0).normal(size=1 << 20).astype(np.float32)
    params = {name: np.resize(some, spec.shape) / np.float32(np.sqrt(max(spec.shape))) for name, spec in shapes.items()}
    size = sum(value.nbytes for value in params.values())
    assert size > 2**31
    checkpoints = Checkpoints(workdir.path, keep=1)
    checkpoints.save_best(1, 0.0, params, {})
    checkpoints.close()
    del params
    done = tiny.launch(workdir.path, *LARGE, mode="export")
    assert done.returncode == 0, done.stderr
    folder = workdir.path / "export"
    assert json.loads((folder / "export.json").read_text())["parameters"] * 4 == size
    assert sum(path.stat().st_size for path in (folder / "variables").iterdir()) > size
    assert (folder / "stablehlo/weights.safetensors").stat().st_size > size
    (tmp_path / "photo.jpg").write_bytes(RecordSource(tiny.data, "val")[0].frames[0])
    code = (
        "import sys, tensorflow as tf\n"
        "call = tf.saved_model.load(sys.argv[1]).signatures['photo']\n"
        "photo = tf.constant([open(sys.argv[2], 'rb').read()] * 2)\n"
        "print(*[text.decode() for text in call(image_bytes=photo, lang=tf.constant(['en', 'de']))['caption'].numpy()])"
    )
    words = [sys.executable, "-c", code, str(folder), str(tmp_path / "photo.jpg")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 3
