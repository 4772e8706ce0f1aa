"""Scoring 5,000 captions with 5 references each: capjax.metrics against pycocoevalcap (Java and Python), in one run.

    python tests/benchmarks/bench_metrics.py [--items 5000] [--rounds 3] [--growth]

Tokenization, BLEU, ROUGE-L, CIDEr, with METEOR and without. Each library runs in a process of its own, from its start
to its last score; they take turns, and the best round counts. `--growth` measures time and memory of 10,000, 30,000
and 100,000 items. Captions are halves of Flickr8k's put together at random where real data is found ($CAPJAX_DATA),
else sentences of the built-in dataset's grammar; no two need be alike.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.helpers.real_data import find_real_data  # noqa: E402

OURS = """
import json, resource, sys
from capjax.metrics import score
predictions, references = json.load(open(sys.argv[1]))
found = score(predictions, references, metrics=sys.argv[2].split(",")).corpus
found["GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps(found))
"""

THEIRS = """
import contextlib, io, json, sys
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
predictions, references = json.load(open(sys.argv[1]))
with contextlib.redirect_stdout(io.StringIO()):
    tokenizer = PTBTokenizer()
    found = {}
    ours = tokenizer.tokenize({id: [{"caption": text}] for id, text in predictions.items()})
    theirs = tokenizer.tokenize({id: [{"caption": text} for text in texts] for id, texts in references.items()})
    found["BLEU-4"] = Bleu(4).compute_score(theirs, ours, verbose=0)[0][3]
    found["ROUGE-L"] = float(Rouge().compute_score(theirs, ours)[0])
    found["CIDEr"] = float(Cider().compute_score(theirs, ours)[0])
    if "meteor" in sys.argv[2]:
        found["METEOR"] = Meteor().compute_score(theirs, ours)[0]
print(json.dumps(found))
"""
METRICS = {"with METEOR": "bleu,rouge,cider,meteor", "without METEOR": "bleu,rouge,cider"}


def sentences() -> list[str]:
    folder = find_real_data()
    if folder is not None:
        lines = (folder / "flickr8k/Flickr8k_text/Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
        return [line.split("\t")[1] for line in lines]
    from data_prep.synthetic.shapes.grammar import captions
    from data_prep.synthetic.shapes.scene import make_scene

    return [text for index in range(800) for text in captions(make_scene(0, index), "en", 5)]


def write_captions(path: Path, items: int):
    rng, texts = random.Random(0), [text.split() for text in sentences()]

    def caption() -> str:
        head, tail = rng.choice(texts), rng.choice(texts)
        return " ".join([*head[: len(head) // 2 + 1], *tail[len(tail) // 2 :]])

    references = {str(item): [caption() for _ in range(5)] for item in range(items)}
    # Half of a reference and half of something else: as near as a model's captions are.
    predictions = {}
    for item, group in references.items():
        words = group[0].split()
        predictions[item] = " ".join([*words[: len(words) // 2], *rng.choice(texts)[-5:]])
    path.write_text(json.dumps([predictions, references]))


def run(program: str, captions: Path, metrics: str) -> tuple[float, dict]:
    """(seconds from the process' start to its end, what it found)"""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, str(captions), metrics], capture_output=True, text=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    return time.perf_counter() - start, json.loads(done.stdout)


def compare(captions: Path, rounds: int):
    for title, metrics in METRICS.items():
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(run(OURS, captions, metrics))
            theirs.append(run(THEIRS, captions, metrics))
        for name, value in theirs[0][1].items():
            if abs(ours[0][1][name] - value) > 1e-4:
                raise SystemExit(f"{name} differs: {ours[0][1][name]} here, {value} there")
        mine, other = min(seconds for seconds, _ in ours), min(seconds for seconds, _ in theirs)
        print(f"{title:16} capjax {mine:6.2f} s   pycocoevalcap {other:6.2f} s   {other / mine:5.2f} times as fast")


def growth(folder: Path):
    for items in (10_000, 30_000, 100_000):
        captions = folder / f"{items}.json"
        write_captions(captions, items)
        for title, metrics in METRICS.items():
            seconds, result = run(OURS, captions, metrics)
            rate = seconds / items * 1e3
            print(f"{items:7,} items {title:15} {seconds:7.1f} s, {rate:5.2f} ms an item, {result['GB']:5.2f} GB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action="store_true", help="time and memory of 10,000 to 100,000 items")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.growth:
            growth(Path(folder))
            return
        captions = Path(folder) / "captions.json"
        write_captions(captions, options.items)
        print(f"{options.items} items with 5 references each")
        compare(captions, options.rounds)


if __name__ == "__main__":
    main()
