"""`POST /v1/explain` with a tiny model."""

import base64
import io
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from fastapi import FastAPI, Request
from PIL import Image
from starlette.testclient import TestClient

import capjax
from capjax.serve import captions_api, explain_api, served_model
from capjax.serve.captioning import PhotoCaptioner
from capjax.serve.errors import ApiError
from capjax.serve.explaining import PhotoExplainer
from capjax.serve.media_workers import MediaWorkers
from capjax.serve.metrics import Metrics
from capjax.serve.model_thread import ModelThread
from capjax.serve.served_model import Models, ModelSource, ServedModel
from capjax.serve.settings import ServeSettings
from tests.helpers.captioned import FIXTURES
from tests.helpers.tiny_job import in_this_process

PHOTO = FIXTURES / "media/photos/000.jpg"
CAPTION = "a red picture"


class ExplainServer:
    """The route with a model that captions photos and one that finds events."""

    def __init__(self):
        workdirs, metrics, settings = FIXTURES / "workdirs", Metrics(), ServeSettings(photo_workers=1)
        decode = (("method", "greedy"),)
        sources = (
            ModelSource("photos", workdirs / "photo_transformer", decode=decode),
            ModelSource("events", workdirs / "dense_queries", decode=decode),
        )
        models = Models(sources)
        self.workers, self.thread = MediaWorkers(settings), ModelThread(8, 0.0)
        self.explainer = PhotoExplainer(self.workers, metrics, max_queued=2)
        self.model = ServedModel(sources[0])
        self.model.warm_up(lambda function: self.thread.run(function).result())
        models.put(self.model)
        models.put(ServedModel(sources[1]))
        captioner = PhotoCaptioner(self.workers, self.thread, metrics)
        app = FastAPI()
        app.include_router(explain_api.make_router(models, captioner, self.explainer, settings))
        app.include_router(captions_api.make_router(models, captioner, settings))

        @app.exception_handler(ApiError)
        async def answer(request: Request, error: ApiError):
            return error.response(request.url.path)

        self.client = TestClient(app)

    def explain(self, photo: bytes | None = None, **query):
        return self.client.post("/v1/explain", params=query, content=photo or PHOTO.read_bytes())

    @contextmanager
    def busy(self):
        """Keeps the thread of explanations busy."""
        done = threading.Event()
        self.explainer._thread.submit(done.wait)
        try:
            yield
        finally:
            done.set()

    def close(self):
        self.explainer.close()
        self.thread.close()
        self.workers.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch, tmp_path_factory.getbasetemp())
        patch.setattr(served_model, "_BATCH_SIZES", (1,))
        served = ExplainServer()
        yield served
        served.close()


def picture(overlay: str) -> Image.Image:
    kind, _, data = overlay.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("method", ["attention", "gradcam"])
def test_each_word_of_a_caption_has_the_map_that_capjax_explain_computes(served, method):
    body = served.explain(caption=CAPTION, method=method).json()
    assert [body["caption"][word["start"] : word["end"]] for word in body["words"]] == CAPTION.split()
    assert [each["word"] for each in body["maps"]] == [0, 1, 2, None]
    (explanation,) = capjax.explain(served.model.predictor, [PHOTO], method=method, caption=CAPTION)
    np.testing.assert_allclose(
        [word["probability"] for word in body["words"]],
        np.exp([word.log_prob for word in explanation.words]),
        rtol=1e-4,
    )
    width, height = Image.open(PHOTO).size
    maps = explanation.maps[method]
    for shown, values in zip(body["maps"], maps.values, strict=True):
        overlay = picture(shown["overlay"]).convert("RGBA")
        assert overlay.width / overlay.height == pytest.approx(width / height, rel=0.05)
        # The opacity is the share of the largest value.
        strength = np.abs(maps.geometry.resized(*overlay.size).resample(values[0])) / np.abs(values).max()
        assert np.asarray(overlay)[..., 3] == pytest.approx(0.75 * 255 * np.minimum(strength, 1), abs=3)


def test_without_a_caption_that_of_the_model_is_explained(served):
    (caption,) = served.model.predictor.caption([PHOTO])
    body = served.explain().json()
    assert (body["caption"], body["lang"], body["method"]) == (caption.text, "en", "attention")
    assert [word["text"] for word in body["words"]] == caption.text.split()
    (german,) = served.model.predictor.caption([PHOTO], lang="de")
    assert served.explain(lang="de").json()["caption"] == german.text


def test_one_word_has_one_map(served):
    every = served.explain(caption=CAPTION).json()
    one = served.explain(caption=CAPTION, word="RED").json()
    assert one["maps"] == every["maps"][1:2]
    assert one["words"] == every["words"]


def test_all_forms_of_a_request_have_the_same_answer(served):
    data = PHOTO.read_bytes()
    raw = served.explain(caption=CAPTION).json()
    form = served.client.post("/v1/explain", files={"file": data}, data={"caption": CAPTION}).json()
    body = {"files": [base64.b64encode(data).decode()], "caption": CAPTION}
    assert raw == form == served.client.post("/v1/explain", json=body).json()


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ({"word": "blue"}, 400, "unknown_word"),
        ({"caption": "word " * 150}, 400, "invalid_caption"),
        ({"caption": " "}, 400, "invalid_caption"),
        ({"model": "events"}, 400, "finds_events"),
        ({"method": "lime"}, 422, None),
        ({"lang": "fr"}, 400, "unknown_language"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else None,
)
def test_what_cannot_be_explained_is_an_error_of_the_request(served, query, status, kind):
    answer = served.explain(**{"caption": CAPTION, **query})
    assert answer.status_code == status
    if kind:
        assert answer.json()["error"]["kind"] == kind


def test_a_damaged_photo_is_an_error_of_the_request(served):
    for query in ({}, {"caption": CAPTION}):
        answer = served.explain(PHOTO.read_bytes()[:300], **query)
        assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "damaged")
    two = served.client.post("/v1/explain", files=[("file", PHOTO.read_bytes())] * 2)
    assert (two.status_code, two.json()["error"]["kind"]) == (400, "too_many_files")


def test_photos_are_captioned_while_explanations_are_computed(served):
    with served.busy():
        assert served.client.post("/v1/captions", content=PHOTO.read_bytes()).status_code == 200


def test_explanations_that_find_no_room_are_asked_to_come_again(served):
    answers = []
    with served.busy():
        waiting = [
            threading.Thread(target=lambda: answers.append(served.explain(caption=CAPTION).status_code))
            for _ in range(2)
        ]
        for thread in waiting:
            thread.start()
        deadline = time.monotonic() + 20
        while served.explainer._queued < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for query in ({}, {"caption": CAPTION}):
            answer = served.explain(**query)
            assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    for thread in waiting:
        thread.join()
    assert answers == [200, 200]
