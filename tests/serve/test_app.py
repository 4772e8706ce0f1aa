"""The whole application: start, reload, limits, clients that leave, errors of the model."""

import base64
import shutil
import socket
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from capjax.serve import media_workers
from capjax.serve.access import ApiKeys
from capjax.serve.served_model import Models, ModelSource, ServedModel
from capjax.serve.settings import ServeSettings
from tests.helpers import hostile_decoders
from tests.helpers.hostile_decoders import HOSTILE
from tests.helpers.live_server import wait_until
from tests.helpers.tiny_job import copy

KEY = "k" * 20


def caption(server, data: bytes, **options):
    return server.client.post("/v1/captions", content=data, **options)


def text(response) -> str:
    assert response.status_code == 200, response.text
    return response.json()["results"][0]["captions"][0]["text"]


@pytest.fixture(scope="module")
def expected(tiny_model, photos) -> list[str]:
    return [caption.text for caption in tiny_model.predictor.caption(photos)]


class Slow:
    """The model with captions that wait until they are released."""

    def __init__(self, model: ServedModel):
        self._model = model
        self.calls, self.photos = 0, 0
        self.released = threading.Event()
        self.error: Exception | None = None

    def caption(self, samples, choice):
        self.calls += 1
        self.photos += len(samples)
        assert self.released.wait(60)
        if self.error:
            raise self.error
        return ServedModel.caption(self._model, samples, choice)


@pytest.fixture
def slow(tiny_model, monkeypatch):
    slow = Slow(tiny_model)
    monkeypatch.setattr(tiny_model, "caption", slow.caption, raising=False)
    yield slow
    slow.released.set()


# ---- Load


def test_many_clients_have_the_captions_of_their_photos(server, photos, expected):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: text(caption(server, photos[number % 6])), range(96)))
    assert answers == [expected[number % 6] for number in range(96)]


