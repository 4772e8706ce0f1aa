"""Matching the ids of predictions with those of references, where two files write them differently."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from capjax.metrics.messages import option, shorten

Id = int | str
P = TypeVar("P", str, list[str])


def _text(id: Id) -> str:
    """Returns an id in Unicode's normal form C: macOS lists file names in form D."""
    return unicodedata.normalize("NFC", str(id))


def _file_name(id: Id) -> str:
    return re.split(r"[\\/]", _text(id))[-1]


def _coco_number(id: Id) -> str | None:
    """Returns 391895 for 391895, COCO_val2014_000000391895.jpg and val2017/000000391895.jpg."""
    number = re.fullmatch(r"(?:COCO_[A-Za-z]+\d*_)?(\d+)(?:\.(?:jpg|jpeg|png))?", _file_name(id), re.IGNORECASE)
    return number and (number[1].lstrip("0") or "0")


def _stem(id: Id) -> str:
    suffix = r"\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|mp4|avi|mkv|webm|mov)$"
    return re.sub(suffix, "", _file_name(id), flags=re.IGNORECASE)


# id -> key; ids with the same key are the same item. The first rule that matches any two ids is used for all.
RULES: dict[str, Callable[[Id], str | None]] = {
    "id": _text,
    "COCO's image number": _coco_number,
    "file name": _file_name,
    "file name without suffix": _stem,
    "file name without suffix, in lower case": lambda id: _stem(id).casefold(),
}


def match_ids(
    predictions: Mapping[Id, P], references: Mapping[Id, Sequence[str]], *, missing: str = "error", extra: str = "error"
) -> tuple[dict[Id, P], dict[Id, list[str]], dict[str, int | str]]:
    """Returns predictions and references under the same ids: those of the references, in their order.

    Ids match if they are written alike (12 and "12" too, and letters composed or decomposed). If none do, they are
    compared by COCO's image number (`COCO_val2014_000000391895.jpg`, `000000391895.jpg` and 391895), else by file name
    without folder (`photos/a.jpg` and `a.jpg`), else by file name without suffix, else by the same in lower case,
    provided that all ids of a side stay different.

    Args:
      predictions: {id: caption} or {id: captions}.
      missing: how to treat references without a prediction: `error`; `zero`, score an empty caption (or a set of one);
        or `drop`, leave them out.
      extra: how to treat predictions without references: `error` or `ignore`.

    Returns:
      (predictions, references, counts): counts are `items`, `missing`, `extra`, `empty` (predictions without a word,
      not counting those added by missing=zero) and `matched_by`, the name of the rule.

    Raises:
      ValueError: ids do not match; the message names the first five.
    """
    if missing not in ("error", "zero", "drop"):
        raise ValueError(f"missing={missing!r}: expected error, zero or drop")
    if extra not in ("error", "ignore"):
        raise ValueError(f"extra={extra!r}: expected error or ignore")
    if not predictions:
        raise ValueError("there are no predictions")
    if not references:
        raise ValueError("there are no references")
    rule, prediction_ids, reference_ids = _match(predictions, references)
    only_predicted = [id for key, id in prediction_ids.items() if key not in reference_ids]
    if only_predicted and extra == "error":
        raise ValueError(
            f"no references for {shorten(only_predicted)}; correct the ids, name the references of these items, or "
            "leave these predictions out with "
            f"{option('extra', 'ignore')}"
        )
    unpredicted = [id for key, id in reference_ids.items() if key not in prediction_ids]
    if unpredicted and missing == "error":
        raise ValueError(
            f"no prediction for {shorten(unpredicted)}; name the split that was predicted, count these as empty "
            f"captions with {option('missing', 'zero')}, or leave them out with {option('missing', 'drop')} (which is "
            "another, easier test)"
        )
    matched: dict[Id, P] = {}
    kept: dict[Id, list[str]] = {}
    no_caption = "" if isinstance(next(iter(predictions.values())), str) else [""]
    empty = 0
    for key, id in reference_ids.items():
        if key in prediction_ids:
            matched[id] = predictions[prediction_ids[key]]
            empty += not any(text.strip() for text in _captions(matched[id]))
        elif missing == "zero":
            matched[id] = no_caption  # type: ignore[assignment]
        else:
            continue
        kept[id] = list(references[id])
    counts: dict[str, int | str] = {
        "items": len(kept), "missing": len(unpredicted), "extra": len(only_predicted), "empty": empty,
        "matched_by": rule,
    }  # fmt: skip
    return matched, kept, counts


def _captions(prediction) -> Sequence[str]:
    return [prediction] if isinstance(prediction, str) else prediction


def _match(predictions, references) -> tuple[str, dict[str, Id], dict[str, Id]]:
    """Returns the name of the rule, {key: id} of the predictions and {key: id} of the references."""
    for name, rule in RULES.items():
        keys = {key for id in references if (key := rule(id)) is not None}
        if any(rule(id) in keys for id in predictions):
            return name, _by_key(predictions, rule, name, "predictions"), _by_key(references, rule, name, "references")
    raise ValueError(
        f"no id of the predictions is an id of the references: predictions of {shorten(predictions)}; "
        f"references of {shorten(references)}. Write the same ids in both files"
    )


def _by_key(ids, rule, name: str, side: str) -> dict[str, Id]:
    """Returns {key: id}. An id for which the rule has no key, such as a word among COCO's numbers, is its own key."""
    by_key: dict[str, Id] = {}
    for id in ids:
        key = rule(id)
        first = by_key.setdefault(str(id) if key is None else key, id)
        if first is not id:
            raise ValueError(
                f"{side}: {first!r} and {id!r} are the same by {name}, by which the ids of predictions and references "
                "are compared; write the same ids in both files, each once"
            )
    return by_key
