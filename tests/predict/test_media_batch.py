"""Batches of prediction: as many frames as the smallest of `data.buckets`, without a change of captions."""

import numpy as np
import pytest

from capjax.predict import Predictor
from capjax.workdir.layout import Workdir
from tests.helpers.captioned import FIXTURES, VIDEOS, blotches
from tests.helpers.tiny_job import in_this_process

WORKDIR = FIXTURES / "workdirs/video_captions"


@pytest.fixture
def predictors(tmp_path, monkeypatch):
    """The model with buckets, and without."""
    in_this_process(monkeypatch, tmp_path)
    config = Workdir(WORKDIR).config()
    without = config.copy_and_resolve_references()
    without.data.buckets = ()
    return Predictor(WORKDIR, config), Predictor(WORKDIR, without)


def test_buckets_make_small_batches_of_photos_with_the_same_captions(predictors):
    with_buckets, without = predictors
    num_frames = without.config.data.num_frames
    photo = with_buckets.read(blotches(0))
    make_batch = with_buckets.parts().make_batch
    assert make_batch.frame_counts == (num_frames // 2, num_frames)
    assert make_batch.frames([photo])["frames"].shape[1] == num_frames // 2
    assert without.parts().make_batch.frames([photo])["frames"].shape[1] == num_frames
    media = [blotches(0), *VIDEOS, blotches(1)]
    captions, expected = with_buckets.caption(media), without.caption(media)
    assert [caption.text for caption in captions] == [caption.text for caption in expected]
    np.testing.assert_allclose([c.score for c in captions], [c.score for c in expected], rtol=1e-4)
