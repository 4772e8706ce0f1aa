"""`POST /v1/explain`: heat maps of what each word of a photo's caption is based on."""

import math
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from capjax.explain.explanation import Explanation
from capjax.explain.page import target_view
from capjax.serve.captioning import PhotoCaptioner, Timings, until_disconnected
from capjax.serve.captions_api import ERRORS, ModelBody, describe, photo_body
from capjax.serve.errors import ApiError, bad_request
from capjax.serve.explaining import PhotoExplainer
from capjax.serve.served_model import Models, ServedModel
from capjax.serve.settings import ServeSettings
from capjax.serve.uploads import CaptionOptions, Photo, read_photos


class ExplainOptions(CaptionOptions):
    """Options of a request for an explanation."""

    # Those whose time is bounded. Occlusion and LIME run the model hundreds of times: `capjax explain` has them.
    method: Literal["attention", "gradcam"] = Field("attention", description="How the maps are computed.")
    caption: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="The caption to explain; default: that of the model.",
    )
    word: str | None = Field(
        None, max_length=200, description="A word of the caption, whose map alone is returned; default: all words."
    )


class WordBody(BaseModel):
    """A word, the characters of the caption from `start` to `end`, and its probability given the words before it."""

    text: str
    start: int
    end: int
    probability: float


class MapBody(BaseModel):
    """The map of a word by its number in `words`, or without one of the whole caption.

    The overlay is a WebP picture with transparency as a data URI. It covers the whole upright photo, at a smaller size:
    from purple to yellow for the word, blue against it.
    """

    word: int | None = None
    overlay: str
    description: str


class ExplainResponse(BaseModel):
    """A caption, its words, and the maps of the words in order, then of the whole caption."""

    caption: str
    lang: str
    method: str
    words: list[WordBody]
    maps: list[MapBody]
    model: ModelBody


def make_router(
    models: Models, captioner: PhotoCaptioner, explainer: PhotoExplainer, settings: ServeSettings
) -> APIRouter:
    """Returns the route."""
    router = APIRouter()

    @router.post(
        "/v1/explain", response_model=ExplainResponse, responses=ERRORS, tags=["captions"],
        openapi_extra={"requestBody": photo_body(ExplainOptions)}, summary="Explain the caption of a photo",
    )  # fmt: skip
    async def explain(request: Request, query: Annotated[ExplainOptions, Query()]):
        photos, options = await read_photos(request, query, settings)
        if len(photos) > 1:
            raise bad_request("too_many_files", f"{len(photos)} files; one photo is explained in a request")
        model = models.get(options.model)
        if model.dense:
            raise bad_request("finds_events", f"{model.source.name} finds events in videos; captions are explained")
        work = _explain(photos[0], options, model, captioner, explainer)
        return await until_disconnected(request, work, settings.request_seconds)

    return router


async def _explain(
    photo: Photo, options: ExplainOptions, model: ServedModel, captioner: PhotoCaptioner, explainer: PhotoExplainer
) -> ExplainResponse:
    choice = options.choose(model)
    text = options.caption
    if text is None:
        explainer.check_room()
        (caption,) = await captioner.caption([photo], model, [choice], Timings())
        if caption.error:
            raise ApiError(422, caption.error.kind, str(caption.error))
        text = caption.text
    explanation = await explainer.explain(photo, model, options.method, text, choice.lang)
    return _response(explanation, options, model)


def _response(explanation: Explanation, options: ExplainOptions, model: ServedModel) -> ExplainResponse:
    numbers = list(range(len(explanation.words) + 1))
    if options.word is not None:
        try:
            numbers = [explanation.find(options.word)]
        except ValueError as error:
            raise bad_request("unknown_word", str(error)) from error
    maps = [_map(explanation, options.method, number) for number in numbers]
    words = [
        WordBody(text=word.text, start=word.start, end=word.end, probability=math.exp(word.log_prob))
        for word in explanation.words
    ]
    return ExplainResponse(
        caption=explanation.caption, lang=explanation.lang, method=options.method, words=words, maps=maps,
        model=describe(model),
    )  # fmt: skip


def _map(explanation: Explanation, method: str, number: int) -> MapBody:
    view = target_view(explanation, method, number, [0])
    word = number if number < len(explanation.words) else None
    return MapBody(word=word, overlay=view["overlays"][0], description=view["description"])
