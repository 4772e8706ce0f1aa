"""Features of an encoder over time: clip by clip, with times of their own; the same from a raw video later."""

import argparse
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.data.record import Record, RecordCaption
from capjax.models import pretrained
from capjax.models.encoders import ENCODERS, encode_clip
from capjax.models.frozen_encoder import FrozenEncoder
from data_prep.features import Extractor, FeatureSettings, add_arguments, make_settings, take_view, with_features
from data_prep.readers.item import InputError
from tests.helpers.pictures import encode, picture

SIZE, CLIP = 16, 4
OPTIONS = {"multiplier": 0.0625, "depths": (1, 0, 0), "time_strides": (2, 1, 1, 1, 1)}


def make():
    return ENCODERS.make("i3d_slim", rngs=nnx.Rngs(0), image_size=SIZE, **OPTIONS)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "drawn.safetensors"
    path.write_bytes(b"")

    def draw(encoder, source):
        nnx.update(encoder, nnx.state(make()))
        return Path(source)

    settings = FeatureSettings("i3d_slim", OPTIONS, str(path), SIZE, views=2, batch=8, clip=CLIP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "load_pretrained", draw)
        return Extractor(settings)


def record(number: int, t: int) -> Record:
    jpegs = tuple(encode(picture(20, 16, number * 100 + i)) for i in range(t))
    times = np.cumsum(np.arange(t) % 3 + 1.0, dtype=np.float32) / 2
    return Record(f"id{number}", f"{number}.mp4", (RecordCaption("x"),), jpegs, times)


def expected(before: Record, number: int, settings) -> np.ndarray:
    encoder, rows = make(), []
    call = nnx.jit(lambda encoder, frames, times, mask: encode_clip(encoder, frames, times, mask)[0])
    for start in range(0, len(before.frames), CLIP):
        jpegs = before.frames[start : start + CLIP]
        frames, mask = np.zeros((1, CLIP, SIZE, SIZE, 3), np.uint8), np.arange(CLIP)[None] < len(jpegs)
        for i, jpeg in enumerate(jpegs):
            frames[0, i] = take_view(jpeg, before.id, number, settings)
        rows.append(
            np.asarray(call(encoder, frames, jnp.zeros(mask.shape), jnp.asarray(mask)))[0, : -(-len(jpegs) // 2)]
        )
    return np.concatenate(rows)


def test_a_video_is_seen_clip_by_clip_and_each_grid_has_the_time_of_its_frames(extractor):
    *grid, channels = extractor.encoder.feature_shape
    records = [record(0, 7), record(1, 1), record(2, 4), record(3, 9)]
    done = list(with_features(records, extractor))
    assert [one.id for one in done] == [one.id for one in records]
    for before, after in zip(records, done, strict=True):
        t = -(-len(before.frames) // 2)
        assert after.features.shape == (2, t, np.prod(grid), channels)
        groups = [before.frame_times[i : i + 2] for i in range(0, len(before.frames), 2)]
        np.testing.assert_allclose(after.frame_times, [group.mean() for group in groups], rtol=1e-6)
        for number in range(2):
            wanted = expected(before, number, extractor.settings)
            np.testing.assert_allclose(after.features[number], wanted, rtol=2e-3, atol=2e-3)


def test_a_raw_video_gives_the_stored_features_and_times(extractor, tmp_path):
    before = record(5, 7)
    (stored,) = with_features([before], extractor)
    extractor.save(tmp_path / "encoder")
    features, times = FrozenEncoder.load(tmp_path / "encoder").encode_video(before.frames, before.frame_times)
    np.testing.assert_allclose(features, stored.features[0], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(times, stored.frame_times)


def parsed(*more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--input", "a", "--output", "b", "--weights", "c", *more])


def test_what_does_not_go_with_an_encoder_over_time_is_an_error():
    with pytest.raises(InputError, match="--keep-frames does not go with i3d: it makes one grid of 8 frames"):
        make_settings(parsed("--encoder", "i3d", "--keep-frames"))
    with pytest.raises(InputError, match="--clip 12: i3d makes one grid of 8 frames; use a multiple of that"):
        make_settings(parsed("--encoder", "i3d", "--clip", "12"))
    assert make_settings(parsed("--encoder", "i3d", "--clip", "16")).clip == 16
    settings = make_settings(parsed("--encoder", "resnet18", "--keep-frames"))
    assert settings.clip == 1 and settings == replace(settings, keep_frames=True)
