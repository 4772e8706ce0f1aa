"""How far a metric orders captions as people do: Kendall's tau on the human judgements of Flickr8k.

    python -m capjax.metrics.agreement --expert ExpertAnnotations.txt --captions Flickr8k.token.txt
    python -m capjax.metrics.agreement --crowdflower CrowdFlowerAnnotations.txt --captions Flickr8k.token.txt

The files are those of Flickr8k_text.zip (Hodosh et al. 2013). Each judges captions of the set for one of its photos,
most of them another photo's:

    ExpertAnnotations.txt        PHOTO<TAB>PHOTO#K<TAB>rating<TAB>rating<TAB>rating      three experts, each 1 to 4
    CrowdFlowerAnnotations.txt   PHOTO<TAB>PHOTO#K<TAB>share of yes<TAB>yes<TAB>no       three judges or more
    Flickr8k.token.txt           PHOTO#K<TAB>caption                                     K from 0 to 4

A metric scores the judged caption against the captions of the photo. What is published, since SPICE (Anderson et al.
2016), and told exactly in appendix A and in the published program of CLIPScore (Hessel et al. 2021):

  Flickr8k-Expert: tau_c. Pairs whose caption is one of the photo's own, compared as text, are left out: 158 of 5,822.
    Each of the three ratings is a data point of its own: 5,664 pairs are 16,992 judgements. A tau of the mean of the
    three (`--ratings mean`) is another figure, not to be compared with those.
  Flickr8k-CF: tau_b, against the share of yes. All 47,830 pairs are kept; a judged caption that is one of the photo's
    own is taken out of the photo's references, for all pairs of the photo.
  CIDEr's document frequencies are of the references as listed for each judgement, so that a photo counts as often as it
    was judged: 16,992 documents. `--idf images` counts each photo once.

The token file writes one photo as 2258277193_586949ec62.jpg.1; it is known by both names here.
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

from capjax.metrics.idf import Idf
from capjax.metrics.messages import shorten
from capjax.metrics.names import DEFAULT_FAMILIES, check_families
from capjax.metrics.scoring import default_families, score
from capjax.metrics.tokenize import tokenizer_for, tokenizer_name

# What is published for each set: which tau, and what is done about a photo's own captions.
_TAU = {"Flickr8k-Expert": "tau_c", "Flickr8k-CF": "tau_b"}
_OWN = {"Flickr8k-Expert": "drop", "Flickr8k-CF": "remove"}


@dataclass(frozen=True)
class Row:
    """A judged pair: photo, id of the caption, and its ratings, higher is better."""

    place: str
    photo: str
    caption: str
    ratings: tuple[float, ...]


@dataclass(frozen=True)
class Judgements:
    """Attributes:
    name: `Flickr8k-Expert` or `Flickr8k-CF`.
    photos, candidates: of each judged pair.
    ratings: of each pair, one or more.
    references: {photo: captions}.
    counts: what was read, and what was left out of it.
    """

    name: str
    photos: list[str]
    candidates: list[str]
    ratings: list[tuple[float, ...]]
    references: dict[str, list[str]]
    counts: dict[str, int] = field(default_factory=dict)


def read_captions(path: Path) -> dict[str, str]:
    """{PHOTO#K: caption} of Flickr8k.token.txt.

    Raises:
      ValueError: a line of another form, or an id twice; the message has file and line.
    """
    captions: dict[str, str] = {}
    for place, line in _lines(path):
        found = re.fullmatch(r"([^\t#]+#\d+)\s+(.*\S)", line)
        if not found:
            raise ValueError(f"{place}: expected PHOTO.jpg#K, a tab and a caption; found {line!r:.80}")
        if found[1] in captions:
            raise ValueError(f"{place}: the caption {found[1]} stood before; each should be listed once")
        captions[found[1]] = found[2]
    return captions


def read_expert(path: Path) -> list[Row]:
    """Rows of ExpertAnnotations.txt, three ratings each.

    Raises:
      ValueError: a line of another form; the message has file and line.
    """
    rows = []
    for place, line in _lines(path):
        photo, caption, values = _fields(line, place, "three ratings")
        if any(value not in (1, 2, 3, 4) for value in values):
            raise ValueError(f"{place}: expected three ratings of 1, 2, 3 or 4; found {line!r:.120}")
        rows.append(Row(place, photo, caption, tuple(values)))
    return rows


def read_crowdflower(path: Path) -> list[Row]:
    """Rows of CrowdFlowerAnnotations.txt; the one rating of each is the share of yes.

    Raises:
      ValueError: a line of another form, or a share that is not yes / (yes + no); the message has file and line.
    """
    rows = []
    for place, line in _lines(path):
        photo, caption, (share, yes, no) = _fields(line, place, "share of yes, number of yes, number of no")
        counts = yes >= 0 and no >= 0 and yes + no > 0 and yes == int(yes) and no == int(no)
        if not counts or abs(share - yes / (yes + no)) > 1e-4:
            raise ValueError(f"{place}: expected the share yes / (yes + no) and the counts; found {line!r:.120}")
        rows.append(Row(place, photo, caption, (share,)))
    return rows


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(FILE:LINE, text) of the lines that have any."""
    path = Path(path)
    raw = path.read_bytes()
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}:{number}: not UTF-8: byte 0x{line[error.start]:02x}; save it as UTF-8") from error
        if text:
            yield f"{path}:{number}", text


