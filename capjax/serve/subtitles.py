"""Captions with times as subtitle files: SubRip (SRT) and WebVTT."""

from collections.abc import Iterable
from typing import NamedTuple

MEDIA_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt"}
# Long enough to be read, for an event without length.
_MIN_SECONDS = 0.001


class Cue(NamedTuple):
    """A text that is shown from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


def write_subtitles(cues: Iterable[Cue], output_format: str) -> str:
    """Returns a subtitle file.

    Args:
      cues: in order of start.
      output_format: `srt` or `vtt`.
    """
    separator, escape = (",", str) if output_format == "srt" else (".", _escape)
    blocks = [] if output_format == "srt" else ["WEBVTT\n"]
    for number, cue in enumerate(cues, 1):
        end = max(cue.end, cue.start + _MIN_SECONDS)
        times = f"{_clock(cue.start, separator)} --> {_clock(end, separator)}"
        # An empty line would end the cue.
        text = escape(" ".join(cue.text.split()))
        blocks.append(f"{number}\n{times}\n{text}\n")
    return "\n".join(blocks)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, separator: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{separator}{milliseconds % 1000:03}"
