"""`predictions.json` in the form that a benchmark's server takes. capjax.metrics.files reads all of them back.

    coco     [{"image_id": 42, "caption": "..."}, ...]
    msrvtt   {"version": "VERSION 1.0", "result": [{"video_id": "video7010", "caption": "..."}, ...],
              "external_data": {"used": true, "details": "..."}}
    plain    {id: caption}, as VATEX has it

Events are always written in ActivityNet's form, see capjax.metrics.activitynet.
"""

from collections.abc import Mapping
from types import MappingProxyType

FORMS = ("coco", "msrvtt", "plain")
NO_EXTERNAL_DATA = MappingProxyType({"used": False, "details": ""})


def to_output_format(predictions: Mapping[str, str], form: str, external_data: Mapping[str, object]) -> list | dict:
    """{record id: caption} as JSON.

    Args:
      form: one of FORMS.
      external_data: what else than the dataset was learned from: `used` and `details`, as servers ask for it.
    """
    if form == "plain":
        return dict(predictions)
    if form == "msrvtt":
        rows = [{"video_id": id, "caption": text} for id, text in predictions.items()]
        return {"version": "VERSION 1.0", "result": rows, "external_data": dict(external_data)}
    return [{"image_id": _image_id(id), "caption": text} for id, text in predictions.items()]


def _image_id(record_id: str) -> int | str:
    """COCO's ids are numbers, and its server wants them as such."""
    return int(record_id) if record_id.isdecimal() and str(int(record_id)) == record_id else record_id
