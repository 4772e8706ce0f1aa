"""`POST /v1/videos`, and the jobs that long videos become: `/v1/jobs/ID`."""

import asyncio
import logging
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from capjax.data.photo import MediaError
from capjax.serve.captioning import until_disconnected
from capjax.serve.captions_api import ERRORS, CaptionBody, ErrorBody, ModelBody, describe
from capjax.serve.errors import ApiError, bad_request, busy
from capjax.serve.jobs import (
    IdempotencyConflict,
    Job,
    JobCanceled,
    JobNotFound,
    JobStore,
    MediaTooLarge,
    QueueFull,
    StoreUnavailable,
)
from capjax.serve.served_model import Models
from capjax.serve.settings import ServeSettings
from capjax.serve.subtitles import MEDIA_TYPES, write_subtitles
from capjax.serve.uploads import CaptionOptions, validation_error
from capjax.serve.video_captioning import LongVideo, VideoCaptioner, cues_of

log = logging.getLogger("capjax.serve")

_CHUNK_BYTES = 2**20
_RETRY_SECONDS = 10.0


class VideoOptions(CaptionOptions):
    """Options of a request with a video."""

    output_format: Literal["json", "srt", "vtt"] = Field("json", alias="format", description="Form of the answer.")
    mode: Literal["auto", "sync", "job"] = Field(
        "auto", description="`sync`: answer now, or fail; `job`: answer with a job; `auto`: a job if the video is long."
    )


class EventBody(CaptionBody):
    """An event, from `start` to `end` in seconds; the score is the confidence in it, from 0 to 1."""

    start: float
    end: float


class VideoBody(BaseModel):
    """Duration in seconds, and captions of the whole video, or events if the model finds events."""

    duration: float
    captions: list[CaptionBody] | None = None
    events: list[EventBody] | None = None
    model: ModelBody


class JobBody(BaseModel):
    """A job. Times are Unix seconds; after `expires` the job and its result are forgotten."""

    id: str
    state: Literal["queued", "running", "done", "failed", "canceled"]
    progress: float
    result: VideoBody | None = None
    error: ErrorBody | None = None
    created: float
    finished: float | None = None
    expires: float | None = None


_SUBTITLES = {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()}
_VIDEO = {"type": "string", "format": "binary", "minLength": 1}


def _body() -> dict[str, Any]:
    schema = VideoOptions.model_json_schema()
    form = {**schema, "properties": {"file": _VIDEO, **schema["properties"]}, "required": ["file"]}
    content = {"multipart/form-data": {"schema": form}, "video/*": {"schema": _VIDEO}}
    return {"required": True, "content": content}


_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"description": "The idempotency key was used with another request, or the job has no result."}
}


def make_router(
    models: Models, captioner: VideoCaptioner, jobs: JobStore, settings: ServeSettings, wake: Callable[[], None]
) -> APIRouter:
    """Returns the routes.

    Args:
      wake: has the job runner look for jobs.
    """
    router = APIRouter()
    in_progress = asyncio.Semaphore(settings.video_workers)

    @router.post(
        "/v1/videos", response_model=VideoBody, response_model_exclude_none=True,
        responses={**ERRORS, **_CONFLICT, 200: {"content": _SUBTITLES}, 202: {"model": JobBody}},
        openapi_extra={"requestBody": _body()}, tags=["videos"], summary="Caption a video, or find its events",
    )  # fmt: skip
    async def videos(
        request: Request, query: Annotated[VideoOptions, Query()],
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    ):  # fmt: skip
        async with _received(request, query) as (path, options):
            model = models.get(options.model)
            choice = options.choose(model)
            if options.mode != "job":
                limit = settings.sync_video_seconds
                canceled = threading.Event()

                def check(_: float):
                    if canceled.is_set():
                        raise JobCanceled

                async def work() -> dict[str, Any]:
                    async with in_progress:
                        return await asyncio.to_thread(
                            captioner.caption, path, model, choice, progress=check, max_seconds=limit
                        )

                try:
                    result = await until_disconnected(request, work(), settings.request_seconds)
                    return _answer({**result, "model": describe(model).model_dump()}, options.output_format)
                except MediaError as error:
                    captioner.metrics.media_errors.labels(error.kind).inc()
                    raise ApiError(422, error.kind, str(error)) from error
                except LongVideo:
                    if options.mode == "sync":
                        raise bad_request(
                            "too_long", f"the video is longer than {limit:g} s; leave out mode=sync to get a job"
                        ) from None
                finally:
                    canceled.set()
            parameters = options.model_dump(by_alias=True, exclude={"mode"}) | {"model": model.source.name}
            with _job_errors():
                job = await asyncio.to_thread(
                    jobs.submit, request.state.owner, parameters, _chunks(path), idempotency_key=idempotency_key
                )
            wake()
            location = request.url_for("get_job", job_id=job.id).path
            return JSONResponse(_job_body(job).model_dump(exclude_none=True), 202, {"Location": location})

    @router.get(
        "/v1/jobs/{job_id}", response_model=JobBody, response_model_exclude_none=True, responses=ERRORS, tags=["jobs"],
        summary="Progress and result of a job",
    )  # fmt: skip
    async def get_job(request: Request, job_id: str):
        with _job_errors():
            return _job_body(await asyncio.to_thread(jobs.get, job_id, request.state.owner))

    @router.delete(
        "/v1/jobs/{job_id}", response_model=JobBody, response_model_exclude_none=True, responses=ERRORS, tags=["jobs"],
        summary="Cancel a job, unless it has ended",
    )  # fmt: skip
    async def cancel_job(request: Request, job_id: str):
        with _job_errors():
            return _job_body(await asyncio.to_thread(jobs.cancel, job_id, request.state.owner))

    @router.get(
        "/v1/jobs/{job_id}/result", response_model=VideoBody, response_model_exclude_none=True,
        responses={**ERRORS, **_CONFLICT, 200: {"content": _SUBTITLES}}, tags=["jobs"],
        summary="The result of a job, also as subtitles",
    )  # fmt: skip
    async def get_result(
        request: Request, job_id: str,
        output_format: Annotated[
            Literal["json", "srt", "vtt"] | None, Query(alias="format", description="Default: as in the request.")
        ] = None,
    ):  # fmt: skip
        with _job_errors():
            job = await asyncio.to_thread(jobs.get, job_id, request.state.owner)
        if job.result is None:
            raise ApiError(409, "no_result", f"the job is {job.state}; it has a result once it is done")
        return _answer(job.result, output_format or job.request["format"])

    return router


