"""`capjax bulk`, and `launch.py --mode=bulk`: captions of large collections, in shards."""

import argparse
import re
import sys
import time
from collections.abc import Sequence

from capjax import plugins
from capjax.beam_options import check_words, make_options
from capjax.commands.media_arguments import printable
from capjax.files import check_output, storage_path
from capjax.metrics.messages import noting

_DESCRIPTION = """\
Captions photos and videos of folders, lists, tars, Parquet files or datasets into shards of JSON lines or Parquet. The
same command continues a job that was stopped, also with another number of processes. A model trained to find events
writes the events of each video."""
_EPILOG = """\
Exit status: 0: done; media that cannot be read are rows with an error. 1: an error, or nothing could be captioned. 2:
wrong arguments. 130: stopped by Ctrl-C. 75: another process of the job was lost; start all again."""


def main(argv: Sequence[str] | None = None, program: str = "capjax bulk") -> int:
    """Runs the command; returns the exit status."""
    parser = _parser(program)
    args = parser.parse_args(argv)
    _check(parser, args)
    from capjax import runtime

    runtime.start()
    from capjax import jobs  # imports JAX, which then reads the environment that `start` sets
    from capjax.parallel import hosts

    def job() -> int:
        if not args.part and args.beam is None:
            hosts.join()
        return run(args, program)

    return jobs.run_on_hosts(job, program)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program, description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--input", nargs="+", action="extend", required=True, help="folders of photos and videos, lists "
        "of paths (one a line, relative to the list), WebDataset tars, Parquet files, splits of datasets as "
        "FOLDER@SPLIT, or single files; may be repeated")  # fmt: skip
    add("--output", required=True, metavar="DIR", help="folder of the shards; may be gs://BUCKET/FOLDER")
    add("--workdir", required=True, metavar="DIR", help="folder of a training run; may be gs://BUCKET/FOLDER")
    add("--format", choices=("jsonl", "parquet"), default="jsonl", help="of the shards (default: jsonl)")
    add("--shard-size", type=int, default=1024, metavar="N", help="media in a shard; a stopped process loses the work "
        "on one shard (default: 1024)")  # fmt: skip
    add("--part", metavar="I/N", help="caption the shards of process I of N (1/4, 2/4, ...), for processes that do not "
        "know of each other")  # fmt: skip
    add("--beam", nargs=argparse.REMAINDER, metavar="OPTION", help="caption with Apache Beam. What follows are Beam's "
        "own options, such as --runner=FlinkRunner; without any, the cores of this machine are used. Workers must see "
        "inputs, workdir and output under the same paths")  # fmt: skip
    plugins.add_argument(parser)
    add = parser.add_argument_group("captions").add_argument
    add("--lang", action="append", metavar="LANG", help="language to write; may be repeated (default: the first "
        "language of the model)")  # fmt: skip
    add("--n", type=int, default=1, metavar="N", help="captions of each photo or video, the best first (default: 1)")
    add("--num-beams", "--beams", type=int, help="hypotheses kept by beam search (default: as in the run's config)")
    add("--max-len", type=int, help="largest number of tokens in a caption (default: as in the run's config)")
    add("--batch", type=int, help="photos, videos or windows in a batch (default: 32; for events 8)")
    add("--seed", type=int, default=0, help="seed of sampling (default: 0)")
    add("--window", type=float, metavar="SECONDS", help="events: length of a window (default: as in training)")
    add("--overlap", type=float, metavar="SECONDS", help="events: overlap of two windows (default: as in training)")
    add = parser.add_argument_group("inputs").add_argument
    add("--prefix-ids", action="store_true", help="put the name of its input before each id (train.tar/0001), where "
        "inputs have the same ids")  # fmt: skip
    add("--column", metavar="NAME", help="column of Parquet files with the bytes of photos or videos (default: image, "
        "or the only one)")  # fmt: skip
    add("--id-column", metavar="NAME", help="column of Parquet files with ids (default: id, else FILE:ROW)")
    return parser


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace):
    for name in ("shard_size", "n", "num_beams", "max_len", "batch"):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: expected 1 or more")
    if args.part:
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", args.part)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            parser.error(f"--part {args.part}: expected I/N with I from 1 to N, such as 1/4")
        args.part = int(match[1]) - 1, int(match[2])
    if args.beam is not None and args.part:
        parser.error("--part cannot be combined with --beam")
    check_words(parser, args.beam or ())
    if args.lang and len(set(args.lang)) < len(args.lang):
        parser.error("--lang: a language is given twice")


