"""Heat maps drawn over the pictures that they explain.

h w: height and width of a picture in pixels.
"""

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Float32, UInt8

from capjax.explain.explanation import Explanation, HeatMaps

# Share of the color in the overlay where a map is largest.
_STRONGEST = np.float32(0.75)
# RGB where a map is negative.
_AGAINST = np.array([40, 90, 255], np.float32)
# Largest number of frames of a video that are shown.
_MAX_FRAMES = 8


def overlay(
    picture: UInt8[np.ndarray, "h w 3"], map: Float32[np.ndarray, "rows columns"], maps: HeatMaps, scale: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a picture under the colors of a map: from purple to yellow for a word, blue against it.

    Args:
      maps: those that the map belongs to, for their geometry.
      scale: the value that is shown strongest.
    """
    height, width = picture.shape[:2]
    share = np.clip(map / scale if scale > 0 else np.zeros_like(map), -1, 1).astype(np.float32)
    geometry = maps.geometry.resized(width, height)
    out = np.empty_like(picture)
    # In bands, because a photo may have a hundred million pixels.
    for top in range(0, height, 256):
        band = slice(top, min(top + 256, height))
        strength = geometry.resample(share, band)
        color, alpha = tint(strength)
        out[band] = np.round((1 - alpha) * picture[band] + alpha * color)
    return out


def tint(strength: Float32[np.ndarray, "h w"]) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 1"]]:
    """Returns the color (RGB, 0 to 255) and the opacity (0 to 1) of map values from -1 to 1."""
    levels = (np.clip(strength, 0, 1) * 255).astype(np.uint8)
    color = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB).astype(np.float32)
    return np.where(strength[..., None] < 0, _AGAINST, color), _STRONGEST * np.abs(strength)[..., None]


def word_overlay(explanation: Explanation, method: str, word: str | int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the photo under the map of a word, or of the whole caption (None); of a video several frames in a row.

    Raises:
      ValueError: there is no such method or word; see `Explanation.map`.
    """
    maps = explanation.map(method, word)
    (values,) = maps.values
    scale = float(np.abs(values).max())
    shown = []
    for number in shown_frames(len(maps.times)):
        nearest = int(np.abs(np.asarray(explanation.times) - maps.times[number]).argmin())
        picture = simplejpeg.decode_jpeg(explanation.frames[nearest], "RGB")
        shown.append(overlay(picture, values[number], maps, scale))
    return np.concatenate(shown, axis=1)


def shown_frames(count: int) -> list[int]:
    """Returns the numbers of evenly spaced frames of a video: those that are shown."""
    shown = min(count, _MAX_FRAMES)
    return [int((number + 0.5) * count / shown) for number in range(shown)]


def png(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Returns a picture as a PNG file."""
    is_encoded, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert is_encoded
    return data.tobytes()
