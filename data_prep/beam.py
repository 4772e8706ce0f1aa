"""Shards made on Apache Beam: by processes of this machine, or on Dataflow, Flink or Spark.

python -m data_prep NAME ... --beam                                     (this machine, a process for each core)
python -m data_prep NAME ... --beam --runner=FlinkRunner --flink_master=HOST:8081 --environment_type=...

What follows --beam are Beam's own options. Each shard is one element of the pipeline, and `shards.write_shard` makes it
in whatever process: that is all Beam is asked for, so the files are those of any other run. The workers read the media
and write the shards under the paths of this machine: they need capjax and a file system in common (NFS, Lustre, a
mounted bucket). What became of a shard is told by the report that lies beside it, so that a job which was stopped goes
on from the shards that are finished, on Beam or without it.
"""

import contextlib
import difflib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import (
        DirectOptions,
        PipelineOptions,
        StandardOptions,
        TypeOptions,
        WorkerOptions,
    )
except ImportError as error:
    raise RuntimeError("--beam needs Apache Beam: pip install 'capjax[beam]'") from error

from data_prep.pool import Stopped, available_cores
from data_prep.readers.item import InputError
from data_prep.shards import Shard, ShardReport, write_shard

_LOCAL = "DirectRunner"
# Seconds between two looks at what is finished, and between a worker's looks whether it should stop.
_PERIOD = 0.5


def make_options(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options, with processes of this machine where no runner is named.

    Raises:
      InputError: an option that Beam does not have.
    """
    options = PipelineOptions(flags, pipeline_type_check=False)
    known = options.get_all_options()
    if unknown := set(options.get_all_options(retain_unknown_options=True)) - set(known):
        name = min(unknown)
        close = difflib.get_close_matches(name, known, n=1)
        raise InputError(f"--beam: Beam has no option --{name}" + (f"; did you mean --{close[0]}?" if close else ""))
    if (options.view_as(StandardOptions).runner or _LOCAL).lower() in ("direct", _LOCAL.lower()):
        options.view_as(StandardOptions).runner = _LOCAL
        # DirectRunner first fetches a program from the web, but not for a pipeline that allows this; ours has none.
        options.view_as(TypeOptions).allow_unsafe_triggers = True
        direct, given = options.view_as(DirectOptions), {flag.split("=")[0] for flag in flags}
        if "--direct_running_mode" not in given:
            direct.direct_running_mode = "multi_processing"
        if "--direct_num_workers" not in given:
            direct.direct_num_workers = available_cores()
        if "--default_sdk_harness_log_level" not in given:
            options.view_as(WorkerOptions).default_sdk_harness_log_level = "ERROR"
    return options


def make_shards_on_beam(
    shards: Sequence[Shard], options: PipelineOptions, stop_path: Path
) -> Iterator[tuple[Shard, ShardReport]]:
    """Yields shards and their reports as they get done, in any order.

    Leaving the loop early stops the workers after the items at hand.

    Args:
      stop_path: a file that does not exist; while it does, workers stop.

    Raises:
      RuntimeError: the job failed; what is finished stays.
    """
    if not shards:
        return
    stop_path.unlink(missing_ok=True)
    waiting = {shard.report_path.name: shard for shard in shards}
    job = _Job(shards, options, stop_path)
    try:
        while waiting:
            alive = job.thread.is_alive()  # before the look, so that none is missed
            there = {entry.name for entry in os.scandir(shards[0].report_path.parent)}
            for name in sorted(there & set(waiting)):
                if report := ShardReport.read(waiting[name]):
                    yield waiting.pop(name), report
            if waiting and not alive:
                raise RuntimeError(job.failure(waiting))
            job.thread.join(_PERIOD)
    finally:
        job.stop()


class _Job:
    """A pipeline at work. Its end is waited for in a thread."""

    def __init__(self, shards: Sequence[Shard], options: PipelineOptions, stop_path: Path):
        self._stop_path = stop_path
        self._result = self._error = None
        pipeline = beam.Pipeline(options=options)
        (
            pipeline
            | "shards" >> beam.Create(shards)
            | "apart" >> beam.Reshuffle()  # else one worker would make them all
            | "write" >> beam.Map(_write, str(stop_path))
        )
        # The local runner returns when all is done. Others return at once, and handle signals: in the main thread.
        local = options.view_as(StandardOptions).runner == _LOCAL
        if not local:
            self._result = pipeline.run()
        self.thread = threading.Thread(target=self._wait, args=[pipeline if local else None], daemon=True)
        self.thread.start()

    def _wait(self, pipeline: beam.Pipeline | None):
        try:
            result = pipeline.run() if pipeline else self._result
            result.wait_until_finish()
        except Exception as error:  # of a runner's own making; told by `failure`
            self._error = error

    def failure(self, waiting: dict[str, Shard]) -> str:
        what = str(self._error or "").strip().split("\n")[-1] or f"it ended without {len(waiting)} of its shards"
        where = f"Its workers must see {self._stop_path.parent} under this path; what is finished is kept there"
        return f"the Beam job failed: {what}\n{where}"

    def stop(self):
        """Ends the job, if it has not ended."""
        if self.thread.is_alive():
            self._stop_path.touch()
            if self._result is not None:
                self._result.cancel()
            self.thread.join()
            self._stop_path.unlink()


def _write(shard: Shard, stop_path: str):
    """Makes a shard in a worker, unless a worker that was here before has."""
    parent, looked = os.getppid(), 0.0

    def on_items(count: float):
        nonlocal looked
        if time.monotonic() - looked < _PERIOD:
            return
        looked = time.monotonic()
        if Path(stop_path).exists() or os.getppid() != parent:  # the runner of a local worker was killed
            raise Stopped

    with contextlib.suppress(Stopped):
        on_items(0)
        if ShardReport.read(shard) is None:
            write_shard(shard, on_items)