def _fields(line: str, place: str, what: str) -> tuple[str, str, list[float]]:
    parts = line.split()
    if len(parts) != 5 or "#" not in parts[1] or "#" in parts[0]:
        raise ValueError(f"{place}: expected PHOTO.jpg, PHOTO.jpg#K, {what}, tabs between; found {line!r:.120}")
    try:
        values = [float(part) for part in parts[2:]]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{place}: expected numbers for {what}; found {line!r:.120}")
    return parts[0], parts[1], values


def judgements(
    name: str, rows: Sequence[Row], captions: Mapping[str, str], *, own: str | None = None, missing: str = "error"
) -> Judgements:
    """Judged pairs with the references to score them against.

    Args:
      name: `Flickr8k-Expert` or `Flickr8k-CF`.
      own: what is done about judged captions that are the photo's own, compared as text. `drop`: the pair is left out;
        `remove`: the caption is taken out of the photo's references, for all pairs of the photo; `keep`: nothing, and
        the caption is scored against itself. By default what is published for the set: `drop`, `remove`.
      missing: `error`, or `drop` pairs whose photo or caption has no line in the caption file.

    Raises:
      ValueError: such pairs, nothing left to score, or a photo whose references are all judged captions of its own.
    """
    own = own or _OWN[name]
    references: dict[str, list[str]] = {}
    for id, text in captions.items():
        references.setdefault(id.rsplit("#", 1)[0], []).append(text)
    for photo in list(references):
        if odd := re.fullmatch(r"(.+\.jpg)\.\d+", photo):
            references.setdefault(odd[1], references[photo])
    texts = {re.sub(r"\.jpg\.\d+#", ".jpg#", id): text for id, text in captions.items()} | dict(captions)
    known = [row for row in rows if row.photo in references and row.caption in texts]
    if len(known) < len(rows) and missing == "error":
        lost = [row for row in rows if row.photo not in references or row.caption not in texts]
        ids = dict.fromkeys(
            id for row in lost for id in (row.photo, row.caption) if id not in references and id not in texts
        )
        raise ValueError(
            f"{len(lost)} of {len(rows)} judged pairs are of photos or captions that the caption file lacks: "
            f"{shorten(ids, show=str)} (the first at {lost[0].place}). Name the whole Flickr8k.token.txt, or leave "
            "them out with --missing drop"
        )
    is_own = [texts[row.caption] in references[row.photo] for row in known]
    kept = [row for row, mine in zip(known, is_own, strict=True) if not (mine and own == "drop")]
    if not kept:
        raise ValueError(f"{name}: no judged pairs to score")
    left = {photo: list(references[photo]) for photo in dict.fromkeys(row.photo for row in kept)}
    if own == "remove":
        for row in kept:
            if texts[row.caption] in left[row.photo]:
                left[row.photo].remove(texts[row.caption])
    if bare := [photo for photo, group in left.items() if not group]:
        raise ValueError(f"{bare[0]}: every caption of the photo is a judged one; leave such pairs out with --own drop")
    repeated = sum(count - 1 for count in Counter((row.photo, row.caption) for row in kept).values())
    return Judgements(
        name, [row.photo for row in kept], [texts[row.caption] for row in kept], [row.ratings for row in kept], left,
        {
            "rows": len(rows), "missing": len(rows) - len(known), "own": sum(is_own), "repeated": repeated,
            "pairs": len(kept), "images": len(left), "judgements": sum(len(row.ratings) for row in kept),
        },
    )  # fmt: skip


