"""Formats of `predictions.json`, as the servers of benchmarks take them. capjax.metrics.files reads all of them back.

    coco     [{"image_id": 42, "caption": "..."}, ...]
    msrvtt   {"version": "VERSION 1.0", "result": [{"video_id": "video7010", "caption": "..."}, ...],
              "external_data": {"used": true, "details": "..."}}
    plain    {id: caption}, as in VATEX

Events are always written as an ActivityNet submission, see capjax.metrics.activitynet.
"""

from collections.abc import Mapping
from types import MappingProxyType

FORMATS = ("coco", "msrvtt", "plain")
NO_EXTERNAL_DATA = MappingProxyType({"used": False, "details": ""})


def to_output_format(
    predictions: Mapping[str, str], output_format: str, external_data: Mapping[str, object]
) -> list | dict:
    """Converts {record id: caption} to JSON values.

    Args:
      predictions: the captions.
      output_format: one of FORMATS.
      external_data: training data beside the dataset, as servers ask for it: `used` and `details`.
    """
    if output_format == "plain":
        return dict(predictions)
    if output_format == "msrvtt":
        rows = [{"video_id": id, "caption": text} for id, text in predictions.items()]
        return {"version": "VERSION 1.0", "result": rows, "external_data": dict(external_data)}
    return [{"image_id": _image_id(id), "caption": text} for id, text in predictions.items()]


def _image_id(record_id: str) -> int | str:
    """COCO's ids are numbers, and its server expects numbers."""
    return int(record_id) if record_id.isdecimal() and str(int(record_id)) == record_id else record_id