def test_a_full_queue_is_told_when_to_come_again_and_works_on(servers, slow, photos, expected):
    slow.released.set()
    server = servers.start(settings=ServeSettings(max_queued=4))
    slow.released.clear()
    slow.calls = 0
    with ThreadPoolExecutor(16) as pool:
        # A photo that the model has is no longer in the queue.
        running = pool.submit(caption, server, photos[0])
        wait_until(lambda: slow.calls == 1)
        waiting = [pool.submit(caption, server, data) for data in photos[1:5]]
        wait_until(lambda: server.app.state.server.thread.queued == 4)
        refused = caption(server, photos[5])
        assert (refused.status_code, refused.json()["error"]["kind"]) == (429, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        slow.released.set()
        assert [text(future.result()) for future in (running, *waiting)] == expected[:5]
    assert text(caption(server, photos[5])) == expected[5]
    assert server.app.state.server.thread.queued == 0


def test_a_request_with_more_photos_than_the_queue_has_room_leaves_nothing_in_it(servers, photos, expected):
    server = servers.start(settings=ServeSettings(max_queued=4))
    files = [("file", ("a.jpg", data)) for data in photos[:5]]
    assert server.client.post("/v1/captions", files=files).status_code == 429
    assert server.app.state.server.thread.queued == 0
    assert text(caption(server, photos[0])) == expected[0]


def test_a_client_that_leaves_frees_its_places_in_the_queue(servers, slow, photos, expected):
    slow.released.set()
    server = servers.start()
    slow.released.clear()
    slow.calls = slow.photos = 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(caption, server, photos[0])
        wait_until(lambda: slow.calls == 1)
        connections = []
        for data in photos[1:]:
            connections.append(socket.create_connection(server.address))
            head = f"POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
            connections[-1].sendall(head.encode() + b"\r\n\r\n" + data)
        queued = server.app.state.server.thread
        wait_until(lambda: queued.queued == 5)
        for connection in connections:
            connection.close()
        wait_until(lambda: queued.queued == 0)
        slow.released.set()
        assert text(running.result()) == expected[0]
    assert slow.photos == 1


def test_an_answer_that_takes_too_long_is_given_up(servers, slow, photos, expected):
    slow.released.set()
    server = servers.start(settings=ServeSettings(request_seconds=0.5))
    slow.released.clear()
    late = caption(server, photos[0])
    assert (late.status_code, late.json()["error"]["kind"]) == (503, "timeout")
    assert late.headers["retry-after"]
    slow.released.set()
    wait_until(lambda: caption(server, photos[0]).status_code == 200)
    assert text(caption(server, photos[0])) == expected[0]


# ---- Errors


def test_an_error_of_the_model_is_no_traceback_for_clients(servers, slow, photos, caplog):
    slow.released.set()
    server = servers.start()
    slow.error = RuntimeError("secret of the model")
    url = f"data:image/jpeg;base64,{base64.b64encode(photos[0]).decode()}"
    body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    rows = {"instances": [{"b64": url.partition(",")[2]}]}
    for response in (
        caption(server, photos[0]),
        server.client.post("/v1/chat/completions", json=body),
        server.client.post("/v1/models/tiny:predict", json=rows),
    ):
        assert response.status_code == 500
        assert "secret" not in response.text and "Traceback" not in response.text
        assert response.headers["x-request-id"] in response.text
    assert any("secret of the model" in str(record.exc_info) for record in caplog.records)
    slow.error = None
    assert caption(server, photos[0]).status_code == 200


@pytest.mark.parametrize(("decoder", "kind"), [("hang", "too_slow"), ("crash", "decoder_failed")])
def test_a_photo_that_harms_its_decoder_costs_its_own_answer_only(
    servers, photos, expected, monkeypatch, decoder, kind
):  # fmt: skip
    server = servers.start(settings=ServeSettings(photo_seconds=1.0))
    monkeypatch.setattr(media_workers, "_read_photo", getattr(hostile_decoders, decoder))
    files = [photos[0], photos[1] + HOSTILE, photos[2]]
    response = server.client.post("/v1/captions", files=[("file", ("a.jpg", data)) for data in files])
    results = response.json()["results"]
    assert [results[0]["captions"][0]["text"], results[2]["captions"][0]["text"]] == [expected[0], expected[2]]
    assert results[1]["error"]["kind"] == kind
    metrics = server.client.get("/metrics").text
    assert f'capjax_lost_media_workers_total{{kind="{kind}"}} 1.0' in metrics
    assert f'capjax_media_errors_total{{kind="{kind}"}} 1.0' in metrics
    assert text(caption(server, photos[3])) == expected[3]


# ---- Access


def test_a_page_of_an_allowed_origin_may_ask_and_reads_errors(servers, photos):
    server = servers.start(keys=ApiKeys({"ann": KEY}), allowed_origins=["https://friend.org"])
    ask = {"Origin": "https://friend.org", "Access-Control-Request-Method": "POST",
           "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
    preflight = server.client.options("/v1/captions", headers=ask)
    assert preflight.status_code == 200, preflight.text
    assert preflight.headers["access-control-allow-origin"] == "https://friend.org"
    refused = caption(server, photos[0], headers={"Origin": "https://friend.org"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://friend.org")
    headers = {"Origin": "https://friend.org", "Authorization": f"Bearer {KEY}"}
    allowed = caption(server, photos[0], headers=headers)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://friend.org")
    assert "X-Request-ID" in allowed.headers["access-control-expose-headers"]
    evil = caption(server, photos[0], headers=headers | {"Origin": "https://evil.org"})
    assert (evil.status_code, "access-control-allow-origin" in evil.headers) == (403, False)


def test_other_origins_are_refused_by_default(server, photos):
    ask = {"Origin": "https://friend.org", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in server.client.options("/v1/captions", headers=ask).headers
    assert caption(server, photos[0], headers={"Origin": "https://friend.org"}).status_code == 403


def test_errors_of_the_gate_have_the_form_of_the_interface(servers, photos):
    server = servers.start(keys=ApiKeys({"ann": KEY}))
    assert caption(server, photos[0]).json()["error"]["kind"] == "unauthorized"
    openai = server.client.post("/v1/chat/completions", json={}).json()["error"]
    assert (openai["type"], openai["code"]) == ("authentication_error", "unauthorized")
    assert "API key" in server.client.post("/v1/models/tiny:predict", json={}).json()["error"]


@pytest.mark.parametrize("path", ["/captions/v1/models", "/v1/models"])
def test_the_server_may_be_below_a_path_of_a_proxy(servers, path):
    server = servers.start(root_path="/captions", keys=ApiKeys({"ann": KEY}))
    assert server.client.get(path, headers={"X-API-Key": KEY}).json()["data"][0]["id"] == "tiny"
    assert server.client.get("/captions/readyz").status_code == 200
    schema = server.client.get("/captions/openapi.json", headers={"X-API-Key": KEY}).json()
    assert schema["servers"] == [{"url": "/captions"}]


def test_the_page_may_not_be_read_as_another_type_or_in_a_frame(server):
    assert server.client.get("/readyz").headers["x-content-type-options"] == "nosniff"


# ---- Start and reload


def test_a_server_is_not_ready_before_its_models_are_compiled(servers, tiny_model, monkeypatch, photos):
    loading = threading.Event()

    def load(source):
        assert loading.wait(60)
        return tiny_model

    monkeypatch.setattr("capjax.serve.app.ServedModel", load)
    server = servers.start_loading(tiny_model.source)
    assert server.client.get("/healthz").status_code == 200
    assert server.client.get("/readyz").status_code == 503
    early = caption(server, photos[0])
    assert (early.status_code, early.json()["error"]["kind"]) == (503, "not_ready")
    assert early.headers["retry-after"]
    assert server.client.get("/v1/models").json()["data"][0]["ready"] is False
    assert server.client.get("/v1/models/tiny").status_code == 503
    loading.set()
    server.wait_until_ready()
    assert caption(server, photos[0]).status_code == 200


def test_several_models_are_served_by_name_and_the_first_is_the_default(servers, tiny_model, monkeypatch, photos):
    def load(source):
        model = ServedModel.__new__(ServedModel)
        model.__dict__.update(tiny_model.__dict__, source=source)
        return model

    monkeypatch.setattr("capjax.serve.app.ServedModel", load)
    workdir = tiny_model.source.workdir
    server = servers.start_loading(ModelSource("b", workdir), ModelSource("a", workdir))
    server.wait_until_ready()
    assert [model["id"] for model in server.client.get("/v1/models").json()["data"]] == ["b", "a"]
    assert caption(server, photos[0]).json()["model"]["name"] == "b"
    assert caption(server, photos[0], params={"model": "a"}).json()["model"]["name"] == "a"
    assert server.client.get("/v1/models/a").status_code == 200


def test_a_new_checkpoint_is_loaded_while_requests_are_answered(servers, tiny, tmp_path, photos, expected, monkeypatch):
    models, put = [], Models.put
    monkeypatch.setattr(Models, "put", lambda self, model: models.append(weakref.ref(model)) or put(self, model))
    workdir = copy(tiny.trained(), tmp_path / "run")
    newest = max((workdir / "best").iterdir(), key=lambda path: int(path.name))
    server = servers.start_loading(ModelSource("tiny", workdir), reload_seconds=0.2)
    server.wait_until_ready()
    assert caption(server, photos[0]).json()["model"]["step"] == int(newest.name)
    statuses, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            response = caption(server, photos[0])
            statuses.append((response.status_code, text(response)))

    asking = threading.Thread(target=ask)
    asking.start()
    step = int(newest.name) + 1
    shutil.copytree(newest, tmp_path / "copy")
    (tmp_path / "copy").rename(newest.parent / str(step))
    try:
        wait_until(lambda: caption(server, photos[0]).json()["model"]["step"] == step, 60)
    finally:
        stop.set()
        asking.join(60)
    assert set(statuses) == {(200, expected[0])}
    assert f'capjax_model_step{{model="tiny"}} {float(step)}' in server.client.get("/metrics").text
    wait_until(lambda: models[0]() is None)  # nothing keeps the old model in memory
    assert models[1]() is not None


def test_a_checkpoint_that_cannot_be_loaded_leaves_the_old_one(servers, tiny, tmp_path, photos, expected, caplog):
    workdir = copy(tiny.trained(), tmp_path / "run")
    server = servers.start_loading(ModelSource("tiny", workdir), reload_seconds=0.1)
    server.wait_until_ready()
    newest = max((workdir / "best").iterdir(), key=lambda path: int(path.name))
    shutil.copytree(newest, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "weights")
    (tmp_path / "copy").rename(newest.parent / str(int(newest.name) + 1))
    wait_until(lambda: any("the old one stays" in record.getMessage() for record in caplog.records))
    assert text(caption(server, photos[0])) == expected[0]
    assert server.client.get("/readyz").status_code == 200


def test_metrics_count_requests_captions_and_batches(server, photos):
    caption(server, photos[0])
    metrics = server.client.get("/metrics").text
    for name in ("capjax_requests_total", "capjax_captions_total", "capjax_batch_items_count",
                 "capjax_queue_length", "capjax_request_seconds_bucket"):  # fmt: skip
        assert name in metrics
    assert 'route="/v1/captions"' in metrics
    server.client.get("/v1/" + "x" * 50)
    assert "xxx" not in server.client.get("/metrics").text, "unknown paths are counted as one"