def document_frequencies(judged: Judgements, documents: str = "judgements") -> Idf:
    """Of the references: `judgements`, a photo counts as often as it was judged, as published; `images`, once."""
    times = dict.fromkeys(judged.references, 1)
    if documents == "judgements":
        times = Counter()
        for photo, ratings in zip(judged.photos, judged.ratings, strict=True):
            times[photo] += len(ratings)
    groups = (group for photo, group in judged.references.items() for _ in range(times[photo]))
    tokenize = lru_cache(maxsize=None)(tokenizer_for("en"))
    return Idf.of(groups, tokenize=tokenize, tokenizer=tokenizer_name("en"), source=f"{judged.name}-{documents}")


def kendall(scores: np.ndarray, ratings: np.ndarray) -> dict[str, float]:
    """Kendall's tau_b and Stuart's tau_c of two rankings with ties, in O(n log n); NaN where one of them is constant.

    With C concordant and D discordant of the n (n - 1) / 2 pairs, T the pairs that are tied in the one ranking alone, U
    in the other alone, and m the smaller number of distinct values (Kendall 1945; Stuart 1953):

        tau_b = (C - D) / sqrt((C + D + T) (C + D + U))        tau_c = 2 (C - D) / (n^2 (m - 1) / m)

    Args:
      scores, ratings: float [n].

    Raises:
      ValueError: a NaN among them, or fewer than three.
    """
    from scipy.stats import kendalltau

    if len(scores) < 3:
        raise ValueError(f"{len(scores)} judgements are too few to rank; there should be three or more")
    if np.isnan(scores).any() or np.isnan(ratings).any():
        raise ValueError("a score or rating is NaN: it has no place in a ranking")
    return {
        f"tau_{variant}": float(kendalltau(scores, ratings, variant=variant, method="asymptotic").statistic)
        for variant in "bc"
    }


def correlate(
    judged: Judgements, *, metrics: Iterable[str] = DEFAULT_FAMILIES, ratings: str = "each", idf: Idf | None = None
) -> dict:
    """{"tau": {metric: {"tau_b", "tau_c"}}, "signatures": {metric: ...}, "absent": {metric: why}}.

    Args:
      metrics: names of capjax.metrics.names.FAMILIES.
      ratings: `each` is a data point, as published; or their `mean`.
      idf: for CIDEr; by default `document_frequencies(judged)`.
    """
    metrics, pairs = check_families(metrics), range(len(judged.photos))
    scores = score(
        dict(zip(pairs, judged.candidates, strict=True)),
        {pair: judged.references[judged.photos[pair]] for pair in pairs},
        metrics=metrics,
        idf=idf or (document_frequencies(judged) if "cider" in metrics else None),
    )
    if ratings == "each":
        which = np.repeat(np.arange(len(pairs)), [len(values) for values in judged.ratings])
        people = np.array([value for values in judged.ratings for value in values])
    else:
        which, people = np.arange(len(pairs)), np.array([np.mean(values) for values in judged.ratings])
    taus = {metric: kendall(values[which], people) for metric, values in scores.items.items()}
    return {"tau": taus, "signatures": scores.signatures, "absent": scores.absent}


