"""Damaged and hostile files of captions, given to the scorer: it scores them or says in a line what is wrong.

Each case has a seed of its own, its number, by which a failure is reproduced: CAPJAX_FUZZ_CASE=123.
"""

import copy
import importlib.util
import json
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest

from capjax.metrics import agreement
from capjax.metrics.cli import main
from capjax.metrics.meteor import resources
from tests.helpers.fuzzing import count_cases

CASES = count_cases(300, 5_000)
ONLY = os.environ.get("CAPJAX_FUZZ_CASE")
SECONDS, BYTES = 10, 2**30

TEXTS = [
    "a dog runs on the grass",
    "two cats sleep",
    "a man rides a bike",
    "Ein Hund läuft.",
    "孩子在海滩上",
    "it's 3.5 m",
]
IDS = [1, 2, 3, 391895, "4"]
LABELS = {"images": [{"id": id} for id in IDS], "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
          "annotations": [{"image_id": id, "category_id": 1 + n % 2} for n, id in enumerate(IDS)]}  # fmt: skip
EVENTS = {f"v_{n}": {"duration": 20.5, "timestamps": [[0, 5], [4.5, 20]], "sentences": TEXTS[:2]} for n in range(3)}
CAPTIONS = [{"image_id": id, "caption": text} for id, text in zip(IDS, TEXTS, strict=False)]
# By the option that takes the file; the first is whole enough to go with the others.
FILES = {
    "--references": [
        {"images": [{"id": id} for id in IDS], "annotations": [{"id": n, **row} for n, row in enumerate(CAPTIONS * 2)]},
        {"images": [{"cocoid": id, "filename": f"{id}.jpg", "split": "test", "sentences": [{"raw": TEXTS[0]}]}
                    for id in IDS]},
        {"videos": [{"video_id": id, "split": "test"} for id in IDS],
         "sentences": [{"video_id": id, "caption": text} for id, text in zip(IDS, TEXTS, strict=False)]},
        {str(id): TEXTS[:2] for id in IDS},
        [{"image": f"{id}.jpg", "captions": [TEXTS[0], {"text": TEXTS[3], "lang": "de"}], "split": "val"}
         for id in IDS],
        EVENTS,
    ],
    "--predictions": [
        CAPTIONS,
        {str(id): TEXTS[2] for id in IDS},
        {"version": "1", "result": [{"video_id": id, "caption": TEXTS[1]} for id in IDS]},
        {"results": {id: [{"sentence": TEXTS[0], "timestamp": [0, 5.5]}] for id in EVENTS}},
    ],
    "--idf": [{"form": "capjax-idf-1", "documents": 9, "tokenizer": "ptb-3.4.1", "source": "x",
               "frequency": {"a dog": 3}}],
    "--objects": [LABELS, {str(id): ["dog"] for id in IDS}],
    "--synonyms": [{"dog": ["puppy"], "cat": ["kitten"]}],
    "--samples": [{str(id): TEXTS[:3] for id in IDS}],
    "--training": [[{"id": id, "caption": TEXTS[0]} for id in IDS]],
    "--baseline": [CAPTIONS],
}  # fmt: skip
HOSTILE = [
    None, True, 0, -1, 1.5, 1e999, -1e300, float("nan"), 10**400, "", " ", "\ud800", "\x00", "\u2028", "x" * 30_000,
    "0" * 30_000, "a1(" * 6_000, "<a b=" * 4_000, "-" * 1_900, "a,'b- " * 3_000, "a " * 9_000, "\u0301" * 5_000, [], {},
    [[]], [None], ["a dog"] * 3_000,
    {"a": 1}, [[[[1]]]], "en", "english", "de", "NaN", [1, 2], ["a", "a"], {"text": 3, "lang": float("nan")},
]  # fmt: skip
OPTIONS = [
    [], [], ["--json"], ["--lang", "de"], ["--missing", "zero", "--extra", "ignore"], ["--missing", "drop"],
    ["--diversity"], ["--metrics", "bleu"], ["--split", "test"], ["--bootstrap", "100"], ["--metrics", "METEOR,spice"],
]  # fmt: skip


def change(value, rng: random.Random):
    """Changes one place of a JSON value."""
    value = copy.deepcopy(value)
    parents = []

    def collect(node):
        for key in node.keys() if isinstance(node, dict) else range(len(node)):
            parents.append((node, key))
            if isinstance(node[key], (dict, list)) and node[key]:
                collect(node[key])

    collect(value)
    node, key = rng.choice(parents)
    action = rng.randrange(6)
    if action < 2:
        node[key] = copy.deepcopy(rng.choice(HOSTILE))
    elif action == 2:
        del node[key]
    elif action < 5:
        node[key] = rng.choice([*TEXTS, *IDS, [TEXTS[0]], {"text": TEXTS[1], "lang": "eng"}])
    elif isinstance(node, dict):
        node[rng.choice(["id", "image_id", "caption", "captions", "lang", "x"])] = node.pop(key)
    else:
        node.append(node[key])
    return value


