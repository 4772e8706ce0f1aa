"""Agreement of metrics with people: Kendall's tau with the human judgments of Flickr8k.

    python -m capjax.metrics.agreement --expert ExpertAnnotations.txt --captions Flickr8k.token.txt
    python -m capjax.metrics.agreement --crowdflower CrowdFlowerAnnotations.txt --captions Flickr8k.token.txt

The files are in Flickr8k_text.zip (Hodosh et al. 2013). People judged how well captions, mostly of other photos, fit a
photo:

    ExpertAnnotations.txt        PHOTO<TAB>PHOTO#K<TAB>rating<TAB>rating<TAB>rating      three experts, each 1 to 4
    CrowdFlowerAnnotations.txt   PHOTO<TAB>PHOTO#K<TAB>share of yes<TAB>yes<TAB>no       three judges or more
    Flickr8k.token.txt           PHOTO#K<TAB>caption                                     K from 0 to 4

A metric scores the judged caption against the captions of the photo. Figures are published since SPICE (Anderson et al.
2016); appendix A and the program of CLIPScore (Hessel et al. 2021) define them:

  Flickr8k-Expert: tau_c. Pairs whose caption is one of the photo's own, compared as text, are left out: 158 of 5,822.
    Each of the three ratings is a data point: 5,664 pairs are 16,992 judgments. The tau of their mean
    (`--ratings mean`) is another figure and not comparable.
  Flickr8k-CF: tau_b, against the share of yes. All 47,830 pairs are kept; a judged caption that is one of the photo's
    own is removed from the photo's references, for all pairs of the photo.
  CIDEr's document frequencies are of the references as listed for each judgment, so that a photo counts as often as it
    was judged: 16,992 documents. `--idf images` counts each photo once.

The token file writes one photo as 2258277193_586949ec62.jpg.1; both names are accepted.
"""

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from capjax.metrics.caption_types import CaptionText
from capjax.metrics.idf import Idf
from capjax.metrics.json_types import check_type
from capjax.metrics.messages import shorten
from capjax.metrics.names import DEFAULT_FAMILIES, check_families
from capjax.metrics.scoring import default_families, score
from capjax.metrics.strict_json import read_text
from capjax.metrics.tokenize import tokenizer_for, tokenizer_name

# The published tau of each set, and the treatment of judged captions that are the photo's own.
_TAU = {"Flickr8k-Expert": "tau_c", "Flickr8k-CF": "tau_b"}
_OWN = {"Flickr8k-Expert": "drop", "Flickr8k-CF": "remove"}


@dataclass(frozen=True)
class Judgment:
    """A judged pair of a photo and a caption.

    Attributes:
      place: FILE:LINE.
      photo: file name of the photo.
      caption: id of the caption, PHOTO#K.
      ratings: one or more; higher is better.
    """

    place: str
    photo: str
    caption: str
    ratings: tuple[float, ...]


@dataclass(frozen=True)
class JudgedPairs:
    """Judged pairs with the references to score them against.

    Attributes:
      name: `Flickr8k-Expert` or `Flickr8k-CF`.
      photos, candidates: photo and caption of each pair.
      ratings: ratings of each pair, one or more.
      references: {photo: captions}.
      counts: numbers of lines read and left out.
    """

    name: str
    photos: list[str]
    candidates: list[str]
    ratings: list[tuple[float, ...]]
    references: dict[str, list[str]]
    counts: dict[str, int] = field(default_factory=dict)


def read_captions(path: Path) -> dict[str, str]:
    """Reads Flickr8k.token.txt: {PHOTO#K: caption}.

    Raises:
      ValueError: a line is malformed or repeats an id; the message names file and line.
    """
    captions: dict[str, str] = {}
    for place, line in _lines(path):
        match = re.fullmatch(r"([^\t#]+#\d+)\s+(.*\S)", line)
        if not match:
            raise ValueError(f"{place}: expected PHOTO.jpg#K, a tab and a caption; found {line!r:.80}")
        id, text = match.groups()
        if id in captions:
            raise ValueError(f"{place}: the caption {id} is repeated; list each caption once")
        check_type(text, CaptionText, place)
        captions[id] = text
    return captions


