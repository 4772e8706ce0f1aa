"""Captions per second of bulk captioning, against `Predictor.caption` on the same photos in batches of 32.

python tests/benchmarks/measure_bulk.py --workdir DIR --input FOLDER   # folders of photos in FOLDER, taken in turn

Both run in one process with one loaded model. Each folder is captioned by both, one after the other, in an order that
changes; bulk captioning lists the folder and writes shards too. Where other programs use the machine, compare the
processor seconds.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from capjax import runtime

runtime.start()

from capjax.bulk.bulk_job import BulkJob, BulkOptions  # noqa: E402
from capjax.bulk.inputs import Inputs, open_sources  # noqa: E402
from capjax.predict import Predictor  # noqa: E402
from tests.helpers.kill_bulk import rows  # noqa: E402


def in_bulk(predictor: Predictor, folder: Path, output: Path) -> list[str]:
    sources = open_sources([str(folder)], videos_only=False, column=None, id_column=None, warn=print)
    inputs = Inputs.of(sources, prefix_ids=False)
    job = BulkJob.open(predictor, inputs, output, BulkOptions(), shard_size=1024, format="jsonl")
    job.run(job.shards.missing())
    job.shards.finish()
    return [row["captions"][0]["text"] for row in rows(output)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, type=Path)
    parser.add_argument("--input", required=True, type=Path)
    parser.add_argument("--folders", type=int, help="how many (default: all)")
    args = parser.parse_args()
    predictor, count = Predictor(args.workdir), 0
    seconds, processor = {"caption": 0.0, "bulk": 0.0}, {"caption": 0.0, "bulk": 0.0}
    folders = sorted(path for path in args.input.iterdir() if path.is_dir())[: args.folders]
    predictor.caption(sorted(folders[0].iterdir())[:40])  # compiles the programs of both batch sizes
    for number, folder in enumerate(folders):
        texts = {}
        for name in ("caption", "bulk") if number % 2 else ("bulk", "caption"):
            start, processor_start = time.perf_counter(), time.process_time()
            if name == "caption":
                texts[name] = [each.text for each in predictor.caption(sorted(folder.iterdir()), batch_size=32)]
            else:
                with tempfile.TemporaryDirectory() as output:
                    texts[name] = in_bulk(predictor, folder, Path(output))
            seconds[name] += time.perf_counter() - start
            processor[name] += time.process_time() - processor_start
        assert texts["caption"] == texts["bulk"]
        count += len(texts["bulk"])
        rates = {name: count / own for name, own in seconds.items()}
        ratios = seconds["caption"] / seconds["bulk"], processor["caption"] / processor["bulk"]
        print(
            f"{count} photos: caption {rates['caption']:.1f}/s, bulk {rates['bulk']:.1f}/s, {ratios[0]:.1%}; "
            f"by processor seconds {ratios[1]:.1%}", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