def damage(data: bytes, rng: random.Random) -> bytes:
    """Changes some bytes of a file, cuts it, or writes it in another encoding."""
    start = rng.randrange(len(data) + 1)
    stop = min(len(data), start + rng.choice([0, 1, 2, 10, 1000]))
    junk = rng.choice(
        [b"", b"\xff", b"\xe4", b"\0", b'"', b"\\", b"[" * 3_000, b"\n", b"\r", b"\xe2\x80\xa8", b"1e999", b"NaN"]
    )
    text = data.decode(errors="replace")
    flipped = bytes(byte ^ 1 << rng.randrange(8) if rng.random() < 0.01 else byte for byte in data)
    return rng.choice([
        data[:start] + junk + data[stop:], data[:start], data[start:], data + data, flipped, rng.randbytes(300),
        data[:start] + data[start:stop] * 50 + data[stop:], data.replace(b" ", b"\x0b"), data.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + data, text.encode("utf-16"), text.encode("cp1252", "replace"),
    ])  # fmt: skip


def write(path: Path, value, rng: random.Random, *, spoil: bool):
    for _ in range(rng.choice([0, 1, 1, 2]) if spoil else 0):
        if isinstance(value, (dict, list)) and value:
            value = change(value, rng)
    if path.suffix == ".jsonl":
        rows = value if isinstance(value, list) else [value]
        text = "".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) + "\n" for row in rows)
    else:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
    data = text.encode(errors="surrogatepass")
    if spoil and rng.random() < 0.4:
        data = damage(data, rng)
    path.write_bytes(data)


def command(folder: Path, rng: random.Random) -> list[str]:
    """Writes files, of which at least one is spoiled, and returns the arguments that name them."""
    dense = rng.random() < 0.3
    further = [] if dense else rng.sample(list(FILES)[2:], rng.choice([0, 0, 1, 2]))
    names = ["--references", "--predictions", *further]
    spoiled = rng.choice(names)
    arguments = rng.choice(OPTIONS)
    for name in names:
        values = FILES[name]
        value = values[-1] if dense else rng.choice(values if name == spoiled else values[:1])
        path = folder / (name.strip("-") + rng.choice([".json", ".json", ".jsonl"] if name == spoiled else [".json"]))
        write(path, value, rng, spoil=name == spoiled)
        arguments = [*arguments, name, str(path)]
    return arguments


class TooSlow(BaseException):
    """Not an Exception, which the command would report."""


@pytest.fixture
def bounded():
    """Ends a case that takes too much processor time or memory with an error."""

    def too_slow(number, frame):
        raise TooSlow

    if importlib.util.find_spec("pycocoevalcap"):
        resources.load()  # METEOR's tables are converted once, which takes longer than a case may
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, limits = signal.signal(signal.SIGVTALRM, too_slow), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, limits[1]))
    yield lambda: signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)
    resource.setrlimit(resource.RLIMIT_AS, limits)


def cases():
    return [int(ONLY)] if ONLY else range(CASES)


def test_a_damaged_file_is_scored_or_refused_in_a_line(tmp_path, capsys, bounded):
    statuses, slowest = {0: 0, 1: 0, 2: 0}, 0.0
    for number in cases():
        rng = random.Random(number)
        arguments = command(tmp_path, rng)
        case = f"case {number}: {' '.join(arguments)}"
        bounded()
        start = time.process_time()
        status = main(arguments)
        slowest = max(slowest, time.process_time() - start)
        captured = capsys.readouterr()
        assert status in statuses, f"{case}: {captured.err}"
        assert len(captured.err) < 20_000, case
        if status == 2:
            assert captured.out == "" and captured.err.startswith("capjax.metrics: "), f"{case}: {captured.err}"
            assert captured.err.count("\n") == 1, f"{case}: {captured.err}"
        else:
            assert captured.out and "Warning" not in captured.err, f"{case}: {captured.err}"
        statuses[status] += 1
    print(f"{statuses} by exit status, at most {slowest:.2f} s")
    assert ONLY or min(statuses[0], statuses[2]) > CASES // 20, "files that are all refused, or none, prove little"


JUDGED = {
    "--expert": "a.jpg\ta.jpg#0\t1\t2\t3\na.jpg\tb.jpg#1\t2\t2\t4\nb.jpg\ta.jpg#1\t4\t4\t4\nb.jpg\tb.jpg#0\t1\t1\t1\n",
    "--crowdflower": "a.jpg\tb.jpg#1\t0.5\t1\t1\nb.jpg\ta.jpg#1\t1\t3\t0\na.jpg\tb.jpg#0\t0\t0\t3\n",
}
TOKENS = "".join(f"{photo}.jpg#{n}\t{TEXTS[n]} {photo}\n" for photo in "ab" for n in range(3))


def test_damaged_judgments_are_ranked_or_refused_in_a_line(tmp_path, capsys, bounded):
    for number in cases():
        rng = random.Random(number)
        option = rng.choice(list(JUDGED))
        contents = {option: JUDGED[option], "--captions": TOKENS}
        spoiled = rng.choice(list(contents))
        arguments = ["--metrics", "bleu", "--own", "keep"]
        for name, text in contents.items():
            path = tmp_path / f"{name.strip('-')}.txt"
            path.write_bytes(damage(text.encode(), rng) if name == spoiled else text.encode())
            arguments += [name, str(path)]
        bounded()
        status = agreement.main(arguments)
        captured = capsys.readouterr()
        assert status in (0, 1), f"case {number}: {captured.err}"
        assert bool(captured.out) == (status == 0), f"case {number}: {captured.err}"
        if status:
            assert captured.err.startswith("agreement: ") and captured.err.count("\n") == 1, (
                f"case {number}: {captured.err}"
            )
