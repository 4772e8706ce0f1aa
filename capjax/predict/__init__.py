"""Captions and events of raw photos and videos, with the trained model of a workdir. Start with `load`."""

from capjax.data.photo import MediaError
from capjax.decode.results import Caption, Event
from capjax.predict.localize import LocalizedVideo
from capjax.predict.predictor import Predictor, finds_events, load

__all__ = ["Caption", "Event", "LocalizedVideo", "MediaError", "Predictor", "finds_events", "load"]
