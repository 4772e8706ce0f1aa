"""Models that are fed features: their frozen encoder is in the export, which takes JPEG files, pixels or features."""

from pathlib import Path

import numpy as np
import pytest
from flax import nnx

import capjax
from capjax.data.batch import model_inputs
from capjax.data.media_reader import MediaSample
from capjax.data.pipeline import make_eval_batches
from capjax.data.record import RecordSource
from capjax.models import pretrained
from capjax.models.encoders import ENCODERS
from data_prep.features import FeatureBuilder, FeatureSettings
from tests.helpers.exports import signature, texts
from tests.helpers.tiny_job import in_this_process
from tests.helpers.tiny_videos import DENSE, draw_workdir
from tests.helpers.weight_files import slim_resnet, write_safetensors

tf = pytest.importorskip("tensorflow")
pytest.importorskip("orbax.export")

from capjax.export import export_job  # noqa: E402
from capjax.export.jpeg import decode_jpegs  # noqa: E402
from capjax.export.saved_model_generator import SavedModelGenerator  # noqa: E402

CLIPS = {"multiplier": 0.0625, "depths": (1, 0, 0), "time_strides": (2, 1, 1, 1, 1)}
SETTINGS = ("data.features=true",)


@pytest.fixture(scope="module", autouse=True)
def one_process(tiny_videos):
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch, tiny_videos.path)
        yield


def make(job, records: Path, folder: Path, settings: FeatureSettings, *more: str, seed: int = 2):
    """(Predictor, export) of a drawn model that is fed these features of a dataset."""
    data = folder / "features"
    FeatureBuilder(records, data, settings, progress=False).download_and_prepare()
    config = job.config(*SETTINGS, f"data.train={data}@train", f"data.eval={data}@val", *more)
    draw_workdir(config, folder / "run", seed)
    return capjax.load(folder / "run"), export_job.run(config, folder / "run")


@pytest.fixture(scope="module")
def photos(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    weights = write_safetensors(slim_resnet(channels=4, stem=3), folder / "weights.safetensors")
    settings = FeatureSettings("resnet10_slim", {"channels": 4}, str(weights), 32, views=1, batch=8)
    return make(tiny, tiny.data, folder, settings, "decode.min_len=4", seed=1)


@pytest.fixture(scope="module")
def clips(tiny_videos, tmp_path_factory):
    """Features of an encoder that makes one grid of two frames, and sees four at a time."""
    folder = tmp_path_factory.mktemp("clips")

    def draw(encoder, source):
        nnx.update(encoder, nnx.state(ENCODERS.make("i3d_slim", rngs=nnx.Rngs(0), image_size=16, **CLIPS)))
        return Path(source)

    (folder / "drawn.safetensors").write_bytes(b"")
    settings = FeatureSettings("i3d_slim", CLIPS, str(folder / "drawn.safetensors"), 16, views=1, batch=8, clip=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "load_pretrained", draw)
        return make(tiny_videos, tiny_videos.path / "whole", folder, settings, *DENSE, "data.num_frames=3")


def test_from_the_same_features_come_the_same_captions(photos):
    model, folder = photos
    parts, served, data = model.parts(), SavedModelGenerator(folder), model.config.data
    for batch in make_eval_batches(data.eval, parts.generator.vocabulary, data, batch_size=6):
        inputs = model_inputs(batch)
        wanted = texts(parts.generator.captions(parts.params, parts.batch_stats, inputs, "de"))
        assert len(set(wanted)) > 1
        assert texts(served.captions(None, None, inputs, "de")) == wanted


def test_jpegs_and_pixels_go_through_the_frozen_encoder(photos, tiny):
    model, folder = photos
    parts, source = model.parts(), RecordSource(tiny.data, "val")
    jpegs = [source[i].frames[0] for i in range(6)]
    pixels = decode_jpegs(tf.constant(jpegs), 32, parts.picture)[0].numpy()
    times, mask = np.zeros((6, 1), np.float32), np.ones((6, 1), bool)
    features = parts.extractor(pixels[:, None], times, mask)
    batch = {"features": features, "frame_times": times, "frame_mask": mask}
    wanted = texts(parts.generator.captions(parts.params, parts.batch_stats, batch, "en"))
    assert len(set(wanted)) > 1
    for name, inputs in {
        "serving_default": {"image_bytes": jpegs},
        "pixels": {"pixels": pixels, "lang": [""] * 6},
        "features": {"features": np.asarray(features, np.float32), "lang": ["en"] * 6},
    }.items():
        assert [text.decode() for text in signature(folder, name)(**inputs)["caption"]] == wanted, name


def test_videos_go_clip_by_clip_through_an_encoder_over_time(clips, tiny_videos):
    model, folder = clips
    parts, records = model.parts(), [tiny_videos.source()[i] for i in range(3)]
    counts = (7, 2, 12)
    taken = [(record.frames[:count], record.frame_times[:count]) for record, count in zip(records, counts, strict=True)]
    assert [len(frames) for frames, _ in taken] == list(counts)
    durations = np.array([4.0, 1.5, 6.0], np.float32)
    n = max(counts)
    answer = signature(folder, "serving_default")(
        frames_bytes=[[*frames, *[b""] * (n - len(frames))] for frames, _ in taken],
        frame_times=[np.pad(times, (0, n - len(times))) for _, times in taken], duration=durations,
    )  # fmt: skip
    answer = {name: np.array(value) for name, value in answer.items()}
    # The frames are small, and both decoders give the same pixels of them.
    samples = [MediaSample(frames, times, float(d)) for (frames, times), d in zip(taken, durations, strict=True)]
    wanted = parts.generator.events(parts.params, parts.batch_stats, model._batch(samples), "en")[:3]
    assert len({event.text for row in wanted for event in row}) > 2
    for row, events in enumerate(wanted):
        count = answer["count"][row]
        assert [text.decode() for text in answer["caption"][row, :count]] == [event.text for event in events]
        for name in ("start", "end", "score"):
            np.testing.assert_allclose(
                answer[name][row, :count], [getattr(event, name) for event in events], rtol=1e-3, atol=1e-3
            )
        assert not answer["start"][row, count:].any() and not any(answer["caption"][row, count:])


def test_reranking_is_left_out_and_said_so(photos, tmp_path, caplog):
    model, folder = photos
    config = model.config.copy_and_resolve_references()
    config.decode.num_neighbors = 3
    export = export_job.run(config, folder.parent, tmp_path / "export")
    assert "decode.num_neighbors = 3 is not exported" in caplog.text
    assert SavedModelGenerator(export).config.decode.num_neighbors == 0
    assert "| decode.num_neighbors | 0 |" in (export / "README.md").read_text()