def read_expert(path: Path) -> list[Judgment]:
    """Reads ExpertAnnotations.txt: judgments with three ratings each.

    Raises:
      ValueError: a line is malformed; the message names file and line.
    """
    rows = []
    for place, line in _lines(path):
        photo, caption, values = _fields(line, place, "three ratings")
        if any(value not in (1, 2, 3, 4) for value in values):
            raise ValueError(f"{place}: expected three ratings of 1, 2, 3 or 4; found {line!r:.120}")
        rows.append(Judgment(place, photo, caption, tuple(values)))
    return rows


def read_crowdflower(path: Path) -> list[Judgment]:
    """Reads CrowdFlowerAnnotations.txt: judgments with one rating, the share of yes.

    Raises:
      ValueError: a line is malformed, or a share is not yes / (yes + no); the message names file and line.
    """
    rows = []
    for place, line in _lines(path):
        photo, caption, (share, yes, no) = _fields(line, place, "share of yes, number of yes, number of no")
        counts = yes >= 0 and no >= 0 and yes + no > 0 and yes == int(yes) and no == int(no)
        if not counts or abs(share - yes / (yes + no)) > 1e-4:
            raise ValueError(f"{place}: expected the share yes / (yes + no) and the counts; found {line!r:.120}")
        rows.append(Judgment(place, photo, caption, (share,)))
    return rows


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields (FILE:LINE, text) of the lines that are not empty."""
    for number, line in enumerate(read_text(Path(path)).split("\n"), 1):
        if text := line.strip():
            yield f"{path}:{number}", text


def _fields(line: str, place: str, columns: str) -> tuple[str, str, list[float]]:
    parts = line.split()
    if len(parts) != 5 or "#" not in parts[1] or "#" in parts[0]:
        raise ValueError(f"{place}: expected PHOTO.jpg, PHOTO.jpg#K, {columns}, separated by tabs; found {line!r:.120}")
    try:
        values = [float(part) for part in parts[2:]]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{place}: expected numbers for {columns}; found {line!r:.120}")
    return parts[0], parts[1], values


def judgments(
    name: str, rows: Sequence[Judgment], captions: Mapping[str, str], *, own: str | None = None, missing: str = "error"
) -> JudgedPairs:
    """Combines judgments with the captions of their photos.

    Args:
      name: `Flickr8k-Expert` or `Flickr8k-CF`.
      rows: the judgments.
      captions: {PHOTO#K: caption}.
      own: treatment of judged captions that are the photo's own, compared as text. `drop` leaves the pair out;
        `remove` removes the caption from the photo's references, for all pairs of the photo; `keep` scores the caption
        against itself. By default the published treatment of the set.
      missing: treatment of pairs whose photo or caption is not in `captions`: `error` or `drop`.

    Raises:
      ValueError: there are such pairs, no pair is left, or all references of a photo are judged captions of its own.
    """
    own = own or _OWN[name]
    references: dict[str, list[str]] = {}
    for id, text in captions.items():
        references.setdefault(id.rsplit("#", 1)[0], []).append(text)
    for photo in list(references):
        if numbered := re.fullmatch(r"(.+\.jpg)\.\d+", photo):
            references.setdefault(numbered[1], references[photo])
    texts = {re.sub(r"\.jpg\.\d+#", ".jpg#", id): text for id, text in captions.items()} | dict(captions)
    complete = [row for row in rows if row.photo in references and row.caption in texts]
    if len(complete) < len(rows) and missing == "error":
        incomplete = [row for row in rows if row.photo not in references or row.caption not in texts]
        ids = dict.fromkeys(
            id for row in incomplete for id in (row.photo, row.caption) if id not in references and id not in texts
        )
        raise ValueError(
            f"{len(incomplete)} of {len(rows)} judged pairs are of photos or captions that the caption file lacks: "
            f"{shorten(ids, show=str)} (the first at {incomplete[0].place}). Name the whole Flickr8k.token.txt, or "
            "leave them out with --missing drop"
        )
    is_own = [texts[row.caption] in references[row.photo] for row in complete]
    kept = [row for row, of_photo in zip(complete, is_own, strict=True) if not (of_photo and own == "drop")]
    if not kept:
        raise ValueError(f"{name}: no judged pairs to score")
    kept_references = {photo: list(references[photo]) for photo in dict.fromkeys(row.photo for row in kept)}
    if own == "remove":
        for row in kept:
            if texts[row.caption] in kept_references[row.photo]:
                kept_references[row.photo].remove(texts[row.caption])
    if unreferenced := [photo for photo, group in kept_references.items() if not group]:
        raise ValueError(
            f"{unreferenced[0]}: all captions of the photo are judged ones; leave such pairs out with --own drop"
        )
    repeated = sum(count - 1 for count in Counter((row.photo, row.caption) for row in kept).values())
    return JudgedPairs(
        name, [row.photo for row in kept], [texts[row.caption] for row in kept], [row.ratings for row in kept],
        kept_references,
        {
            "rows": len(rows), "missing": len(rows) - len(complete), "own": sum(is_own), "repeated": repeated,
            "pairs": len(kept), "images": len(kept_references), "judgements": sum(len(row.ratings) for row in kept),
        },
    )  # fmt: skip


def document_frequencies(judged: JudgedPairs, documents: str = "judgements") -> Idf:
    """Counts document frequencies in the references.

    Args:
      documents: `judgements`, a photo counts as often as it was judged (published); or `images`, a photo counts once.
    """
    times = dict.fromkeys(judged.references, 1)
    if documents == "judgements":
        times = Counter()
        for photo, ratings in zip(judged.photos, judged.ratings, strict=True):
            times[photo] += len(ratings)
    groups = (group for photo, group in judged.references.items() for _ in range(times[photo]))
    tokenize = lru_cache(maxsize=None)(tokenizer_for("en"))
    return Idf.of(groups, tokenize=tokenize, tokenizer=tokenizer_name("en"), source=f"{judged.name}-{documents}")


def kendall(scores: np.ndarray, ratings: np.ndarray) -> dict[str, float]:
    """Returns Kendall's tau_b and Stuart's tau_c of two rankings with ties, in O(n log n); NaN if one is constant.

    With C concordant and D discordant pairs of n (n - 1) / 2, T and U the pairs tied only in the first and only in the
    second ranking, and m the smaller number of distinct values (Kendall 1945; Stuart 1953):

        tau_b = (C - D) / sqrt((C + D + T) (C + D + U))        tau_c = 2 (C - D) / (n^2 (m - 1) / m)

    Args:
      scores, ratings: float [n].

    Raises:
      ValueError: there is a NaN, or fewer than three values.
    """
    from scipy.stats import kendalltau

    if len(scores) < 3:
        raise ValueError(f"expected three judgments or more to rank, found {len(scores)}")
    if np.isnan(scores).any() or np.isnan(ratings).any():
        raise ValueError("a score or rating is NaN, which cannot be ranked")
    taus = {}
    for variant in ("b", "c"):
        result = kendalltau(scores, ratings, variant=variant, method="asymptotic")
        taus[f"tau_{variant}"] = float(result.statistic)
    return taus


def correlate(
    judged: JudgedPairs, *, metrics: Iterable[str] = DEFAULT_FAMILIES, ratings: str = "each", idf: Idf | None = None
) -> dict:
    """Correlates metrics with the ratings.

    Args:
      metrics: metric families; see capjax.metrics.names.FAMILIES.
      ratings: `each`, a rating is a data point (as published); or `mean`, the mean of a pair's ratings is one.
      idf: document frequencies for CIDEr; by default `document_frequencies(judged)`.

    Returns:
      {"tau": {metric: {"tau_b", "tau_c"}}, "signatures": {metric: signature}, "absent": {family: reason}}.
    """
    metrics, pairs = check_families(metrics), range(len(judged.photos))
    scores = score(
        dict(zip(pairs, judged.candidates, strict=True)),
        {pair: judged.references[judged.photos[pair]] for pair in pairs},
        metrics=metrics,
        idf=idf or (document_frequencies(judged) if "cider" in metrics else None),
    )
    if ratings == "each":
        pair_of = np.repeat(np.arange(len(pairs)), [len(values) for values in judged.ratings])
        rating = np.array([value for values in judged.ratings for value in values])
    else:
        pair_of, rating = np.arange(len(pairs)), np.array([np.mean(values) for values in judged.ratings])
    taus = {metric: kendall(values[pair_of], rating) for metric, values in scores.items.items()}
    return {"tau": taus, "signatures": scores.signatures, "absent": scores.absent}


def _table(report: dict) -> str:
    counts = report["counts"]
    lines = [
        f"{report['set']}: {counts['judgements']:,} judgments of {counts['pairs']:,} captions of "
        f"{counts['images']:,} photos",
        f"of {counts['rows']:,} lines; {counts['own']:,} captions are the photo's own ({report['own']}), "
        f"{counts['missing']:,} are not in the caption file, {counts['repeated']:,} are repeated",
        f"ratings: {report['ratings']}; document frequencies: {report['idf']}",
        f"tau times 100; papers publish {_TAU[report['set']]} of this set",
        f"{'metric':12}{'tau_b':>8}{'tau_c':>8}",
    ]
    for metric, taus in report["tau"].items():
        lines.append(f"{metric:12}" + "".join(f"{100 * taus[name]:8.2f}" for name in ("tau_b", "tau_c")))
    return "\n".join(lines + [f"{metric:12}absent: {why}" for metric, why in report["absent"].items()])


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m capjax.metrics.agreement",
        description="Kendall's tau between metrics and human judgments of Flickr8k.",
    )
    judged = parser.add_mutually_exclusive_group(required=True)
    judged.add_argument("--expert", type=Path, metavar="FILE", help="ExpertAnnotations.txt")
    judged.add_argument("--crowdflower", type=Path, metavar="FILE", help="CrowdFlowerAnnotations.txt")
    parser.add_argument("--captions", type=Path, required=True, metavar="FILE", help="Flickr8k.token.txt")
    parser.add_argument(
        "--metrics",
        default=",".join(default_families()),
        help="metrics, separated by commas, such as bleu or BLEU-4 (default: %(default)s)",
    )
    parser.add_argument(
        "--own", choices=["drop", "remove", "keep"],
        help="judged captions that are the photo's own: drop the pair (published for --expert), remove the caption "
        "from the photo's references (published for --crowdflower), or keep both",
    )  # fmt: skip
    parser.add_argument(
        "--ratings",
        choices=["each", "mean"],
        default="each",
        help="each rating is a data point (published), or the mean of a pair's ratings is",
    )
    parser.add_argument(
        "--idf", default="judgements", metavar="SOURCE",
        help="document frequencies of CIDEr: judgements, a photo counts as often as it was judged (published); images, "
        "a photo counts once; or a file that --save-idf of capjax.metrics wrote",
    )  # fmt: skip
    parser.add_argument(
        "--missing",
        choices=["error", "drop"],
        default="error",
        help="treatment of pairs that are not in the caption file",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _arguments().parse_args(argv)
    try:
        metrics = check_families(args.metrics.split(","))
        name = "Flickr8k-Expert" if args.expert else "Flickr8k-CF"
        rows = read_expert(args.expert) if args.expert else read_crowdflower(args.crowdflower)
        judged = judgments(name, rows, read_captions(args.captions), own=args.own, missing=args.missing)
        if "cider" not in metrics:
            idf = None
        elif args.idf in ("judgements", "images"):
            idf = document_frequencies(judged, args.idf)
        else:
            idf = Idf.load(Path(args.idf))
        correlations = correlate(judged, metrics=metrics, ratings=args.ratings, idf=idf)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"agreement: {error}", file=sys.stderr)
        return 1
    source = f"{idf.source} ({idf.documents:,} documents)" if idf else "none needed"
    report = {
        "set": name, "counts": judged.counts, "own": args.own or _OWN[name], "ratings": args.ratings, "idf": source,
        **correlations,
    }  # fmt: skip
    if args.json:
        undefined = {m: {k: None if math.isnan(v) else v for k, v in t.items()} for m, t in report["tau"].items()}
        print(json.dumps(report | {"tau": undefined}, indent=2, ensure_ascii=False))
    else:
        print(_table(report))
    for metric, reason in report["absent"].items():
        print(f"agreement: --metrics {metric}: {reason}", file=sys.stderr)
    return 1 if report["absent"] else 0


if __name__ == "__main__":
    sys.exit(main())
