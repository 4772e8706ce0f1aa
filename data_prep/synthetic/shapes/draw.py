"""Scenes to pictures."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from data_prep.synthetic.shapes.scene import COLOURS, Scene

# Drawn so many times larger, then reduced: smooth edges.
_OVERSAMPLE = 3


def draw(scene: Scene, size: int) -> Image.Image:
    """An RGB picture of `size` pixels a side: flat shapes on a pale background that darkens to one side."""
    rng = np.random.default_rng([*scene.seed, 1])
    corners = rng.uniform(205, 255, (2, 2, 3)).astype(np.uint8)
    large = size * _OVERSAMPLE
    picture = Image.fromarray(corners).resize((large, large), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    for thing in scene.things:
        shade = rng.uniform(0.88, 1.1)
        colour = tuple(int(min(255, channel * shade)) for channel in COLOURS[thing.colour])
        pen.polygon([tuple(corner) for corner in (thing.corners() * large).tolist()], fill=colour)
    return picture.resize((size, size), Image.Resampling.BOX)


@dataclass(frozen=True, slots=True)
class SceneImage:
    """Called, it gives the picture as the bytes of a JPEG file; until then it is small, and can be sent to a worker."""

    scene: Scene
    size: int

    def __call__(self) -> bytes:
        file = io.BytesIO()
        # Full colour resolution: at 64 pixels the usual halving bleeds colours into each other.
        draw(self.scene, self.size).save(file, "JPEG", quality=92, subsampling=0)
        return file.getvalue()
