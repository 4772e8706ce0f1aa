"""Raw videos get what evaluation gave the records made of them."""

import numpy as np
import pytest

import capjax
from capjax.data.batch import model_inputs
from capjax.data.pipeline import make_eval_batches
from capjax.evals import dense
from capjax.predict import Predictor
from tests.helpers.tiny_job import in_this_process
from tests.helpers.tiny_videos import DENSE, TIMED


@pytest.fixture(scope="module")
def load(tiny_videos):
    """name, settings, data -> Predictor; each is made once."""
    made: dict[tuple, Predictor] = {}

    def get(name: str, settings=(), data: str = "whole") -> Predictor:
        if name not in made:
            made[name] = capjax.load(tiny_videos.model(name, settings, data))
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch, tiny_videos.path)
        yield get


def batches(model: Predictor):
    """Of the evaluation split."""
    config = model.config
    return make_eval_batches(config.data.eval, model._vocabulary, config.data, batch_size=config.eval.batch_size)


@pytest.mark.parametrize("name", ["caption", "summary"])
def test_a_raw_video_gets_the_caption_of_its_record(tiny_videos, load, name):
    model = load(name, ("decode.min_len=4", f"data.task={name}"))
    records = {record.id: record for record in (tiny_videos.source()[i] for i in range(len(tiny_videos.source())))}
    wanted = {}
    for batch in batches(model):
        captions = model._generator().captions(model._params, model._batch_stats, model_inputs(batch), "de")
        wanted |= {id: (captions[i].text, captions[i].score) for i, id in enumerate(batch["ids"]) if batch["valid"][i]}
    assert len(set(wanted.values())) == len(wanted) == 6, "a model that says the same of all would prove nothing"
    captions = model.caption([tiny_videos.file(records[id]) for id in wanted], lang="de")
    for caption, (text, score) in zip(captions, wanted.values(), strict=True):
        assert caption.text == text
        assert caption.score == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("data", ["whole", "windows"])
@pytest.mark.parametrize(("name", "settings"), [("queries", DENSE), ("timed", TIMED)])
def test_a_raw_video_gets_the_events_that_evaluation_found_in_its_records(tiny_videos, load, data, name, settings):
    model = load(f"{name}_{data}", settings, data)
    result = dense.evaluate(
        model._generator(), model._params, model._batch_stats, batches(model), languages=("en",),
        to_device=model_inputs, metrics=("rouge",),
    )  # fmt: skip
    (predictions,) = result.predictions.values()
    # Of windows in which nothing happens there are no records, and so no predictions of evaluation.
    source = tiny_videos.source(data)
    parts_of_videos: dict[str, list] = {}
    for record in (source[i] for i in range(len(source))):
        parts_of_videos.setdefault(record.video or record.id, []).append((record.start, record.duration))
    whole = {
        video: parts for video, parts in parts_of_videos.items()
        if len(parts) == len(model._windows.split(max(start + duration for start, duration in parts)))
    }  # fmt: skip
    assert len(whole) >= 2
    assert data == "whole" or max(map(len, whole.values())) > 2
    localized = model.events([tiny_videos.path / "videos" / f"{video}.mp4" for video in whole])
    assert len({str(events) for events in localized if events}) >= 2, "a model that says the same would prove nothing"
    for video, events in zip(whole, localized, strict=True):
        assert [event.text for event in events] == [event.text for event in predictions[video]]
        for ours, theirs in zip(events, predictions[video], strict=True):
            assert (ours.start, ours.end) == pytest.approx((theirs.start, theirs.end), abs=2e-3)
            assert ours.score == pytest.approx(theirs.score, abs=1e-4)
            assert ours.lang == "en"
        assert [event.start for event in events] == sorted(event.start for event in events)


def test_what_is_found_does_not_depend_on_the_batch(tiny_videos, load):
    model = load("queries_windows", DENSE, "windows")
    paths = sorted((tiny_videos.path / "videos").iterdir())[:3]
    together = model.events(paths, batch_size=7)
    alone = [events for path in paths for events in model.events([path], batch_size=1)]
    for one, other in zip(together, alone, strict=True):
        assert [(e.text, e.lang) for e in one] == [(e.text, e.lang) for e in other]
        times = [[(e.start, e.end, e.score) for e in events] for events in (one, other)]
        np.testing.assert_allclose(*times, atol=1e-3)
    assert any(together)


def test_windows_can_be_asked_for(tiny_videos, load):
    model = load("queries_whole", DENSE)
    path = next((tiny_videos.path / "videos").iterdir())
    calls = []
    (video,) = model.localize([path], window=3.0, overlap=1.0, progress=lambda *seconds: calls.append(seconds))
    looked, opened = zip(*calls, strict=True)
    assert len(calls) == int(np.ceil((video.duration - 1) / 2))
    assert list(looked) == sorted(looked)
    assert looked[-1] == pytest.approx(video.duration)
    assert set(opened) == {video.duration}
    for wrong in ({"window": 0.0}, {"window": -1.0}, {"window": 2.0, "overlap": 2.0}, {"overlap": -1.0}):
        with pytest.raises(ValueError, match="windows of .* s with an overlap of .* s"):
            model.events([path], **wrong)


def test_a_video_that_cannot_be_read_does_not_stop_the_others(tiny_videos, load, tmp_path):
    model = load("queries_whole", DENSE)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    good = sorted((tiny_videos.path / "videos").iterdir())[:2]
    localized = list(model.localize([good[0], tmp_path / "broken.mp4", tmp_path / "none.mp4", good[1]]))
    assert [video.error is None for video in localized] == [True, False, False, True]
    assert "broken.mp4 cannot be opened as a video" in str(localized[1].error)
    assert [event.text for event in localized[3].events] == [event.text for event in model.events([good[1]])[0]]
    assert "none.mp4 does not exist" in str(localized[2].error)
    assert (list(localized[1]), list(localized[2])) == ([], [])
    assert [str(video.error) for video in model.events([tmp_path / "none.mp4"])] == [str(localized[2].error)]


def test_each_kind_of_model_says_what_it_is_for(load):
    with pytest.raises(ValueError, match=r"trained to find events in videos.*use events\(\)"):
        load("queries_whole", DENSE).caption(["a.mp4"])
    with pytest.raises(ValueError, match=r"trained on caption .*finds no events; use caption\(\)"):
        load("caption", ("decode.min_len=4", "data.task=caption")).events(["a.mp4"])
