"""Draws moving scenes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from data_prep.synthetic.moving.scene import Drawn, MovingScene
from data_prep.synthetic.mp4 import encode

# Scenes are drawn this many times larger, then reduced, for smooth edges.
_OVERSAMPLE = 4
# Fractional bits of a coordinate, so that slow things do not jump from pixel to pixel.
_SHIFT = 8


def background(seed: tuple[int, int], side: int) -> np.ndarray:
    """A pale background with a gradient, uint8 [side, side, 3]."""
    corners = np.random.default_rng([*seed, 1]).uniform(205, 255, (2, 2, 3)).astype(np.uint8)
    return np.array(Image.fromarray(corners).resize((side, side), Image.Resampling.BILINEAR))


def paint(ground: np.ndarray, things: Sequence[Drawn]) -> np.ndarray:
    """A copy of the background, uint8 [h, h, 3], with the things drawn on it."""
    picture = ground.copy()
    for thing in things:
        if thing.opacity == 0 or thing.size == 0:
            continue
        # Coordinates of a pixel are those of its center.
        corners = np.round((thing.corners() * len(ground) - 0.5) * 2**_SHIFT).astype(np.int32)
        layer = picture if thing.opacity == 1 else picture.copy()
        cv2.fillPoly(layer, [corners], thing.rgb, cv2.LINE_AA, _SHIFT)
        if layer is not picture:
            picture = cv2.addWeighted(layer, thing.opacity, picture, 1 - thing.opacity, 0)
    return picture


def frames(scene: MovingScene, size: int, fps: float) -> Iterator[np.ndarray]:
    """Yields RGB frames, uint8 [size, size, 3]; frame k shows the scene at k / fps seconds."""
    ground = background(scene.seed, size * _OVERSAMPLE)
    drawn_things: list[Drawn] | None = None
    for k in range(round(scene.duration * fps)):
        things = scene.state(k / fps)
        if things != drawn_things:
            drawn_things = things
            picture = cv2.resize(paint(ground, things), (size, size), interpolation=cv2.INTER_AREA)
        yield picture


@dataclass(frozen=True, slots=True)
class MovingVideo:
    """A video that is rendered when called: returns the bytes of an mp4 file. Small until then, and picklable."""

    scene: MovingScene
    size: int = 64
    fps: float = 12.5

    def __call__(self) -> bytes:
        return encode(frames(self.scene, self.size, self.fps), self.fps)
