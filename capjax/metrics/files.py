"""Captions from the files that people have, for the scorer.

    coco           {"images": [{"id"}], "annotations": [{"image_id", "caption"}]}
    coco_results   [{"image_id", "caption"}]
    karpathy       {"images": [{"cocoid" or "filename" or "imgid", "split", "sentences": [{"raw"}]}]}
    jsonl          a line each: {"image_id" or "id" or "image" or "path": ..., "captions": [...] or "caption": ...}
                   with lang and split if wanted; or one list of such objects
    msrvtt         {"sentences": [{"video_id", "caption"}], "videos": [{"video_id", "split"}]}
    msrvtt_results {"result": [{"video_id", "caption"}]}
    mapping        {id: caption} or {id: [captions]}
    activitynet    {id: {"duration", "timestamps", "sentences"}} and, as activitynet_submission, {"results": {id:
                   [{"sentence", "timestamp"}]}}: recognized here, read by capjax.metrics.activitynet

A caption is text, or an object with `text` (or `caption`) and, if wanted, `lang`. Ids are text or whole numbers. Files
are UTF-8. What does not fit is a ValueError that names file and place, what was expected and what to do.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from capjax.metrics.id_matching import align
from capjax.metrics.strict_json import Lines, parse

__all__ = ["align", "kind_of", "read_prediction_sets", "read_predictions", "read_references"]

_ID_KEYS = ("image_id", "id", "image", "path")  # beside an image_id, COCO's id is that of the caption
_SPLITS = {"training": "train", "dev": "val", "valid": "val", "validation": "val", "testing": "test"}
_DENSE = ("activitynet", "activitynet_submission")


class _Entry(NamedTuple):
    """What one place of a file says of one item; `captions` are as they stand there, to be checked."""

    place: str
    id: object
    captions: list
    split: object = None
    lang: object = None


def read_references(
    path: Path | str, *, lang: str | None = None, split: str | None = None, drop_empty: bool = False
) -> dict[int | str, list[str]]:
    """{id: captions} of a file of references, in its order.

    Args:
      lang: read the captions of this language; those that name no language count as of it. Items with none are left
        out. It must be given where the file has captions in several.
      split: read the items of this split, for kinds that name one (karpathy, msrvtt, jsonl).
      drop_empty: leave out empty captions (and items that have no others) rather than raise an error.

    Raises:
      FileNotFoundError, IsADirectoryError.
      ValueError: see above; also for an empty caption and an id that stands twice where each should once.
    """
    path = Path(path)
    kind, data = _load(path)
    _not_dense(kind, path)
    references: dict[int | str, list[str]] = {}
    places: dict[str, str] = {}
    for place, id, texts in _texts(kind, data, path, lang, split):
        for number, text in enumerate(texts):
            if not drop_empty and not text.strip():
                which = f" captions[{number}]" if len(texts) > 1 else ""
                raise ValueError(
                    f"{place}:{which} an empty caption of {id!r}; a reference needs words: correct or delete it"
                )
        texts = [text for text in texts if text.strip()]
        if kind in ("coco", "coco_results") and id in references:
            references[id] += texts
        elif texts:
            _once(places, id, place, 'put all captions of an item in one place, in "captions"')
            references[id] = texts
    if not references:
        raise ValueError(f"{path}: no captions in it")
    return references


def read_predictions(path: Path | str, *, lang: str | None = None) -> dict[int | str, str]:
    """{id: caption} of a file of predictions, in its order. Captions may be empty: `align` counts them.

    Args:
      lang: as in `read_references`.

    Raises:
      FileNotFoundError, IsADirectoryError.
      ValueError: see above; also for an id that stands twice and for several captions of an item.
    """
    path = Path(path)
    kind, data = _load(path)
    _only_predictions(kind, path)
    predictions: dict[int | str, str] = {}
    places: dict[str, str] = {}
    for place, id, texts in _texts(kind, data, path, lang, None):
        _once(places, id, place, "keep one prediction for each item")
        if len(texts) > 1:
            raise ValueError(
                f"{place}: {len(texts)} captions for {id!r}; expected one to score (several are for diversity)"
            )
        predictions[id] = texts[0]
    if not predictions:
        raise ValueError(f"{path}: no captions in it")
    return predictions


def read_prediction_sets(path: Path | str, *, lang: str | None = None) -> dict[int | str, list[str]]:
    """{id: captions} of a file with several predictions for each item, in one place of it or in many.

    Raises: as `read_predictions`, but that an id may stand more than once.
    """
    path = Path(path)
    kind, data = _load(path)
    _only_predictions(kind, path)
    sets: dict[int | str, list[str]] = {}
    for _, id, texts in _texts(kind, data, path, lang, None):
        sets.setdefault(id, []).extend(texts)
    if not sets:
        raise ValueError(f"{path}: no captions in it")
    return sets


def kind_of(source: Path | str | list | dict) -> str:
    """The kind of a file, or of JSON already parsed: one of the table above.

    Raises:
      FileNotFoundError, IsADirectoryError; ValueError: no JSON, or of none of these kinds.
    """
    return _load(Path(source))[0] if isinstance(source, (str, Path)) else _kind(source, "this JSON")


def _load(path: Path) -> tuple[str, object]:
    data = parse(path)
    return ("jsonl" if isinstance(data, Lines) else _kind(data, str(path))), data


def _kind(data: object, where: str) -> str:
    """Raises ValueError for what is of no kind."""
    forms = "COCO, Karpathy, MSR-VTT, JSON lines, {id: captions} or ActivityNet"
    if not isinstance(data, (list, dict)) or not data:
        raise ValueError(f"{where}: {_found(data)}; expected captions as {forms}")
    if isinstance(data, list):
        first = data[0]
        if not isinstance(first, dict) or not first.keys() & {"caption", "captions"}:
            raise ValueError(f"{where}: a list of which the first is {_found(first)}; expected image_id and caption")
        return "coco_results" if {"image_id", "caption"} <= first.keys() else "jsonl"
    if isinstance(data.get("annotations"), list):
        return "coco"
    if isinstance(data.get("images"), list):
        if not any(isinstance(row, dict) and "sentences" in row for row in data["images"][:100]):
            raise ValueError(f"{where}: images without captions; expected COCO's annotations or Karpathy's sentences")
        return "karpathy"
    if isinstance(data.get("results"), dict):
        return "activitynet_submission"
    for key, kind in (("sentences", "msrvtt"), ("result", "msrvtt_results")):
        if isinstance(rows := data.get(key), list) and rows and isinstance(rows[0], dict) and "video_id" in rows[0]:
            return kind
    if data.keys() & {"caption", "captions"} and data.keys() & set(_ID_KEYS):
        return "jsonl"
    first = next(iter(data.values()))
    return "activitynet" if isinstance(first, dict) and first.keys() >= {"timestamps", "sentences"} else "mapping"


def _entries(kind: str, data, path: Path) -> Iterator[_Entry]:
    """Every place that gives captions of an item. Raises ValueError for one of another form."""
    if kind == "coco":
        yield from _coco(data, path)
    elif kind == "karpathy":
        for number, row in enumerate(data["images"]):
            place = f"{path}: images[{number}]"
            sentences = _dict(row, place).get("sentences")
            if not isinstance(sentences, list):
                raise ValueError(f"{place}: sentences: expected a list, found {_found(sentences)}")
            texts = [_dict(s, f"{place}: sentences[{n}]").get("raw") for n, s in enumerate(sentences)]
            yield _Entry(place, _first(row, ("cocoid", "filename", "imgid"), place), texts, row.get("split"))
    elif kind == "msrvtt":
        yield from _msrvtt(data, path)
    elif kind == "msrvtt_results":
        for number, row in enumerate(data["result"]):
            place = f"{path}: result[{number}]"
            yield _Entry(place, _first(row, ("video_id",), place), [_first(row, ("caption",), place)])
    elif kind == "mapping":
        for id, captions in data.items():
            yield _Entry(f"{path}: {id!r:.80}", id, captions if isinstance(captions, list) else [captions])
    else:
        if isinstance(data, Lines):
            rows = ((f"{path}:{number}", row) for number, row in data)
        else:
            rows = ((f"{path}: [{n}]", row) for n, row in enumerate(data if isinstance(data, list) else [data]))
        for place, row in rows:
            given = [key for key in ("captions", "caption") if key in _dict(row, place)]
            if len(given) != 1:
                raise ValueError(f"{place}: expected caption or captions, found {_keys(row)}")
            captions = row[given[0]]
            if given[0] == "captions" and not isinstance(captions, list):
                raise ValueError(f"{place}: captions: expected a list, found {_found(captions)}")
            captions = captions if given[0] == "captions" else [captions]
            yield _Entry(place, _first(row, _ID_KEYS, place), captions, row.get("split"), row.get("lang"))


def _coco(data: dict, path: Path) -> Iterator[_Entry]:
    seen: dict[str, str] = {}
    images = data.get("images", [])
    if not isinstance(images, list):
        raise ValueError(f"{path}: images: expected a list, found {_found(images)}")
    for number, row in enumerate(images):
        place = f"{path}: images[{number}]"
        _once(seen, _id(_first(row, ("id",), place), place), place, "each image should be listed once")
    captions: dict[str, str] = {}
    for number, row in enumerate(data["annotations"]):
        place = f"{path}: annotations[{number}]"
        id = _id(_first(row, ("image_id",), place), place)
        if seen and str(id) not in seen:
            raise ValueError(f"{place}: image_id {id!r} is the id of none of the images listed in this file")
        if "caption" not in row:
            raise ValueError(f"{place}: expected image_id and caption, found {_keys(row)}")
        if "id" in row:
            _once(captions, _id(row["id"], place), place, "each annotation has an id of its own")
        yield _Entry(place, id, [row["caption"]])


def _msrvtt(data: dict, path: Path) -> Iterator[_Entry]:
    """Sentences by video: an annotation file has them in any order."""
    videos = data.get("videos", [])
    if not isinstance(videos, list):
        raise ValueError(f"{path}: videos: expected a list, found {_found(videos)}")
    splits = {}
    for number, row in enumerate(videos):
        splits[_first(row, ("video_id",), f"{path}: videos[{number}]")] = row.get("split")
    captions: dict[object, list] = {}
    places: dict[object, str] = {}
    for number, row in enumerate(data["sentences"]):
        place = f"{path}: sentences[{number}]"
        id = _id(_first(row, ("video_id",), place), place)
        captions.setdefault(id, []).append(_first(row, ("caption",), place))
        places.setdefault(id, place)
    for id, texts in captions.items():
        yield _Entry(places[id], id, texts, splits.get(id))


def _texts(
    kind: str, data, path: Path, lang: str | None, split: str | None
) -> Iterator[tuple[str, int | str, list[str]]]:
    """(place, id, checked captions) of the entries of a language and split; entries with none of them are left out."""
    if split is not None and kind not in ("karpathy", "jsonl", "msrvtt"):
        raise ValueError(f"{path}: a file of kind {kind} names no splits; read it without split={split!r}")
    languages: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    any_kept = False
    for entry in _entries(kind, data, path):
        id = _id(entry.id, entry.place)
        if split is not None:
            if not isinstance(entry.split, str):
                raise ValueError(f"{entry.place}: split: expected text, found {_found(entry.split)}")
            splits[entry.split] += 1
            if _split(entry.split) != _split(split):
                continue
        if not entry.captions:
            raise ValueError(f"{entry.place}: no captions of {id!r}; expected at least one")
        kept = []
        for number, caption in enumerate(entry.captions):
            text, own = _caption(caption, entry, number)
            languages[own or ""] += 1
            if lang is None or own is None or own == _language(lang):
                kept.append(text)
        if kept:
            any_kept = True
            yield entry.place, id, kept
    named = sorted(filter(None, languages))
    if split is not None and not any(_split(name) == _split(split) for name in splits):
        there = ", ".join(f"{name} ({count})" for name, count in splits.items())
        raise ValueError(f"{path}: no item is of the split {split!r}; there are {there}")
    if lang is None and len(named) > 1:
        raise ValueError(f"{path}: captions in several languages ({', '.join(named)}); say which with lang")
    if lang is not None and not any_kept:
        raise ValueError(f"{path}: no caption is in {lang!r}; there are {', '.join(named)}")


def _caption(caption: object, entry: _Entry, number: int) -> tuple[str, str | None]:
    """(text, language or None)."""
    lang, text = entry.lang, caption
    if isinstance(caption, dict):
        lang = caption.get("lang") or lang
        text = caption.get("text", caption.get("caption", caption))
    place = entry.place if len(entry.captions) == 1 else f"{entry.place}: captions[{number}]"
    if not isinstance(text, str):
        raise ValueError(f"{place}: a caption of {entry.id!r}: expected text, found {_found(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{place}: a caption of {entry.id!r} has half of a surrogate pair, which is no text") from None
    if lang is not None and not isinstance(lang, str):
        raise ValueError(f"{place}: lang: expected a code such as en, found {_found(lang)}")
    return text, (_language(lang) if lang else None)


def _id(id: object, place: str) -> int | str:
    if isinstance(id, bool) or not isinstance(id, (int, str)) or id == "":
        raise ValueError(f"{place}: id: expected text or a whole number, found {_found(id)}")
    return id


def _once(places: dict[str, str], id: int | str, place: str, advice: str):
    """Notes where an id stands; 12 and "12" are one."""
    first = places.setdefault(str(id), place)
    if first is not place:
        raise ValueError(f"{place}: the id {id!r} stood before, at {first}; {advice}")


def _first(row: object, keys: tuple[str, ...], place: str) -> object:
    for key in keys:
        if key in _dict(row, place):
            return row[key]
    raise ValueError(f"{place}: expected {' or '.join(keys)}, found {_keys(row)}")


def _dict(row: object, place: str) -> dict:
    if not isinstance(row, dict):
        raise ValueError(f"{place}: expected an object, found {_found(row)}")
    return row


def _not_dense(kind: str, path: Path):
    if kind in _DENSE:
        raise ValueError(f"{path}: events of videos ({kind}), which are scored against others, not against captions")


def _only_predictions(kind: str, path: Path):
    _not_dense(kind, path)
    if kind in ("coco", "karpathy", "msrvtt"):
        raise ValueError(f"{path}: a file of kind {kind} has references; expected predictions, {{id: caption}} or such")


def _language(code: str) -> str:
    return code.strip().replace("_", "-").lower()


def _split(name: str) -> str:
    return _SPLITS.get(name.strip().lower(), name.strip().lower())


def _keys(row: dict) -> str:
    return ", ".join(f"{key!r:.40}" for key in list(row)[:8]) or "nothing"


def _found(value: object) -> str:
    """A value for messages; what is nested is only named."""
    if isinstance(value, (list, dict)):
        name = "a list" if isinstance(value, list) else "an object"
        return name if value else f"{name} that is empty"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value!r:.60}"
