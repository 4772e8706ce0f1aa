"""OpenAI's chat completions: the caption of one photo.

The last message of the role `user` has the photo, as a data URI. A captioner takes no instructions: texts are ignored.
Fields are used as follows.

    model                               name of the model; default: the first
    n                                   captions, the best first; at most the number of beams
    seed                                seed of a model that samples
    max_completion_tokens, max_tokens   the model's usual length, or the greatest compiled one that is not above this
    stream, stream_options              the whole caption is in one chunk
    lang, beams                         as of `/v1/captions`; the client takes them as `extra_body`

Fields that ask for another kind of answer (`tools`, `logprobs`, `stop`, ...) are refused. All others are ignored:
temperature and the like are decoding options of the server.
"""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from capjax.decode.results import Caption
from capjax.serve.captioning import PhotoCaptioner, Timings, until_disconnected
from capjax.serve.captions_api import check_captions_photos, error_responses
from capjax.serve.errors import bad_request
from capjax.serve.served_model import DecodeChoice, Models, ServedModel
from capjax.serve.settings import ServeSettings
from capjax.serve.uploads import Photo, decode_base64, read_json, validation_error
from capjax.text.vocabulary import EOS

# Fields that change what an answer is, with the values that do not.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "response_format": (None, {"type": "text"}),
    "stop": (None, []),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
}


class ImageUrl(BaseModel):
    """A photo as a data URI."""

    url: str


class ContentPart(BaseModel):
    """A part of a message: a text, or a photo."""

    type: str
    image_url: ImageUrl | None = None


class Message(BaseModel):
    role: str
    content: str | list[ContentPart] | None = None


class StreamOptions(BaseModel):
    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """A request, of which further fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    messages: list[Message] = Field(min_length=1)
    model: str | None = Field(None, max_length=200)
    n: int | None = Field(None, ge=1, le=1000)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    lang: str | None = Field(None, max_length=40)
    num_beams: int | None = Field(None, alias="beams", ge=1, le=1000)


class AssistantMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int
    message: AssistantMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Usage(BaseModel):
    """Tokens of the captions; a photo has none."""

    prompt_tokens: int = 0
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage


class OpenAiErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class OpenAiError(BaseModel):
    """The form of OpenAI's errors."""

    error: OpenAiErrorBody


_ERRORS = error_responses(OpenAiError)
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}


def make_router(models: Models, captioner: PhotoCaptioner, settings: ServeSettings) -> APIRouter:
    """Returns the route."""
    router = APIRouter(tags=["openai"])
    body_schema = {"required": True, "content": {"application/json": {"schema": _schema(ChatRequest)}}}

    @router.post(
        "/v1/chat/completions", response_model=ChatCompletion, responses={**_ERRORS, **_STREAM},
        openapi_extra={"requestBody": body_schema}, summary="Caption a photo",
    )  # fmt: skip
    async def chat_completions(request: Request):
        body = await read_json(request)
        for name, harmless in _REFUSED.items():
            if body.get(name) not in harmless:
                raise bad_request("unsupported_field", f"{name}: not supported, since a captioner answers with text")
        try:
            chat = ChatRequest.model_validate(body)
        except ValidationError as error:
            raise validation_error(error.errors()) from error
        photo = _photo(chat.messages)
        model = models.get(chat.model)
        check_captions_photos(model)
        choice = model.choose(
            lang=chat.lang, num_beams=chat.num_beams, max_len=_max_len(chat, model), seed=(chat.seed or 0) % 2**32,
            num_captions=chat.n or 1,
        )  # fmt: skip
        work = captioner.caption([photo], model, [choice], Timings())
        [caption] = await until_disconnected(request, work, settings.request_seconds)
        if caption.error:
            raise bad_request(caption.error.kind, str(caption.error))
        completion = _completion(model, choice, [caption, *caption.alternatives])
        if not chat.stream:
            return completion
        include_usage = bool(chat.stream_options and chat.stream_options.include_usage)
        return StreamingResponse(_events(completion, include_usage), media_type="text/event-stream")

    return router


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model, with those of its parts in place: `$defs` has no meaning within OpenAPI."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs")

    def resolve(node):
        if isinstance(node, list):
            return [resolve(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rpartition("/")[2]])
        return {key: resolve(value) for key, value in node.items()}

    return resolve(schema)


def _photo(messages: Sequence[Message]) -> Photo:
    """The photo of the last message of the user."""
    message = next((each for each in reversed(messages) if each.role == "user"), None)
    parts = message.content if message and isinstance(message.content, list) else []
    if unknown := [part.type for part in parts if part.type not in ("text", "image_url")]:
        raise bad_request("invalid_request", f"a part of the type {unknown[0]!r:.60}: expected text and image_url")
    urls = [part.image_url.url for part in parts if part.image_url]
    if len(urls) != 1:
        raise bad_request(
            "invalid_request", f"the last message of the user has {len(urls)} photos (image_url): expected one"
        )
    if urls[0][:5].lower() != "data:":
        raise bad_request("url_not_fetched", "image_url: URLs are never fetched; send data:image/jpeg;base64,...")
    photo = decode_base64(urls[0])
    if photo.problem:
        raise bad_request("invalid_request", f"image_url: {photo.problem}")
    return photo


def _max_len(chat: ChatRequest, model: ServedModel) -> int | None:
    limit = chat.max_completion_tokens or chat.max_tokens
    if limit is None or model.max_len[0] <= limit:
        return None
    return max((each for each in model.max_len if each <= limit), default=limit)


def _completion(model: ServedModel, choice: DecodeChoice, captions: Sequence[Caption]) -> ChatCompletion:
    tokens = sum(len(caption.tokens) for caption in captions)
    return ChatCompletion(
        id=f"chatcmpl-{secrets.token_hex(12)}", created=int(time.time()), model=model.source.name,
        system_fingerprint=f"step-{model.step}", usage=Usage(completion_tokens=tokens, total_tokens=tokens),
        choices=[
            Choice(
                index=index, message=AssistantMessage(content=caption.text),
                finish_reason="length" if caption.tokens and caption.tokens[-1] != EOS else "stop",
            )
            for index, caption in enumerate(captions)
        ],
    )  # fmt: skip


def _events(completion: ChatCompletion, include_usage: bool) -> Iterator[str]:
    """Server-sent events: a chunk with each caption, one with the reason of its end, and the usage."""
    head = {
        "id": completion.id, "object": "chat.completion.chunk", "created": completion.created,
        "model": completion.model, "system_fingerprint": completion.system_fingerprint,
    }  # fmt: skip
    usage: dict[str, Any] = {"usage": None} if include_usage else {}
    for choice in completion.choices:
        message = {"role": "assistant", "content": choice.message.content}
        for delta, reason in ((message, None), ({}, choice.finish_reason)):
            chunk = {"index": choice.index, "delta": delta, "finish_reason": reason, "logprobs": None}
            yield _event({**head, "choices": [chunk], **usage})
    if include_usage:
        yield _event({**head, "choices": [], "usage": completion.usage.model_dump()})
    yield "data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
