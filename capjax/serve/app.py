"""The ASGI application of a server."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from capjax.data.photo import MediaError
from capjax.metrics.signature import version
from capjax.serve import captions_api, explain_api, openai_api, page_routes, tensorflow_api, videos_api
from capjax.serve.access import ApiKeys
from capjax.serve.captioning import PhotoCaptioner
from capjax.serve.errors import ApiError
from capjax.serve.explaining import PhotoExplainer
from capjax.serve.gate import Gate
from capjax.serve.jobs import Job, JobLimits, JobRunner, open_store
from capjax.serve.media_workers import MediaWorkers
from capjax.serve.metrics import Metrics
from capjax.serve.model_thread import ModelThread
from capjax.serve.served_model import Models, ModelSource, ServedModel
from capjax.serve.settings import ServeSettings
from capjax.serve.uploads import validation_error
from capjax.serve.video_captioning import VideoCaptioner
from capjax.serve.videos_api import VideoOptions
from capjax.workdir.checkpoint import find_checkpoint

log = logging.getLogger("capjax.serve")


@dataclass(frozen=True)
class ServerOptions:
    """The models of a server, its limits, and who may use it.

    Attributes:
      sources: the models; the first is the default.
      settings: limits.
      keys: API keys.
      allowed_origins: origins of other pages that may use the server.
      jobs: where jobs are kept: a folder, or the URL of a Redis that several servers share.
      root_path: path under which a proxy serves it.
      reload_seconds: how often workdirs are searched for a new checkpoint; 0: never.
    """

    sources: tuple[ModelSource, ...]
    jobs: str
    settings: ServeSettings = field(default_factory=ServeSettings)
    keys: ApiKeys = field(default_factory=lambda: ApiKeys({}))
    allowed_origins: Sequence[str] = ()
    root_path: str = ""
    reload_seconds: float = 30.0


def make_app(options: ServerOptions) -> FastAPI:
    """Returns the application. It loads its models when it starts, and is ready once their programs are compiled."""
    settings, models, metrics = options.settings, Models(options.sources), Metrics()
    state = _ServerState(options, models, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        state.start()
        yield
        await asyncio.to_thread(state.stop)

    app = FastAPI(title="capjax", version=version(), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = state
    for api in (captions_api, tensorflow_api, openai_api):
        app.include_router(api.make_router(models, state.captioner, settings))
    app.include_router(explain_api.make_router(models, state.captioner, state.explainer, settings))
    app.include_router(videos_api.make_router(models, state.videos, state.jobs, settings, state.runner.wake))
    app.include_router(page_routes.make_router())

    @app.get("/healthz", tags=["operation"], summary="Whether the process answers")
    async def healthz():
        return {"status": "alive"}

    @app.get("/readyz", tags=["operation"], summary="Whether models are loaded and compiled", responses={503: {}})
    async def readyz():
        ready = models.ready and not state.stopping
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    @app.get("/metrics", tags=["operation"], summary="Metrics for Prometheus", response_class=Response)
    async def read_metrics():
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    # The gate answers all errors; these handlers turn the framework's into ApiError.
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(
        Gate, settings=settings, keys=options.keys, allowed_origins=options.allowed_origins, metrics=metrics,
        is_public=lambda path: path == "/" or path.startswith("/page/"), root_path=options.root_path,
    )  # fmt: skip
    # Around the gate: a browser asks what is allowed without a key, and reads the gate's errors.
    if options.allowed_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(options.allowed_origins), allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "Idempotency-Key"],
            expose_headers=["X-Request-ID", "Retry-After", "Location"],
        )  # fmt: skip
    return app


class _ServerState:
    """The threads and processes of a server, and the models that they run.

    Attributes:
      failure: why the models could not be loaded; the server then stops.
      metrics: of the server.
      on_failure: called when they could not.
      stopping: the server is shutting down.
    """

    def __init__(self, options: ServerOptions, models: Models, metrics: Metrics):
        self._options, self._models, self.metrics = options, models, metrics
        settings = options.settings
        self.failure: Exception | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.stopping = False
        self._runs_jobs = False
        self._stop = threading.Event()
        self.thread = ModelThread(settings.max_queued, settings.batch_wait, metrics.on_batch)
        self.workers = MediaWorkers(settings, lambda kind: metrics.lost_workers.labels(kind).inc())
        self.captioner = PhotoCaptioner(self.workers, self.thread, metrics)
        self.videos = VideoCaptioner(self.workers, self.thread, metrics)
        self.explainer = PhotoExplainer(self.workers, metrics, settings.max_explanations)
        limits = JobLimits(max_media_bytes=settings.max_video_bytes, max_spool_bytes=settings.max_spool_bytes)
        self.jobs = open_store(options.jobs, limits)
        self.runner = JobRunner(self.jobs, self._run_job, public_kind=_public_kind)
        metrics.watch("capjax_queue_length", "Photos that wait for the model.", lambda: self.thread.queued)
        metrics.watch("capjax_queued_jobs", "Jobs that wait.", self.jobs.queue_length)
        self._loader = threading.Thread(target=self._load, name="loader", daemon=True)

    def start(self):
        """Starts to load the models."""
        self._loader.start()

    def stop(self):
        """Ends the threads and processes, after the work that waits."""
        self.stopping = True
        self._stop.set()
        self._loader.join()
        if self._runs_jobs:
            self.runner.stop(grace_seconds=0.0)
        self.thread.close()
        self.explainer.close()
        self.workers.close()
        self.jobs.close()
        gc.unfreeze()

    def _load(self):
        try:
            self.workers.start()
            for source in self._options.sources:
                self._put(ServedModel(source))
        except Exception as error:
            if not self._stop.is_set():
                self.failure = error
                self.on_failure()
            return
        self._runs_jobs = True
        self.runner.start()
        _exempt_from_collection()
        replaced = False
        while self._options.reload_seconds and not self._stop.wait(self._options.reload_seconds):
            if replaced:  # at the last check; requests with the old model have ended since, unless they take long
                _exempt_from_collection()
            replaced = sum(self._reload(model) for model in self._models.all.values()) > 0

    def _run_job(self, job: Job, path: Path, progress: Callable[[float], None]) -> dict[str, Any]:
        options = VideoOptions.model_validate(job.request)
        model = self._models.get(options.model)
        choice = options.choose(model)
        result = self.videos.caption(path, model, choice, progress=progress)
        return {**result, "model": captions_api.describe(model).model_dump()}

    def _put(self, model: ServedModel):
        model.warm_up(self._run_on_model_thread)
        self._models.put(model)
        self.metrics.model_step.labels(model.source.name).set(model.step)
        log.info("model %s is ready, step %d", model.source.name, model.step)

    def _run_on_model_thread(self, function: Callable[[], Any]) -> Any:
        if self._stop.is_set():
            raise RuntimeError("the server stops")
        return self.thread.run(function).result()

    def _reload(self, model: ServedModel) -> bool:
        """Replaces a model whose workdir has another checkpoint by now; returns whether it was replaced.

        Requests in progress keep the old one.
        """
        source = model.source
        try:
            if source.export is None and int(find_checkpoint(source.workdir).name) != model.step:
                log.info("model %s: a new checkpoint is being loaded", source.name)
                self._put(ServedModel(source))
                return True
        except Exception as error:
            if not self._stop.is_set():
                log.warning("model %s: the new checkpoint cannot be used, the old one stays: %s", source.name, error)
        return False


def _exempt_from_collection():
    """Exempts all present objects from garbage collection, which takes long for those of the models' libraries."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _public_kind(error: BaseException) -> str | None:
    return error.kind if isinstance(error, MediaError | ApiError) else None


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    raise validation_error(error.errors()) from error


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the framework names the methods of one route alone
        headers["Allow"] = ", ".join(_methods(request))
    raise ApiError(error.status_code, kind, str(error.detail), headers) from error


def _methods(request: Request) -> list[str]:
    """The methods of all routes with the path of a request."""
    return [
        method
        for method in ("DELETE", "GET", "POST")
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in request.app.routes)
    ]
