"""Which prediction belongs to which references, where two files write the ids differently."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from capjax.metrics.messages import shorten

Id = int | str
P = TypeVar("P")


def _text(id: Id) -> str:
    return str(id)


def _path(id: Id) -> str:
    return re.split(r"[\\/]", str(id))[-1]


def _coco_number(id: Id) -> str | None:
    """391895 of 391895, COCO_val2014_000000391895.jpg and val2017/000000391895.jpg."""
    found = re.fullmatch(r"(?:COCO_[A-Za-z]+\d*_)?0*(\d+)(?:\.(?:jpg|jpeg|png))?", _path(id), re.IGNORECASE)
    return found and found[1]


def _stem(id: Id) -> str:
    return re.sub(r"\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|mp4|avi|mkv|webm|mov)$", "", _path(id), flags=re.IGNORECASE)


# What two ids that are one have in common, tried in this order; the first that fits anything is taken for all.
RULES: dict[str, Callable[[Id], str | None]] = {
    "id": _text,
    "COCO's image number": _coco_number,
    "file name": _path,
    "file name without suffix": _stem,
}


def align(
    predictions: Mapping[Id, P], references: Mapping[Id, Sequence[str]], *, missing: str = "error", extra: str = "error"
) -> tuple[dict[Id, P], dict[Id, list[str]], dict[str, int | str]]:
    """Predictions and references under the same ids: those of the references, in their order.

    Ids are the same if they are written the same, 12 and "12" included. If none is, they are compared by COCO's image
    number (`COCO_val2014_000000391895.jpg`, `000000391895.jpg` and 391895), else by file name without folder
    (`photos/a.jpg` and `a.jpg`), else by that without its suffix, if no two ids of a side become one by it.

    Args:
      predictions: {id: caption}, or {id: captions}.
      missing: what becomes of references without a prediction: `error`; `zero`, the empty caption (or set of one) is
        scored; or `drop`, they are left out.
      extra: what becomes of predictions without references: `error`, or `ignore`.

    Returns:
      (predictions, references, counts): `items`, and how many were `missing`, `extra` and `empty` (predictions without
      a word, those of missing=zero not included), and `matched_by`, the rule of the ids.

    Raises:
      ValueError: ids that do not fit; the first five are named, the rest counted.
    """
    if missing not in ("error", "zero", "drop"):
        raise ValueError(f"missing={missing!r}: expected error, zero or drop")
    if extra not in ("error", "ignore"):
        raise ValueError(f"extra={extra!r}: expected error or ignore")
    if not predictions:
        raise ValueError("there are no predictions")
    if not references:
        raise ValueError("there are no references")
    rule, keyed_predictions, keyed_references = _match(predictions, references)
    surplus = [id for key, id in keyed_predictions.items() if key not in keyed_references]
    if surplus and extra == "error":
        raise ValueError(
            f"no references for {shorten(surplus)}; correct the ids, name the references that were predicted for, or "
            "leave these predictions out with extra=ignore"
        )
    absent = [id for key, id in keyed_references.items() if key not in keyed_predictions]
    if absent and missing == "error":
        raise ValueError(
            f"no prediction for {shorten(absent)}; name the split that was predicted, count these as empty captions "
            "with missing=zero, or leave them out with missing=drop (which is another, easier test)"
        )
    aligned: dict[Id, P] = {}
    kept: dict[Id, list[str]] = {}
    nothing = "" if isinstance(next(iter(predictions.values())), str) else [""]
    empty = 0
    for key, id in keyed_references.items():
        if key in keyed_predictions:
            aligned[id] = predictions[keyed_predictions[key]]
            empty += not any(text.strip() for text in _captions(aligned[id]))
        elif missing == "zero":
            aligned[id] = nothing
        else:
            continue
        kept[id] = list(references[id])
    counts = {
        "items": len(kept), "missing": len(absent), "extra": len(surplus), "empty": empty, "matched_by": rule,
    }  # fmt: skip
    return aligned, kept, counts


def _captions(prediction) -> Sequence[str]:
    return [prediction] if isinstance(prediction, str) else prediction


def _match(predictions, references) -> tuple[str, dict[str, Id], dict[str, Id]]:
    """(rule, {key: id} of the predictions, {key: id} of the references)."""
    for name, rule in RULES.items():
        known = {key for id in references if (key := rule(id)) is not None}
        if any(rule(id) in known for id in predictions):
            return name, _keyed(predictions, rule, name, "predictions"), _keyed(references, rule, name, "references")
    raise ValueError(
        f"no id of the predictions is one of the references': predictions of {shorten(predictions)}; "
        f"references of {shorten(references)}. Write the same ids in both files"
    )


def _keyed(ids, rule, name: str, side: str) -> dict[str, Id]:
    """{key: id}; an id without a key, such as a word among COCO's numbers, is its own."""
    keyed: dict[str, Id] = {}
    for id in ids:
        key = rule(id)
        first = keyed.setdefault(str(id) if key is None else key, id)
        if first is not id:
            raise ValueError(
                f"{side}: {first!r} and {id!r} are one by {name}, by which the ids of predictions and references are "
                "compared; write the same ids in both files, each once"
            )
    return keyed