def run(args, program: str) -> int:
    """Captions this process's shards of a job; returns the exit status."""
    beam_options = make_options(args.beam) if args.beam is not None else None
    job = _open(args, program)
    shards = _own_shards(job, args)
    total = sum(len(job.numbers(shard)) for shard in shards)
    start = time.monotonic()
    try:
        if beam_options is not None:
            from capjax.bulk.beam import run_on_beam

            run_on_beam(job, shards, args.workdir, args.plugins, beam_options)
        else:
            _caption(job, shards, total)
    except KeyboardInterrupt:
        written = job.shards.count - len(job.shards.missing())
        print(
            f"{program}: stopped; {written} of {job.shards.count} shards are in {args.output}. The same command "
            "continues", file=sys.stderr,
        )  # fmt: skip
        raise
    return _finish(job, args, total / (time.monotonic() - start))


def _caption(job, shards: list[int], total: int):
    from tqdm import tqdm

    from capjax.parallel import hosts

    with tqdm(total=total, unit=" media", disable=None if hosts.is_first() else True, smoothing=0.05) as bar:

        def on_item():
            bar.update()
            hosts.heartbeat(0, busy=True)

        job.run(shards, on_item)


def _open(args, program: str):
    """The job, with the manifest written or compared."""

    from capjax.bulk.bulk_job import BulkJob, BulkOptions
    from capjax.bulk.inputs import Inputs, open_sources
    from capjax.bulk.manifest import write_or_check
    from capjax.parallel import hosts
    from capjax.parallel.mesh import make_prediction_mesh
    from capjax.predict import Predictor, finds_events
    from capjax.workdir.layout import Workdir

    def warn(message: str):
        if hosts.is_first():
            print(printable(f"{program}: {message}"), file=sys.stderr)

    plugins.import_plugins(args.plugins)
    output = storage_path(args.output)
    check_output(output)
    with noting(f"the workdir {args.workdir}"):
        workdir = Workdir(args.workdir)
        config = workdir.config()
        dense = finds_events(config)
        if not dense and (args.window or args.overlap):
            raise ValueError(f"--window and --overlap are for models that find events; see {args.workdir}/config.json")
        sources = open_sources(args.input, videos_only=dense, column=args.column, id_column=args.id_column, warn=warn)
        inputs = Inputs.of(sources, prefix_ids=args.prefix_ids)
        predictor = Predictor(args.workdir, config, mesh=make_prediction_mesh(config.mesh))
    decode = {name: getattr(args, name) for name in ("num_beams", "max_len") if getattr(args, name) is not None}
    if args.num_beams:
        decode["method"] = "beam"
    options = BulkOptions(
        tuple(args.lang or ()), args.n, args.batch or (8 if dense else 32), args.seed, args.window, args.overlap, decode
    )
    job = BulkJob.open(predictor, inputs, output, options, shard_size=args.shard_size, format=args.format)
    manifest = job.manifest(workdir.path)
    if hosts.is_first():
        write_or_check(output, manifest)
    hosts.sync("bulk manifest")
    if not hosts.is_first():
        write_or_check(output, manifest)
    return job


def _own_shards(job, args) -> list[int]:
    """The missing shards that this process captions: all, where processes compute batches together."""
    import jax

    from capjax.parallel import hosts

    if args.part:
        part, parts = args.part
        return [shard for shard in job.shards.missing() if shard % parts == part]
    missing = hosts.allgather_objects(job.shards.missing())[0]
    if job.predictor.spans_processes:
        return missing
    return missing[jax.process_index() :: jax.process_count()]


def _finish(job, args, rate: float) -> int:
    """Waits for the other processes, lists failed media and prints a summary."""
    from capjax.parallel import hosts

    hosts.wait_for_all("bulk")
    rates = hosts.allgather_objects(rate)
    rate = max(rates) if job.predictor.spans_processes else sum(rates)
    if not hosts.is_first():
        return 0
    if missing := job.shards.missing():
        print(f"{len(missing)} of {job.shards.count} shards are missing: other parts (--part) write them")
        return 0
    failed, media = job.shards.finish(), len(job.inputs)
    where = f" ({args.output}/failed.jsonl)" if failed else ""
    print(f"{media:,} media: {media - failed:,} captioned, {failed:,} failed{where}; {rate:.1f} per second")
    return 1 if failed == media else 0
