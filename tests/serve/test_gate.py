"""What every request passes, around an application that has no model."""

import asyncio
import json
import logging
import socket
import threading
import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from capjax.serve.access import ApiKeys
from capjax.serve.gate import Gate, JsonLines
from capjax.serve.metrics import Metrics
from capjax.serve.settings import ServeSettings
from tests.helpers.live_server import LiveServer, wait_until

KEY = "k" * 20
SETTINGS = ServeSettings(max_body_bytes=1000, max_video_bytes=5000, body_seconds=0.5, body_rate=1e6, max_requests=2)


async def echo(request: Request):
    body = await request.body()
    return JSONResponse({"bytes": len(body), "owner": request.state.owner})


async def fail(request: Request):
    raise RuntimeError("secret of the server")


async def fail_late(request: Request):
    async def body():
        yield b"some"
        raise RuntimeError("secret of the server")

    return StreamingResponse(body())


async def wait(request: Request):
    request.app.state.waiting += 1
    await asyncio.to_thread(request.app.state.event.wait, 30)
    return JSONResponse({})


async def health(request: Request):
    return JSONResponse({})


def make(settings=SETTINGS, keys=(), rate=0.0) -> Starlette:
    paths = {"/v1/captions": echo, "/v1/videos": echo, "/fail": fail, "/late": fail_late, "/wait": wait,
             "/healthz": health, "/": health}  # fmt: skip
    app = Starlette(routes=[Route(path, function, methods=["GET", "POST"]) for path, function in paths.items()])
    app.state.event, app.state.metrics, app.state.waiting = threading.Event(), Metrics(), 0
    app.add_middleware(
        Gate, settings=settings, keys=ApiKeys(dict(keys)), allowed_origins=["https://friend.org"],
        metrics=app.state.metrics, is_public=lambda path: path == "/",
    )  # fmt: skip
    return app


@pytest.fixture(scope="module")
def start():
    servers = []

    def start(**options) -> LiveServer:
        servers.append(LiveServer(make(**options)))
        return servers[-1]

    yield start
    for server in servers:
        server.app.state.event.set()
        server.close()


@pytest.fixture(scope="module")
def server(start):
    return start()


