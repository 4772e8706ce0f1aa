"""`POST /v1/captions`, and the list of models."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from capjax.decode.results import Caption
from capjax.serve.captioning import PhotoCaptioner, Timings, until_disconnected
from capjax.serve.errors import bad_request
from capjax.serve.served_model import Models, ServedModel
from capjax.serve.settings import ServeSettings
from capjax.serve.uploads import CaptionOptions, read_photos


class ErrorBody(BaseModel):
    """An error: a short name for programs, and a message for people."""

    kind: str
    message: str


class ErrorResponse(BaseModel):
    error: ErrorBody


class CaptionBody(BaseModel):
    """A caption; the score is its log-probability, normalized by its length."""

    text: str
    lang: str
    score: float


class Captions(BaseModel):
    captions: list[CaptionBody]


class ModelBody(BaseModel):
    """The model that answered, and the training step of its checkpoint."""

    name: str
    step: int


class TimingsBody(BaseModel):
    """Seconds until the photos were read, and until they were captioned."""

    read: float
    total: float


class CaptionsResponse(BaseModel):
    """One result for each file, in order: its captions, or why it has none."""

    results: list[Captions | ErrorResponse]
    model: ModelBody
    timings: TimingsBody


class ModelDescription(BaseModel):
    """A model, and what requests may choose; the first value of each list is the default."""

    id: str
    object: str = "model"
    owned_by: str = "capjax"
    ready: bool
    step: int | None = None
    finds_events: bool | None = None
    languages: list[str] = []
    num_beams: list[int] = Field(default=[], serialization_alias="beams")
    max_len: list[int] = []


class ModelList(BaseModel):
    object: str = "list"
    data: list[ModelDescription]


def error_responses(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Returns the description of errors for the OpenAPI schema; they have the form of `model`."""
    descriptions = {
        400: "The request is wrong.",
        401: "No API key, or an unknown one.",
        403: "A page of another origin.",
        404: "No such model, version or job.",
        408: "The body arrived too slowly.",
        413: "The body is too large.",
        415: "A content type that is not supported.",
        422: "A parameter is not as described.",
        429: "Too many requests; Retry-After says when to try again.",
        503: "The model is being loaded, or the request took too long.",
    }
    return {status: {"model": model, "description": text} for status, text in descriptions.items()}


ERRORS = error_responses(ErrorResponse)
_FILES = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
_BASE64 = {"type": "array", "minItems": 1, "items": {"type": "string", "contentEncoding": "base64"}}


def photo_body(options: type[CaptionOptions]) -> dict[str, Any]:
    """Returns the description of a body as `read_photos` reads it, for the OpenAPI schema."""
    schema = options.model_json_schema()

    def with_files(files: dict) -> dict[str, Any]:
        return {**schema, "properties": {**files, **schema["properties"]}, "required": list(files)}

    content = {
        "multipart/form-data": {"schema": with_files({"file": _FILES})},
        "application/json": {"schema": with_files({"files": _BASE64})},
        "image/*": {"schema": {"type": "string", "format": "binary", "minLength": 1}},
    }
    return {"required": True, "content": content}


def make_router(models: Models, captioner: PhotoCaptioner, settings: ServeSettings) -> APIRouter:
    """Returns the routes."""
    router = APIRouter()

    @router.post(
        "/v1/captions", response_model=CaptionsResponse, responses=ERRORS, tags=["captions"],
        openapi_extra={"requestBody": photo_body(CaptionOptions)}, summary="Caption photos",
    )  # fmt: skip
    async def captions(request: Request, query: Annotated[CaptionOptions, Query()]):
        timings = Timings()
        photos, options = await read_photos(request, query, settings)
        model = models.get(options.model)
        check_captions_photos(model)
        choices = [options.choose(model)] * len(photos)
        results = await until_disconnected(
            request, captioner.caption(photos, model, choices, timings), settings.request_seconds
        )
        return CaptionsResponse(
            results=[result_of(each) for each in results], model=describe(model),
            timings=TimingsBody(read=timings.read, total=timings.total),
        )  # fmt: skip

    @router.get("/v1/models", response_model=ModelList, responses=ERRORS, tags=["models"], summary="List models")
    async def list_models():
        return ModelList(
            data=[_describe_choices(source.name, models.all.get(source.name)) for source in models.sources]
        )

    return router


def _describe_choices(name: str, model: ServedModel | None) -> ModelDescription:
    if model is None:
        return ModelDescription(id=name, ready=False)
    return ModelDescription(
        id=name, ready=True, step=model.step, finds_events=model.dense, languages=list(model.predictor.languages),
        num_beams=list(model.num_beams), max_len=list(model.max_len),
    )  # fmt: skip


def check_captions_photos(model: ServedModel):
    """Raises ApiError if a model finds events in videos instead."""
    if model.dense:
        raise bad_request("finds_events", f"{model.source.name} finds events in videos; send one to /v1/videos")


def describe(model: ServedModel) -> ModelBody:
    """Returns the model as answers name it."""
    return ModelBody(name=model.source.name, step=model.step)


def result_of(caption: Caption) -> Captions | ErrorResponse:
    """Returns the result of one file."""
    if caption.error:
        return ErrorResponse(error=ErrorBody(kind=caption.error.kind, message=str(caption.error)))
    return Captions(
        captions=[CaptionBody(text=c.text, lang=c.lang, score=c.score) for c in (caption, *caption.alternatives)]
    )