def _table(report: dict) -> str:
    counts = report["counts"]
    lines = [
        f"{report['set']}: {counts['judgements']:,} judgements of {counts['pairs']:,} captions of "
        f"{counts['images']:,} photos",
        f"of {counts['rows']:,} lines; {counts['own']:,} captions are the photo's own ({report['own']}), "
        f"{counts['missing']:,} are not in the caption file, {counts['repeated']:,} stand there again",
        f"ratings: {report['ratings']}; document frequencies: {report['idf']}",
        f"tau times 100; {_TAU[report['set']]} is the one that is published for this set",
        f"{'metric':12}{'tau_b':>8}{'tau_c':>8}",
    ]
    for metric, taus in report["tau"].items():
        lines.append(f"{metric:12}" + "".join(f"{100 * taus[name]:8.2f}" for name in ("tau_b", "tau_c")))
    return "\n".join(lines + [f"{metric:12}absent: {why}" for metric, why in report["absent"].items()])


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m capjax.metrics.agreement",
        description="Kendall's tau of metrics and human judgements, Flickr8k.",
    )
    judged = parser.add_mutually_exclusive_group(required=True)
    judged.add_argument("--expert", type=Path, metavar="FILE", help="ExpertAnnotations.txt")
    judged.add_argument("--crowdflower", type=Path, metavar="FILE", help="CrowdFlowerAnnotations.txt")
    parser.add_argument("--captions", type=Path, required=True, metavar="FILE", help="Flickr8k.token.txt")
    parser.add_argument(
        "--metrics", default=",".join(default_families()), help="names with commas (default: %(default)s)"
    )
    parser.add_argument(
        "--own", choices=["drop", "remove", "keep"],
        help="judged captions that are the photo's own: drop the pair (published for --expert), remove the caption "
        "from the photo's references (published for --crowdflower), or keep both",
    )  # fmt: skip
    parser.add_argument(
        "--ratings", choices=["each", "mean"], default="each", help="is each a data point (published), or their mean"
    )
    parser.add_argument(
        "--idf", default="judgements", metavar="SOURCE",
        help="CIDEr's statistics: judgements, a photo counts as often as it was judged (published); images, once; or a "
        "file that Idf.save wrote",
    )  # fmt: skip
    parser.add_argument(
        "--missing", choices=["error", "drop"], default="error", help="pairs that the caption file knows nothing of"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _arguments().parse_args(argv)
    try:
        metrics = check_families(args.metrics.split(","))
        name = "Flickr8k-Expert" if args.expert else "Flickr8k-CF"
        rows = read_expert(args.expert) if args.expert else read_crowdflower(args.crowdflower)
        judged = judgements(name, rows, read_captions(args.captions), own=args.own, missing=args.missing)
        if "cider" not in metrics:
            idf = None
        elif args.idf in ("judgements", "images"):
            idf = document_frequencies(judged, args.idf)
        else:
            idf = Idf.load(Path(args.idf))
        found = correlate(judged, metrics=metrics, ratings=args.ratings, idf=idf)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"agreement: {error}", file=sys.stderr)
        return 1
    source = f"{idf.source} ({idf.documents:,} documents)" if idf else "none needed"
    report = {
        "set": name, "counts": judged.counts, "own": args.own or _OWN[name], "ratings": args.ratings, "idf": source,
        **found,
    }  # fmt: skip
    if args.json:
        undefined = {m: {k: None if math.isnan(v) else v for k, v in t.items()} for m, t in report["tau"].items()}
        print(json.dumps(report | {"tau": undefined}, indent=2, ensure_ascii=False))
    else:
        print(_table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
