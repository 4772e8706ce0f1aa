"""`POST /v1/captions`: each form of a request, and results that equal those of the predictor."""

import base64
import json

import pytest

from tests.helpers.pictures import encode, picture


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def texts(response) -> list[str]:
    assert response.status_code == 200, response.text
    return [result["captions"][0]["text"] for result in response.json()["results"]]


@pytest.fixture(scope="module")
def expected(tiny_model, photos) -> list[str]:
    captions = tiny_model.predictor.caption(photos)
    assert len({caption.text for caption in captions}) > 3, "the model says different things of different photos"
    return [caption.text for caption in captions]


# ---- Captions


def test_files_of_a_form_have_the_captions_of_the_predictor_in_order(server, photos, expected):
    files = [("file", (f"{number}.jpg", data, "image/jpeg")) for number, data in enumerate(photos)]
    assert texts(server.client.post("/v1/captions", files=files)) == expected
    assert texts(server.client.post("/v1/captions", files=files[::-1])) == expected[::-1]


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/*", "application/octet-stream", "IMAGE/JPEG; a=b", ""])
def test_a_body_is_a_photo(server, photos, expected, content_type):
    response = server.client.post("/v1/captions", content=photos[0], headers={"Content-Type": content_type})
    assert texts(response) == expected[:1]


def test_base64_and_data_uris_are_photos(server, photos, expected):
    files = [encoded(photos[0]), f"data:image/jpeg;base64,{encoded(photos[1])}", encoded(photos[2]).rstrip("=")]
    assert texts(server.client.post("/v1/captions", json={"files": files})) == expected[:3]


def test_base64_may_be_wrapped_into_lines(server, photos, expected):
    files = [base64.encodebytes(photos[0]).decode(), f"data:image/jpeg;base64,{base64.encodebytes(photos[1]).decode()}"]
    assert texts(server.client.post("/v1/captions", json={"files": files})) == expected[:2]


def test_scores_and_the_next_best_captions_are_those_of_the_predictor(server, tiny_model, photos):
    response = server.client.post("/v1/captions", content=photos[0], params={"n": 2})
    captions = response.json()["results"][0]["captions"]
    [best] = tiny_model.predictor.caption(photos[:1], num_captions=2)
    assert [each["text"] for each in captions] == [best.text, best.alternatives[0].text]
    assert [each["score"] for each in captions] == pytest.approx([best.score, best.alternatives[0].score])


def test_a_caption_is_the_same_alone_and_among_others(server, photos, expected):
    alone = [texts(server.client.post("/v1/captions", content=data))[0] for data in photos]
    many = texts(server.client.post("/v1/captions", json={"files": [encoded(data) for data in photos * 10]}))
    assert alone == expected
    assert many == expected * 10


@pytest.mark.parametrize("where", ["query", "form", "json"])
def test_options_may_be_in_the_query_the_form_or_the_json(server, tiny_model, photos, where):
    options = {"lang": "de", "beams": 1, "max_len": 4}
    [expected] = tiny_model.predictor.caption(photos[:1], lang="de", method="greedy", num_beams=1, max_len=4)
    if where == "query":
        response = server.client.post("/v1/captions", content=photos[0], params=options)
    elif where == "form":
        response = server.client.post("/v1/captions", files={"file": ("a.jpg", photos[0])}, data=options)
    else:
        response = server.client.post("/v1/captions", json={"files": [encoded(photos[0])], **options})
    [caption] = response.json()["results"][0]["captions"]
    assert (caption["text"], caption["lang"]) == (expected.text, "de")


def test_the_answer_names_the_model_its_step_and_the_time_it_took(server, tiny_model, photos):
    answer = server.client.post("/v1/captions", content=photos[0]).json()
    assert answer["model"] == {"name": "tiny", "step": tiny_model.step}
    assert 0 < answer["timings"]["read"] <= answer["timings"]["total"]


# ---- Files that cannot be read


def test_a_bad_file_does_not_affect_the_others(server, photos, expected):
    bad = [photos[0][: len(photos[0]) // 2], b"no photo at all", b"", b"\x89PNG\r\n\x1a\n" + bytes(40)]
    files = [item for index, data in enumerate(bad) for item in (photos[index], data)]
    response = server.client.post("/v1/captions", files=[("file", ("x.jpg", data)) for data in files])
    results = response.json()["results"]
    assert [result["captions"][0]["text"] for result in results[::2]] == expected[:4]
    for result in results[1::2]:
        assert set(result) == {"error"}
        assert result["error"]["kind"]
        assert result["error"]["message"]
        assert "/" not in result["error"]["message"], "no path of the server"


def test_text_that_is_not_base64_costs_its_own_answer_only(server, photos, expected):
    files = ["http://example.org/a.jpg", encoded(photos[0]), "data:image/svg+xml,<svg/>", "ü"]
    results = server.client.post("/v1/captions", json={"files": files}).json()["results"]
    assert [list(result) for result in results] == [["error"], ["captions"], ["error"], ["error"]]
    assert "URLs are not fetched" in results[0]["error"]["message"]
    assert results[1]["captions"][0]["text"] == expected[0]


def test_a_video_is_sent_elsewhere(server):
    video = encode(picture(64, 48), "GIF", save_all=True, append_images=[picture(64, 48, 1)], duration=100)
    response = server.client.post("/v1/captions", content=video)
    assert "/v1/videos" in response.json()["results"][0]["error"]["message"]


# ---- Wrong requests


@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"\xff", 400, "JSON"),
        (b"[]", 400, "object"),
        (b"[" * 100_000, 400, "JSON"),
        (b"9" * 10_000, 400, "JSON"),
        (b"{}", 400, "files"),
        (b'{"files": "a"}', 400, "files"),
        (b'{"files": [1]}', 400, "files"),
        (b'{"files": []}', 400, "no file"),
        (b'{"files": ["AAAA"], "n": 0}', 422, "n:"),
        (b'{"files": ["AAAA"], "n": null}', 422, "n:"),
        (b'{"files": ["AAAA"], "seed": NaN}', 422, "seed"),
        (b'{"files": ["AAAA"], "seed": -1}', 422, "seed"),
        (b'{"files": ["AAAA"], "seed": 4294967296}', 422, "seed"),
        (b'{"files": ["AAAA"], "temperature": 1}', 422, "temperature"),
        (b'{"files": ["AAAA"], "\\ud800": 1}', 422, "Input"),
        (b'{"files": ["AAAA"], "lang": "\\ud800"}', 422, "lang"),
        (b'{"files": ["AAAA"], "lang": "xx"}', 400, "en, de"),
        (b'{"files": ["AAAA"], "beams": 7}', 400, "1, 2"),
        (b'{"files": ["AAAA"], "max_len": 7}', 400, "4, 8"),
        (b'{"files": ["AAAA"], "n": 3}', 400, "1 to 2"),
        (b'{"files": ["AAAA"], "beams": 1, "n": 2}', 400, "1 to 1"),
        (b'{"files": ["AAAA"], "model": "large"}', 404, "tiny"),
    ],
)
def test_a_wrong_request_has_an_error_that_says_what_is_expected(server, body, status, names):
    response = server.client.post("/v1/captions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["kind"] and names in error["message"]


@pytest.mark.parametrize("value", ["many", "1.5", ""])
def test_options_in_the_query_are_checked_alike(server, photos, value):
    response = server.client.post("/v1/captions", content=photos[0], params={"n": value})
    assert (response.status_code, response.json()["error"]["kind"]) == (422, "invalid_request")
    assert "n:" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content_type", "status"), [("text/html", 415), ("multipart/form-data", 400), ("application/xml", 415)]
)
def test_other_content_types_are_refused(server, photos, content_type, status):
    response = server.client.post("/v1/captions", content=photos[0], headers={"Content-Type": content_type})
    assert response.status_code == status, response.text
    assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ([("photo", ("a.jpg", b"x"))], "named `file`"),
        ([("file", (None, b"x"))], "as a file"),
        ([("n", (None, b"2"))], "no file"),
        ([("file", ("a.jpg", b"x")), ("n", (None, b"many"))], "n:"),
    ],
)
def test_a_wrong_form_has_an_error(server, fields, names):
    response = server.client.post("/v1/captions", files=fields)
    assert response.status_code in (400, 422)
    assert names in response.json()["error"]["message"]


def test_more_files_than_the_limit_are_refused(server):
    for request in (
        {"json": {"files": ["AAAA"] * 65}},
        {"files": [("file", ("a.jpg", b"x"))] * 65},
        {"files": [("file", ("a.jpg", b"x"))] * 66},
        {"files": [("file", ("a.jpg", b"x"))] * 200},
    ):
        response = server.client.post("/v1/captions", **request)
        assert response.status_code == 400
        assert "64" in response.json()["error"]["message"], response.text


# ---- Models


def test_models_are_listed_with_what_requests_may_choose(server, tiny_model):
    assert server.client.get("/v1/models").json() == {
        "object": "list",
        "data": [
            {
                "id": "tiny", "object": "model", "owned_by": "capjax", "ready": True, "step": tiny_model.step,
                "finds_events": False, "languages": ["en", "de"], "beams": [2, 1], "max_len": [8, 4],
            }
        ],
    }  # fmt: skip


def test_the_error_of_an_unknown_path_and_method_is_json(server):
    unknown = server.client.get("/v1/nothing")
    assert (unknown.status_code, unknown.json()["error"]["kind"]) == (404, "not_found")
    wrong = server.client.put("/v1/captions")
    assert (wrong.status_code, wrong.json()["error"]["kind"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


def test_the_schema_is_json(server):
    schema = server.client.get("/openapi.json").json()
    assert json.dumps(schema)
    assert "/v1/captions" in schema["paths"]
