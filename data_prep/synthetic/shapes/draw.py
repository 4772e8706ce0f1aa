"""Draws scenes."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from data_prep.synthetic.shapes.scene import COLORS, Scene

# Scenes are drawn this many times larger, then reduced, for smooth edges.
_OVERSAMPLE = 3


def draw(scene: Scene, size: int) -> Image.Image:
    """Draws an RGB picture of `size` x `size` pixels: flat shapes on a pale background with a gradient."""
    rng = np.random.default_rng([*scene.seed, 1])
    corners = rng.uniform(205, 255, (2, 2, 3)).astype(np.uint8)
    large = size * _OVERSAMPLE
    picture = Image.fromarray(corners).resize((large, large), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    for thing in scene.things:
        shade = rng.uniform(0.88, 1.1)
        color = tuple(int(min(255, channel * shade)) for channel in COLORS[thing.color])
        pen.polygon([tuple(corner) for corner in (thing.corners() * large).tolist()], fill=color)
    return picture.resize((size, size), Image.Resampling.BOX)


@dataclass(frozen=True, slots=True)
class SceneImage:
    """A picture that is drawn when called: returns the bytes of a JPEG file. Small until then, and picklable."""

    scene: Scene
    size: int

    def __call__(self) -> bytes:
        file = io.BytesIO()
        # Full chroma resolution: at 64 pixels, subsampled colors would bleed into each other.
        draw(self.scene, self.size).save(file, "JPEG", quality=92, subsampling=0)
        return file.getvalue()