@asynccontextmanager
async def _received(request: Request, query: VideoOptions) -> AsyncIterator[tuple[Path, VideoOptions]]:
    """Provides the video of a request as a file, and its options.

    Raises:
      ApiError: the body has another form, or not one file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    fields: dict[str, Any] = {}
    # Named, since the process that decodes it opens it by its path.
    with tempfile.NamedTemporaryFile(prefix="capjax-") as file:
        if kind == "multipart/form-data":
            fields = await _read_form(request, file)
        elif kind.startswith(("video/", "image/")) or kind in ("", "application/octet-stream"):
            async for chunk in request.stream():
                await asyncio.to_thread(file.write, chunk)
        else:
            raise ApiError(415, "unsupported_media_type", f"{kind:.100}: send multipart/form-data or video/*")
        file.flush()
        if not file.tell():
            raise bad_request("no_file", "the request has no file; send a video, or a multipart file named `file`")
        given = query.model_dump(by_alias=True, exclude_unset=True) | fields
        try:
            options = VideoOptions.model_validate(given)
        except ValidationError as error:
            raise validation_error(error.errors()) from error
        yield Path(file.name), options


async def _read_form(request: Request, file: IO[bytes]) -> dict[str, Any]:
    """Writes the one file of a form, and returns the other fields."""
    try:
        async with request.form(max_files=1, max_fields=20) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise bad_request("no_file", "the form has no file named `file`")
            while chunk := await upload.read(_CHUNK_BYTES):
                await asyncio.to_thread(file.write, chunk)
            return {name: value for name, value in form.multi_items() if name != "file"}
    except HTTPException as error:
        raise bad_request("invalid_form", str(error.detail)) from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _answer(result: dict[str, Any], output_format: str) -> Response:
    if output_format == "json":
        return JSONResponse(VideoBody(**result).model_dump(exclude_none=True))
    return Response(write_subtitles(cues_of(result), output_format), media_type=MEDIA_TYPES[output_format])


def _job_body(job: Job) -> JobBody:
    return JobBody(
        id=job.id, state=job.state, progress=job.progress, created=job.created, finished=job.finished,
        expires=job.expires, result=VideoBody(**job.result) if job.result else None,
        error=ErrorBody(**job.error) if job.error else None,
    )  # fmt: skip


@contextmanager
def _job_errors() -> Iterator[None]:
    """Turns the errors of a job store into answers."""
    try:
        yield
    except JobNotFound as error:
        raise ApiError(404, "unknown_job", str(error)) from error
    except IdempotencyConflict as error:
        raise ApiError(409, "idempotency_conflict", str(error)) from error
    except MediaTooLarge as error:
        raise ApiError(413, "too_large", str(error)) from error
    except QueueFull as error:
        raise busy(str(error), _RETRY_SECONDS) from error
    except StoreUnavailable as error:
        log.warning("jobs: %s", error)
        raise ApiError(503, "jobs_unavailable", "jobs cannot be stored at present", {"Retry-After": "10"}) from error
