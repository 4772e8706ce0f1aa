"""The page of an explanation: one HTML file with the photo or frames of the video, and the map of each word over it."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import TypedDict

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Float32, UInt8

from capjax.explain.explanation import Explanation, HeatMaps
from capjax.explain.overlay import shown_frames, tint
from capjax.pages.rendering import data_uri, render

# Longest sides in pixels: of a photo, of a frame, and of a map, which the browser enlarges.
_PHOTO, _FRAME, _MAP = 960, 320, 320
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")


class TargetView(TypedDict):
    """The view of one word, or of the whole caption, with one method."""

    overlays: list[str]  # URI of the map over each shown frame
    description: str
    curve: str  # points of an SVG polyline over time, of a video


def explanation_page(explanation: Explanation) -> str:
    """Returns the HTML page of an explanation. It loads nothing, and its words are buttons."""
    numbers = shown_frames(len(explanation.frames))
    pictures = [_shrink(explanation.frames[number], _FRAME if explanation.is_video else _PHOTO) for number in numbers]
    frames = [
        {"picture": data_uri(simplejpeg.encode_jpeg(picture, 85)), "time": explanation.times[number]}
        for number, picture in zip(numbers, pictures, strict=True)
    ]
    maps = {
        method: [target_view(explanation, method, target, numbers) for target in range(len(maps.values))]
        for method, maps in explanation.maps.items()
    }
    name = PurePath(explanation.media).name
    return render(
        "explanation.html", scripts=["explanation.js"], title=f"Explanation of {name}", name=name,
        explanation=explanation, parts=_parts(explanation), frames=frames, maps=maps,
    )  # fmt: skip


def contents_page(names: Sequence[str], captions: Sequence[str], errors: Sequence[str]) -> str:
    """Returns the HTML page that links to the explanations of a folder.

    Args:
      names: the folders of the explanations.
      captions: their captions.
      errors: messages about photos and videos that could not be explained.
    """
    entries = [*zip(names, captions, strict=True)]
    return render("explanations.html", title="Explanations", entries=entries, errors=errors)


def _parts(explanation: Explanation) -> list[tuple[str, int | None]]:
    """The caption as words with their numbers, and the text between them."""
    parts: list[tuple[str, int | None]] = []
    end = 0
    for number, word in enumerate(explanation.words):
        parts += [(explanation.caption[end : word.start], None), (explanation.caption[word.start : word.end], number)]
        end = word.end
    return [part for part in [*parts, (explanation.caption[end:], None)] if part[0]]


def target_view(explanation: Explanation, method: str, target: int, numbers: Sequence[int]) -> TargetView:
    """Returns the maps of a word by its number, or of the whole caption after the last word.

    Args:
      numbers: the frames that are shown.
    """
    maps = explanation.maps[method]
    values = maps.values[target]
    scale = float(np.abs(values).max()) or 1.0
    overlays = []
    for number in numbers:
        nearest = int(np.abs(maps.times - explanation.times[number]).argmin())
        overlays.append(data_uri(_webp(values[nearest] / scale, maps)))
    is_whole = target == len(maps.values) - 1
    subject = "The whole caption" if is_whole else explanation.words[target].text
    log_prob = explanation.log_prob if is_whole else explanation.words[target].log_prob
    where = _strongest(explanation, maps, target)
    return {
        "overlays": overlays,
        "description": f"{subject}: probability {np.exp(log_prob):.2g}. {method}: {where}.",
        "curve": _curve(maps, target) if explanation.is_video else "",
    }


def _strongest(explanation: Explanation, maps: HeatMaps, target: int) -> str:
    """Says where a map is strongest."""
    values = maps.values[target]
    if values.max() <= 0:
        return "no part speaks for it"
    frame = int(values.max((1, 2)).argmax())
    places = []
    if values[frame].size > 1:
        x, y = maps.geometry.peak(values[frame])
        row, column = (
            min(int(3 * each / size), 2) for each, size in ((y, maps.geometry.height), (x, maps.geometry.width))
        )
        places.append("center" if row == column == 1 else f"{_ROWS[row]} {_COLUMNS[column]}")
    if explanation.is_video:
        places.append(f"{maps.times[frame]:.1f} s")
    return f"strongest at {', '.join(places)}"


def _webp(share: Float32[np.ndarray, "rows columns"], maps: HeatMaps) -> bytes:
    """A map as a picture with an alpha channel, of the shape of the photo or frame that it lies over."""
    geometry = maps.geometry
    factor = min(1.0, _MAP / max(geometry.width, geometry.height))
    geometry = geometry.resized(max(1, round(geometry.width * factor)), max(1, round(geometry.height * factor)))
    color, alpha = tint(geometry.resample(share))
    pixels = np.concatenate([color[..., ::-1], 255 * alpha], axis=-1)
    is_encoded, data = cv2.imencode(".webp", np.round(pixels).astype(np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 80])
    assert is_encoded
    return data.tobytes()


def _curve(maps: HeatMaps, target: int) -> str:
    """The curve of a map over time, in a box of 100 x 30."""
    curve, times = maps.curve(target), maps.times
    low, high = min(float(curve.min()), 0.0), max(float(curve.max()), 0.0)
    y = 29 - 28 * (curve - low) / ((high - low) or 1.0)
    x = 100 * (times - times[0]) / (float(times[-1] - times[0]) or 1.0)
    return " ".join(f"{each:.1f},{value:.1f}" for each, value in zip(x, y, strict=True))


def _shrink(jpeg: bytes, longest: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture whose longer side has at most `longest` pixels."""
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    factor = min(1.0, longest / max(height, width))
    height, width = max(1, round(height * factor)), max(1, round(width * factor))
    picture = simplejpeg.decode_jpeg(jpeg, "RGB", min_height=height, min_width=width)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
