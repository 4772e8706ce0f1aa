"""OpenAI's chat completions, as its own client sees them."""

import base64
import json

import openai
import pytest


def part(data: bytes) -> dict:
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"}}


def ask(data: bytes) -> list[dict]:
    return [{"role": "user", "content": [{"type": "text", "text": "What is in this image?"}, part(data)]}]


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def expected(tiny_model, photos) -> list[str]:
    return [caption.text for caption in tiny_model.predictor.caption(photos)]


def test_the_answer_is_the_caption_of_the_predictor(client, photos, expected, tiny_model):
    for data, text in zip(photos, expected, strict=True):
        answer = client.chat.completions.create(model="tiny", messages=ask(data))
        [choice] = answer.choices
        assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", text, "stop")
        assert (answer.object, answer.model, answer.system_fingerprint) == (
            "chat.completion", "tiny", f"step-{tiny_model.step}",
        )  # fmt: skip
        assert answer.usage.completion_tokens == answer.usage.total_tokens > 0


def test_the_photo_is_that_of_the_last_message_of_the_user(client, photos, expected):
    messages = [
        {"role": "system", "content": "You describe photos."}, *ask(photos[0]), {"role": "assistant", "content": "A"},
        *ask(photos[3]),
    ]  # fmt: skip
    answer = client.chat.completions.create(model="tiny", messages=messages)
    assert answer.choices[0].message.content == expected[3]


def test_n_captions_are_the_best_of_the_search(client, photos, tiny_model):
    answer = client.chat.completions.create(model="tiny", messages=ask(photos[0]), n=2)
    [best] = tiny_model.predictor.caption(photos[:1], num_captions=2)
    assert [choice.message.content for choice in answer.choices] == [best.text, best.alternatives[0].text]
    assert [choice.index for choice in answer.choices] == [0, 1]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("limit", "max_len"), [(4, 4), (5, 4), (7, 4), (8, 8), (300, 8)])
def test_a_limit_of_tokens_is_the_greatest_compiled_length_below(client, photos, tiny_model, name, limit, max_len):
    answer = client.chat.completions.create(model="tiny", messages=ask(photos[0]), **{name: limit})
    [caption] = tiny_model.predictor.caption(photos[:1], max_len=max_len)
    assert answer.choices[0].message.content == caption.text
    assert answer.usage.completion_tokens == len(caption.tokens) <= limit


def test_a_limit_below_all_lengths_is_an_error_that_lists_them(client, photos):
    with pytest.raises(openai.BadRequestError, match="4, 8"):
        client.chat.completions.create(model="tiny", messages=ask(photos[0]), max_tokens=3)


def test_a_caption_that_was_cut_has_the_reason_length(client, photos, tiny_model):
    cut = tiny_model.predictor.caption(photos, lang="de", max_len=4)
    assert any(caption.tokens[-1] != 2 for caption in cut), "a German caption has more than four tokens"
    for data, caption in zip(photos, cut, strict=True):
        answer = client.chat.completions.create(
            model="tiny", messages=ask(data), max_tokens=4, extra_body={"lang": "de"}
        )
        assert answer.choices[0].finish_reason == ("stop" if caption.tokens[-1] == 2 else "length")
        assert answer.choices[0].message.content == caption.text


def test_language_and_beams_are_fields_of_their_own(client, photos, tiny_model):
    answer = client.chat.completions.create(
        model="tiny", messages=ask(photos[0]), extra_body={"lang": "de", "beams": 1}
    )
    [caption] = tiny_model.predictor.caption(photos[:1], lang="de", method="greedy", num_beams=1)
    assert answer.choices[0].message.content == caption.text


def test_a_stream_has_the_whole_caption_in_one_chunk(client, photos, expected):
    stream = client.chat.completions.create(
        model="tiny", messages=ask(photos[0]), stream=True, stream_options={"include_usage": True}
    )
    *chunks, usage = stream
    assert [chunk.choices[0].delta.content for chunk in chunks] == [expected[0], None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert usage.choices == [] and usage.usage.completion_tokens > 0
    assert len({chunk.id for chunk in (*chunks, usage)}) == 1


def test_a_stream_ends_with_done_and_has_no_usage_unless_asked_for(server, photos):
    response = server.client.post("/v1/chat/completions", json={"messages": ask(photos[0]), "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events)


def test_decoding_options_and_unknown_fields_are_ignored(client, photos, expected):
    answer = client.chat.completions.create(
        model="tiny", messages=ask(photos[0]), temperature=1.5, top_p=0.1, presence_penalty=1, seed=7, user="u",
        tools=[], tool_choice="none", logprobs=False, response_format={"type": "text"}, extra_body={"later": [1]},
    )  # fmt: skip
    assert answer.choices[0].message.content == expected[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("response_format", {"type": "json_object"}),
        ("logprobs", True),
        ("stop", ["."]),
        ("functions", [{"name": "f"}]),
        ("modalities", ["audio"]),
    ],
)
def test_fields_that_ask_for_another_kind_of_answer_are_refused_by_name(client, photos, name, value):
    with pytest.raises(openai.BadRequestError, match=name) as raised:
        client.chat.completions.create(model="tiny", messages=ask(photos[0]), **{name: value})
    assert (raised.value.code, raised.value.type) == ("unsupported_field", "invalid_request_error")


@pytest.mark.parametrize(
    "url", ["http://example.org/a.jpg", "https://example.org/a.jpg", "file:///etc/passwd", "//a/b", "ftp://a/b"]
)
def test_urls_are_never_fetched(client, url):
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    with pytest.raises(openai.BadRequestError, match="never fetched"):
        client.chat.completions.create(model="tiny", messages=messages)


@pytest.mark.parametrize(
    ("messages", "names"),
    [
        ([{"role": "user", "content": "Hello"}], "0 photos"),
        ([{"role": "user", "content": [part(b"a"), part(b"b")]}], "2 photos"),
        ([{"role": "assistant", "content": "Hello"}], "0 photos"),
        ([*ask(b"a"), {"role": "user", "content": "And now?"}], "0 photos"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}, part(b"a")]}], "input_audio"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,abc"}}]}], "base64"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}]}], "64"),
    ],
)
def test_a_message_without_exactly_one_photo_is_an_error(client, messages, names):
    with pytest.raises(openai.BadRequestError, match=names):
        client.chat.completions.create(model="tiny", messages=messages)


def test_a_photo_that_cannot_be_read_is_an_error_of_the_request(client, photos):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="tiny", messages=ask(photos[0][:300]))
    assert raised.value.code == "damaged"
    assert raised.value.body["message"]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"messages": []}, {"messages": "a"}, {"messages": [{}]}, {"messages": [{"role": "user", "content": [1]}]},
        {"messages": ask(b"a"), "n": 0}, {"messages": ask(b"a"), "n": "many"}, {"messages": ask(b"a"), "seed": 2**70},
    ],
)  # fmt: skip
def test_a_wrong_request_has_an_error_of_the_form_of_openai(server, body):
    response = server.client.post("/v1/chat/completions", json=body)
    assert response.status_code == 422
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_errors_raise_the_exceptions_of_the_client(client, photos):
    with pytest.raises(openai.NotFoundError, match="this server has tiny"):
        client.chat.completions.create(model="gpt", messages=ask(photos[0]))
    with pytest.raises(openai.BadRequestError, match="1 to 2"):
        client.chat.completions.create(model="tiny", messages=ask(photos[0]), n=3)
    with pytest.raises(openai.BadRequestError, match="en, de"):
        client.chat.completions.create(model="tiny", messages=ask(photos[0]), extra_body={"lang": "xx"})


def test_models_can_be_listed(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
