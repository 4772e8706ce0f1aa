"""Reading captions from the file formats in use.

    coco           {"images": [{"id"}], "annotations": [{"image_id", "caption"}]}
    coco_results   [{"image_id", "caption"}]
    karpathy       {"images": [{"cocoid" or "filename" or "imgid", "split", "sentences": [{"raw"}]}]}
    jsonl          a line each: {"image_id" or "id" or "image" or "path": ..., "captions": [...] or "caption": ...}
                   with optional lang and split; or one list of such objects
    msrvtt         {"sentences": [{"video_id", "caption"}], "videos": [{"video_id", "split"}]}
    msrvtt_results {"result": [{"video_id", "caption"}]}
    mapping        {id: caption} or {id: [captions]}
    activitynet    {id: {"duration", "timestamps", "sentences"}} and, as activitynet_submission, {"results": {id:
                   [{"sentence", "timestamp"}]}}: recognized here, read by capjax.metrics.activitynet

A caption is text, or an object with `text` (or `caption`) and optionally `lang` (or `language`), a code of BCP 47. Ids
are text or whole numbers; 12 and "12" are the same id. Files are UTF-8, or Windows-1252 as Windows programs write them.
For anything else a ValueError names file, place, what was expected and the remedy.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from capjax.metrics.caption_types import CaptionText, Id
from capjax.metrics.json_types import check_type, checked_rows, type_mismatch
from capjax.metrics.languages import canonical, check_lang, is_english, matches
from capjax.metrics.messages import option, shorten, show_value
from capjax.metrics.strict_json import Lines, parse

_ID_KEYS = ("image_id", "id", "image", "path")  # beside an image_id, COCO's id is that of the caption
_SPLITS = {"training": "train", "dev": "val", "valid": "val", "validation": "val", "testing": "test"}
DENSE_FORMATS = ("activitynet", "activitynet_submission")


class _Image(TypedDict):
    id: Id


class _Annotation(TypedDict):
    image_id: Id
    caption: Any
    id: NotRequired[Id]


class _KarpathyImage(TypedDict):
    sentences: list[dict]


class _Video(TypedDict):
    video_id: Id


class _Sentence(_Video):
    caption: Any


class _Entry(NamedTuple):
    """The captions of an item at one place of a file, not validated yet."""

    place: str
    id: int | str
    captions: list
    split: Any = None
    lang: Any = None


def read_references(
    path: Path | str, *, lang: str | None = None, split: str | None = None
) -> dict[int | str, list[str]]:
    """Reads a file of references, {id: captions}, in its order.

    Args:
      lang: keep the captions of this language (with `en` all of English, with `pt` also pt-BR) and those that name no
        language; items without any are left out. It is required for a file with captions in several languages.
      split: keep the items of this split, in formats that name splits (karpathy, msrvtt, jsonl).

    Raises:
      FileNotFoundError, IsADirectoryError.
      ValueError: the file is malformed, has an empty caption or repeats an id.
    """
    path = Path(path)
    format, data = _load(path)
    _not_dense(format, path)
    references: dict[int | str, list[str]] = {}
    places: dict[str, str] = {}
    ids: dict[str, int | str] = {}  # 12 and "12" are the same id
    for place, id, texts in _texts(format, data, path, lang, split):
        for number, text in enumerate(texts):
            if not text.strip():
                index = f" captions[{number}]" if len(texts) > 1 else ""
                raise ValueError(
                    f"{place}:{index} an empty caption of {show_value(id)}; a reference needs words; correct or delete "
                    "it"
                )
        if format in ("coco", "coco_results"):
            references.setdefault(ids.setdefault(str(id), id), []).extend(texts)
        else:
            _check_once(places, id, place, 'put all captions of an item in one place, in "captions"')
            references[id] = texts
    if not references:
        raise ValueError(f"{path}: the file has no captions")
    return references


def read_predictions(path: Path | str, *, lang: str | None = None) -> dict[int | str, str]:
    """Reads a file of predictions, {id: caption}, in its order. Captions may be empty: `match_ids` counts them.

    Args:
      lang: as in `read_references`.

    Raises:
      FileNotFoundError, IsADirectoryError.
      ValueError: the file is malformed, repeats an id or has several captions for an item.
    """
    path = Path(path)
    format, data = _load(path)
    _only_predictions(format, path)
    predictions: dict[int | str, str] = {}
    places: dict[str, str] = {}
    for place, id, texts in _texts(format, data, path, lang, None):
        _check_once(places, id, place, "keep one prediction for each item")
        if len(texts) > 1:
            raise ValueError(
                f"{place}: {len(texts)} captions for {show_value(id)}; expected one (several captions are for "
                "--samples)"
            )
        predictions[id] = texts[0]
    if not predictions:
        raise ValueError(f"{path}: the file has no captions")
    return predictions


def read_prediction_sets(path: Path | str, *, lang: str | None = None) -> dict[int | str, list[str]]:
    """Reads a file with several predictions for each item, {id: captions}. An id may be repeated.

    Args:
      lang: as in `read_references`.

    Raises:
      FileNotFoundError, IsADirectoryError.
      ValueError: the file is malformed.
    """
    path = Path(path)
    format, data = _load(path)
    _only_predictions(format, path)
    sets: dict[int | str, list[str]] = {}
    for _, id, texts in _texts(format, data, path, lang, None):
        sets.setdefault(id, []).extend(texts)
    if not sets:
        raise ValueError(f"{path}: the file has no captions")
    return sets


def file_format(source: Path | str | list | dict) -> str:
    """Returns the format of a file, or of parsed JSON: a name in the table above.

    Raises:
      FileNotFoundError, IsADirectoryError.
      ValueError: the file is not JSON, or has another format.
    """
    return _load(Path(source))[0] if isinstance(source, (str, Path)) else _format_of(source, "this JSON")


def _load(path: Path) -> tuple[str, object]:
    data = parse(path)
    return ("jsonl" if isinstance(data, Lines) else _format_of(data, str(path))), data


def _format_of(data: object, place: str) -> str:
    formats = "COCO, Karpathy, MSR-VTT, JSON lines, {id: captions} or ActivityNet"
    if not isinstance(data, (list, dict)) or not data:
        raise ValueError(f"{place}: found {show_value(data)}; expected captions as {formats}")
    if isinstance(data, list):
        first = data[0]
        if not isinstance(first, dict) or not first.keys() & {"caption", "captions"}:
            raise ValueError(f"{place}: the first of the list is {show_value(first)}; expected image_id and caption")
        return "coco_results" if {"image_id", "caption"} <= first.keys() else "jsonl"
    if isinstance(data.get("annotations"), list):
        return "coco"
    if isinstance(data.get("images"), list):
        if not any(isinstance(row, dict) and "sentences" in row for row in data["images"][:100]):
            raise ValueError(f"{place}: images without captions; expected COCO's annotations or Karpathy's sentences")
        return "karpathy"
    if isinstance(data.get("results"), dict):
        return "activitynet_submission"
    for key, name in (("sentences", "msrvtt"), ("result", "msrvtt_results")):
        if isinstance(rows := data.get(key), list) and rows and isinstance(rows[0], dict) and "video_id" in rows[0]:
            return name
    if data.keys() & {"caption", "captions"} and data.keys() & set(_ID_KEYS):
        return "jsonl"
    first = next(iter(data.values()))
    return "activitynet" if isinstance(first, dict) and first.keys() >= {"timestamps", "sentences"} else "mapping"


def _entries(format: str, data, path: Path) -> Iterator[_Entry]:
    """Yields every place of a file that has captions of an item. Raises ValueError for a malformed one."""
    if format == "coco":
        yield from _coco(data, path)
    elif format == "karpathy":
        for place, row in checked_rows(data["images"], _KarpathyImage, f"{path}: images"):
            texts = [sentence.get("raw") for sentence in row["sentences"]]
            yield _Entry(place, _id(row, ("cocoid", "filename", "imgid"), place), texts, row.get("split"))
    elif format == "msrvtt":
        yield from _msrvtt(data, path)
    elif format == "msrvtt_results":
        for place, row in checked_rows(data["result"], _Sentence, f"{path}: result"):
            yield _Entry(place, row["video_id"], [row["caption"]])
    elif format == "mapping":
        for id, captions in data.items():
            place = f"{path}: {id!r:.80}"
            check_type(id, Id, f"{place}: id")
            yield _Entry(place, id, captions if isinstance(captions, list) else [captions])
    else:
        if isinstance(data, Lines):
            rows = ((f"{path}:{number}", row) for number, row in data)
        else:
            rows = ((f"{path}: [{n}]", row) for n, row in enumerate(data if isinstance(data, list) else [data]))
        for place, row in rows:
            check_type(row, dict, place)
            if ("captions" in row) == ("caption" in row):
                raise ValueError(f"{place}: expected caption or captions, found {shorten(row, shown=8) or 'nothing'}")
            captions = row.get("captions", [row.get("caption")])
            check_type(captions, list, f"{place}: captions")
            yield _Entry(place, _id(row, _ID_KEYS, place), captions, row.get("split"), _lang(row))


def _id(row: dict, keys: tuple[str, ...], place: str) -> int | str:
    """Returns the value of the first of these keys that an object has. Raises ValueError if it has none, or no id."""
    for key in keys:
        if key in row:
            check_type(row[key], Id, f"{place}: {key}")
            return row[key]
    raise ValueError(f"{place}: expected {' or '.join(keys)}, found {shorten(row, shown=8) or 'nothing'}")


def _coco(data: dict, path: Path) -> Iterator[_Entry]:
    image_places: dict[str, str] = {}
    for place, row in checked_rows(data.get("images", []), _Image, f"{path}: images"):
        _check_once(image_places, row["id"], place, "each image should be listed once")
    caption_places: dict[str, str] = {}
    for place, row in checked_rows(data["annotations"], _Annotation, f"{path}: annotations"):
        id = row["image_id"]
        if image_places and str(id) not in image_places:
            raise ValueError(f"{place}: image_id {show_value(id)} is not the id of an image listed in this file")
        if "id" in row:
            _check_once(caption_places, row["id"], place, "each annotation has an id of its own")
        yield _Entry(place, id, [row["caption"]])


def _msrvtt(data: dict, path: Path) -> Iterator[_Entry]:
    """Yields the sentences by video; the file has them in any order."""
    videos = checked_rows(data.get("videos", []), _Video, f"{path}: videos")
    splits = {str(row["video_id"]): row.get("split") for _, row in videos}
    entries: dict[str, _Entry] = {}
    for place, row in checked_rows(data["sentences"], _Sentence, f"{path}: sentences"):
        id = row["video_id"]
        entry = entries.setdefault(str(id), _Entry(place, id, [], splits.get(str(id))))
        entry.captions.append(row["caption"])
    yield from entries.values()


def _texts(
    format: str, data, path: Path, lang: str | None, split: str | None
) -> Iterator[tuple[str, int | str, list[str]]]:
    """Yields (place, id, validated captions) of the entries of a language and split that have any."""
    lang = None if lang is None else check_lang(lang)
    if split is not None and format not in ("karpathy", "jsonl", "msrvtt"):
        raise ValueError(f"{path}: the format {format} has no splits; leave out {option('split', split)}")
    languages: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    any_kept = False
    for entry in _entries(format, data, path):
        if split is not None:
            check_type(entry.split, str, f"{entry.place}: split")
            splits[entry.split] += 1
            if _split(entry.split) != _split(split):
                continue
        if not entry.captions:
            raise ValueError(f"{entry.place}: no captions of {show_value(entry.id)}; expected at least one")
        kept = []
        for number, caption in enumerate(entry.captions):
            text, caption_lang = _caption(caption, entry, number)
            languages["en" if caption_lang and is_english(caption_lang) else caption_lang or ""] += 1
            if lang is None or caption_lang is None or matches(caption_lang, lang):
                kept.append(text)
        if kept:
            any_kept = True
            yield entry.place, entry.id, kept
    named = sorted(filter(None, languages))
    if split is not None and not any(_split(name) == _split(split) for name in splits):
        names = shorten((f"{name:.40} ({count})" for name, count in splits.items()), show=str)
        raise ValueError(f"{path}: no item is in the split {split!r}; the file has {names}")
    if lang is None and len(named) > 1:
        raise ValueError(
            f"{path}: captions in several languages ({shorten(named, show=str)}); choose one with {option('lang')}"
        )
    if lang is not None and not any_kept:
        raise ValueError(f"{path}: no caption is in {lang!r}; the file has {shorten(named, show=str)}")


def _caption(caption: Any, entry: _Entry, number: int) -> tuple[str, str | None]:
    """Returns (text, language or None)."""
    lang, text = entry.lang, caption
    if isinstance(caption, dict):
        lang = _lang(caption) or lang
        text = caption.get("text", caption.get("caption", caption))
    place = entry.place if len(entry.captions) == 1 else f"{entry.place}: captions[{number}]"
    if mismatch := type_mismatch(text, CaptionText):
        raise ValueError(f"{place}: a caption of {show_value(entry.id)}: {mismatch}")
    if lang is None or lang == "":
        return text, None
    check_type(lang, str, f"{place}: lang")
    try:
        return text, canonical(lang)
    except ValueError as error:
        raise ValueError(f"{place}: lang: {error}") from None


def _lang(row: dict) -> Any:
    return row.get("lang", row.get("language"))


def _check_once(places: dict[str, str], id: int | str, place: str, advice: str):
    """Records the place of an id and raises ValueError if it has one already; 12 and "12" are the same id."""
    first = places.setdefault(str(id), place)
    if first is not place:
        raise ValueError(f"{place}: the id {show_value(id)} is repeated, first at {first}; {advice}")


def _not_dense(format: str, path: Path):
    if format in DENSE_FORMATS:
        raise ValueError(
            f"{path}: expected captions, found events of videos ({format}), which are scored against events"
        )


def _only_predictions(format: str, path: Path):
    _not_dense(format, path)
    if format in ("coco", "karpathy", "msrvtt"):
        raise ValueError(
            f"{path}: the format {format} is for references; expected predictions, such as {{id: caption}}"
        )


def _split(name: str) -> str:
    return _SPLITS.get(name.strip().lower(), name.strip().lower())
