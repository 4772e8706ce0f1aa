"""Metrics of a server for Prometheus."""

import logging
import math
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

log = logging.getLogger("capjax.serve")

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self):
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "capjax_requests", "Answered requests.", ("route", "method", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "capjax_request_seconds", "Time to answer a request.", ("route",), buckets=_SECONDS, registry=registry
        )
        self.captions = Counter("capjax_captions", "Captions written.", ("model",), registry=registry)
        self.media_errors = Counter(
            "capjax_media_errors", "Media that could not be read.", ("kind",), registry=registry
        )
        self.lost_workers = Counter(
            "capjax_lost_media_workers", "Processes that a file has cost.", ("kind",), registry=registry
        )
        self.batch_items = Histogram(
            "capjax_batch_items", "Photos in a batch.", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.batch_seconds = Histogram(
            "capjax_batch_seconds", "Time that the model takes for a batch.", buckets=_SECONDS, registry=registry
        )
        self.model_step = Gauge("capjax_model_step", "Training step of the checkpoint.", ("model",), registry=registry)

    def watch(self, name: str, description: str, value: Callable[[], float]):
        """Adds a metric whose value is asked for when the metrics are read; not a number while that fails."""

        def value_or_nan() -> float:
            try:
                return value()
            except Exception as error:
                log.warning("metric %s: %s", name, error)
                return math.nan

        Gauge(name, description, registry=self._registry).set_function(value_or_nan)

    def on_batch(self, items: int, seconds: float):
        """Counts a batch of the model."""
        self.batch_items.observe(items)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def serve(self, host: str, port: int):
        """Serves the metrics at a port of their own, in a thread."""
        start_http_server(port, host, self._registry)