def send_raw(server: LiveServer, *parts: bytes, pause: float = 0.0) -> bytes:
    """Sends bytes over a connection, and returns all that comes back."""
    with socket.create_connection(server.address, timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


# ---- Bodies


@pytest.mark.parametrize("size", [0, 999, 1000])
def test_a_body_within_the_limit_arrives(server, size):
    assert server.client.post("/v1/captions", content=bytes(size)).json()["bytes"] == size


def test_a_body_above_the_limit_is_refused_with_and_without_a_length(server):
    def chunks():
        for _ in range(11):
            yield bytes(100)

    for content in (bytes(1001), chunks()):
        response = server.client.post("/v1/captions", content=content)
        assert (response.status_code, response.json()["error"]["kind"]) == (413, "too_large")


def test_an_announced_body_above_the_limit_is_refused_before_it_arrives(server):
    head = b"POST /v1/captions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 999999999999\r\n\r\n"
    assert b" 413 " in send_raw(server, head).partition(b"\r\n")[0]


@pytest.mark.parametrize("path", ["/v1/captions", "/healthz", "/missing"])
def test_a_client_that_still_sends_gets_the_answer_in_place_of_a_reset(server, path):
    size = 20_000_000
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n".encode()
    answer = send_raw(server, head, *[bytes(size // 20)] * 20)
    assert answer.startswith(b"HTTP/1.1 ") and answer.endswith(b"}")


def test_a_client_that_asks_before_it_sends_is_not_waited_for(server, caplog):
    caplog.set_level(logging.INFO, "capjax.serve")
    head = b"POST /v1/captions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"
    with socket.create_connection(server.address, timeout=3) as connection:
        connection.sendall(head)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413") and b"connection: close" in answer.lower()
    wait_until(lambda: any("fields" in vars(record) for record in caplog.records))  # the exchange has ended


def test_videos_have_a_limit_of_their_own(server):
    assert server.client.post("/v1/videos", content=bytes(5000)).json()["bytes"] == 5000
    assert server.client.post("/v1/videos", content=bytes(5001)).status_code == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "²", "1_0", ""])
def test_a_length_that_is_no_number_is_not_an_error_of_the_server(length):
    async def post():
        transport = httpx.ASGITransport(make())
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            headers = [(b"content-length", length.encode("latin-1"))]
            return await client.send(httpx.Request("POST", "http://a/v1/captions", headers=headers, content=None))

    assert asyncio.run(post()).status_code in (200, 400)


def test_a_body_that_arrives_too_slowly_is_refused(server):
    head = b"POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\nConnection: close\r\n\r\n"
    start = time.monotonic()
    answer = send_raw(server, head, b"a")
    assert b" 408 " in answer.partition(b"\r\n")[0]
    assert b"slow_body" in answer
    assert 0.4 < time.monotonic() - start < 5


def test_many_small_parts_do_not_extend_the_time(server):
    head = b"POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n"
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.sendall(head)
        start = time.monotonic()
        connection.settimeout(0.05)
        answer = b""
        while not answer and time.monotonic() - start < 5:
            connection.sendall(b"a")
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
    assert b" 408 " in answer.partition(b"\r\n")[0]


def test_a_client_that_leaves_during_its_body_is_no_error_of_the_server(server, caplog):
    caplog.set_level(logging.INFO, "capjax.serve")
    with socket.create_connection(server.address) as connection:
        connection.sendall(b"POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\nabc")
    # Records of exchanges of earlier tests may follow their answers.
    wait_until(lambda: any(getattr(record, "fields", {}).get("status") == 499 for record in caplog.records))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# ---- Access


def test_a_key_is_needed_but_for_the_page_and_the_probes(start):
    server = start(keys={"ann": KEY})
    assert server.client.post("/v1/captions").status_code == 401
    assert server.client.get("/healthz").status_code == 200
    assert server.client.get("/").status_code == 200
    response = server.client.post("/v1/captions", headers={"Authorization": f"Bearer {KEY}"})
    assert response.json()["owner"] == "ann"


def test_a_key_is_in_no_log(start, caplog):
    caplog.set_level(logging.DEBUG)
    server = start(keys={"ann": KEY})
    wrong = "w" * 20
    for key, path in ((KEY, "/v1/captions"), (wrong, "/v1/captions"), (KEY, "/fail")):
        response = server.client.post(path, headers={"Authorization": f"Bearer {key}"})
        assert key not in response.text + str(response.headers)
        server.client.post(path, headers={"X-API-Key": key}, params={"lang": "en"})
    text = "\n".join(JsonLines().format(record) for record in caplog.records if record.name.startswith("capjax"))
    assert "ann" in text and KEY not in text and wrong not in text


def test_pages_of_other_origins_are_refused(server):
    for origin, status in (("https://evil.org", 403), ("https://friend.org", 200), (server.url, 200), ("null", 403),
                           ("http://[", 403)):  # fmt: skip
        assert server.client.post("/v1/captions", headers={"Origin": origin}).status_code == status, origin


def test_requests_beyond_the_number_in_progress_are_told_when_to_come_again(start):
    server = start()
    threads = [threading.Thread(target=server.client.get, args=("/wait",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.app.state.waiting == 2)
    response = server.client.get("/v1/captions")
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")
    assert server.client.get("/healthz").status_code == 200
    server.app.state.event.set()
    for thread in threads:
        thread.join(30)
    wait_until(lambda: server.client.get("/v1/captions").status_code == 200)


def test_the_bodies_of_all_requests_together_are_bounded(start):
    server = start(settings=ServeSettings(max_bytes_in_progress=1500))
    head = b"POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.sendall(head + bytes(1000))
        wait_until(lambda: server.client.post("/v1/captions", content=bytes(1000)).status_code == 429)
        assert server.client.post("/v1/captions", content=bytes(100)).status_code == 200
        assert server.client.post("/v1/videos", content=bytes(1000)).status_code == 200
        connection.sendall(b"a")
        assert b" 200 " in connection.recv(65536)
    assert server.client.post("/v1/captions", content=bytes(1000)).status_code == 200


def test_requests_above_the_rate_of_a_key_are_told_when_to_come_again(start):
    keys = {"ann": KEY, "bob": "b" * 20}
    server = start(keys=keys, settings=ServeSettings(rate=12))
    answers = [server.client.post("/v1/captions", headers={"X-API-Key": KEY}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 6
    assert server.client.post("/v1/captions", headers={"X-API-Key": keys["bob"]}).status_code == 200


# ---- Answers and logs


def test_request_ids_are_in_answers_and_logs(server, caplog):
    caplog.set_level(logging.INFO, "capjax.serve")
    given = server.client.post("/v1/captions", headers={"X-Request-ID": "mine-1.2"})
    assert given.headers["x-request-id"] == "mine-1.2"
    made = server.client.post("/v1/captions", headers={"X-Request-ID": "a b\t<script>"})
    assert len(made.headers["x-request-id"]) == 16
    refused = server.client.post("/v1/captions", content=bytes(2000))
    wait_until(lambda: len(caplog.records) == 3)
    rows = [json.loads(JsonLines().format(record)) for record in caplog.records]
    ids = [response.headers["x-request-id"] for response in (given, made, refused)]
    assert [row["request_id"] for row in rows] == ids
    assert [row["status"] for row in rows] == [200, 200, 413]
    assert all(row["method"] == "POST" and row["path"] == "/v1/captions" and row["seconds"] >= 0 for row in rows)


def test_an_error_of_the_server_has_an_id_and_no_traceback(server, caplog):
    response = server.client.get("/fail")
    assert (response.status_code, response.json()["error"]["kind"]) == (500, "internal")
    assert response.headers["x-request-id"] in response.json()["error"]["message"]
    assert "secret" not in response.text and "Traceback" not in response.text
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    row = json.loads(JsonLines().format(record))
    assert "secret of the server" in row["traceback"] and response.headers["x-request-id"] in row["message"]


def test_an_error_during_an_answer_cuts_it(server):
    with pytest.raises(httpx.RemoteProtocolError):
        server.client.get("/late")
    assert server.client.get("/healthz").status_code == 200


def test_a_log_line_is_json_whatever_is_in_it():
    for message in ("plain", "two\nlines", '"quotes"', "\x00", "ü", "\udcff"):
        record = logging.LogRecord("capjax", logging.INFO, "", 0, message, (), None)
        line = JsonLines().format(record)
        assert "\n" not in line
        assert line.encode()
        assert json.loads(line)["message"] == message


@pytest.mark.parametrize("path", ["/v1/captions", "/prefix/v1/captions"])
def test_behind_a_proxy_the_prefix_may_be_there_or_not(path):
    app = make(keys={"ann": KEY})

    async def get(path):
        transport = httpx.ASGITransport(app, root_path="/prefix")
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            return await client.post(path)

    assert asyncio.run(get(path.replace("v1/captions", "healthz"))).status_code == 200
    response = asyncio.run(get(path))
    assert response.status_code == 401
