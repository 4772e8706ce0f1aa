"""Media with captions, and tiny trained models to explain them with."""

from pathlib import Path

import cv2
import numpy as np

from capjax.explain.model import CaptionedBatch, CaptionModel

FIXTURES = Path(__file__).parents[1] / "fixtures/v0.1.0"
VIDEOS = sorted((FIXTURES / "media/videos").glob("*.mp4"))


def blotches(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """A picture of a few soft blotches of color."""
    colors = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return cv2.resize(colors, (width, height), interpolation=cv2.INTER_CUBIC)


def make_batch(model: CaptionModel, media: list, caption: str = "a red picture") -> CaptionedBatch:
    """A batch of photos or videos with one caption."""
    samples = [model.predictor.read(each) for each in media]
    tokens, lang = model.vocabulary.encode(caption), model.predictor.languages[0]
    items = [model.item("name", sample, sample.frames[0], tokens, lang) for sample in samples]
    return model.batch(items, model.media(samples))
