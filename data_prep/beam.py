"""Shards made on Apache Beam: by processes of this machine, or on Dataflow, Flink or Spark.

python -m data_prep NAME ... --beam                                     (this machine, a process for each core)
python -m data_prep NAME ... --beam --runner=FlinkRunner --flink_master=HOST:8081 --environment_type=...

What follows --beam are Beam's own options. Each shard is one element of the pipeline, and `shards.write_shard` makes it
in whatever process: that is all Beam is asked for, so the files are those of any other run. The workers need capjax.
They read the media and write the shards under the paths of this machine, on a file system in common (NFS, Lustre, a
mounted bucket), or by way of --stage. What became of a shard is told by the report that lies beside it, so that a job
which was stopped goes on from the shards that are finished, on Beam or without it.
"""

import contextlib
import difflib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

try:
    import apache_beam as beam
    from apache_beam.io.filesystems import FileSystems
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
from data_prep.staging import Stage, StagedShard

_LOCAL = "DirectRunner"
# Their job servers have further options of their own.
_SERVED = ("flink", "spark", "portable")
# What listens where, of a runner's options; without a host and a port they mean this process.
_ENDPOINTS = ("job_endpoint", "artifact_endpoint", "flink_master", "spark_rest_url")
_ANSWER_WITHIN = 10.0  # seconds
# Seconds between two looks at what is finished, and between a worker's looks whether it should stop; and with a stage,
# where each look is a request.
_PERIOD, _STAGE_PERIOD = 0.5, 10.0


def make_options(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options, with processes of this machine where no runner is named.

    Raises:
      InputError: an option that Beam does not have, or nothing answers where a runner is said to be.
    """
    options = PipelineOptions(flags, pipeline_type_check=False)
    runner = (options.view_as(StandardOptions).runner or _LOCAL).lower().removesuffix("runner")
    known = options.get_all_options()
    given = options.get_all_options(retain_unknown_options=True)
    unknown = set(given) - set(known)
    if unknown and runner not in _SERVED:
        name = min(unknown)
        close = difflib.get_close_matches(name, known, n=1)
        raise InputError(f"--beam: Beam has no option --{name}" + (f"; did you mean --{close[0]}?" if close else ""))
    if runner == "direct":
        options.view_as(StandardOptions).runner = _LOCAL
        # DirectRunner first fetches a program from the web, but not for a pipeline that allows this; ours has none.
        options.view_as(TypeOptions).allow_unsafe_triggers = True
        direct, named = options.view_as(DirectOptions), {flag.split("=")[0] for flag in flags}
        if "--direct_running_mode" not in named:
            direct.direct_running_mode = "multi_processing"
        if "--direct_num_workers" not in named:
            direct.direct_num_workers = available_cores()
        if "--default_sdk_harness_log_level" not in named:
            options.view_as(WorkerOptions).default_sdk_harness_log_level = "ERROR"
    for name in _ENDPOINTS:
        _check_endpoint(name, given.get(name) or "")
    return options


def _check_endpoint(name: str, address: str):
    """Beam itself waits for minutes, and some runners for ever, for what is not there."""
    found = re.fullmatch(r"(?:https?://)?([^\s:/\[\]]+):(\d+)/?", address)
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=_ANSWER_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--beam: nothing answers at --{name}={address} ({error}); is it running, and can this machine reach it?"
        ) from error


def make_shards_on_beam(
    shards: Sequence[Shard], options: PipelineOptions, work_dir: Path, stage: str | None = None
) -> Iterator[tuple[Shard, ShardReport]]:
    """Yields shards and their reports as they get done, in any order.

    Leaving the loop early stops the workers after the items at hand.

    Args:
      work_dir: that of the dataset, where the shards go. While it has a file `stop`, workers stop.
      stage: the url of a folder by way of which media and shards go; see data_prep/staging.py. Then `stop` is there.

    Raises:
      InputError: the stage cannot be written.
      RuntimeError: the job failed; what is finished stays.
    """
    if not shards:
        return
    through = Stage(stage) if stage else None
    tasks = through.send(shards) if through else shards
    waiting = {shard.report_path.name: shard for shard in shards}
    job = _Job(tasks, options, through.stop_path() if through else str(work_dir / "stop"))
    try:
        while waiting:
            alive = job.thread.is_alive()  # before the look, so that none is missed
            for name, report in through.fetch(waiting) if through else _finished(waiting):
                yield waiting.pop(name), report
            if waiting and not alive:
                raise RuntimeError(job.failure(len(waiting), stage or work_dir))
            job.thread.join(_STAGE_PERIOD if through else _PERIOD)
        job.thread.join()
    finally:
        job.stop()


def _finished(waiting: dict[str, Shard]) -> list[tuple[str, ShardReport]]:
    folder = next(iter(waiting.values())).report_path.parent
    names = sorted({entry.name for entry in os.scandir(folder)} & set(waiting))
    return [(name, report) for name in names if (report := ShardReport.read(waiting[name]))]


class _Job:
    """A pipeline at work. Its end is waited for in a thread."""

    def __init__(self, tasks: Sequence[Shard | StagedShard], options: PipelineOptions, stop_path: str):
        self._stop_path = stop_path
        self._result = self._error = None
        self._let_go()
        # The local runner returns when all is done. Others return at once, and handle signals: in the main thread.
        local = options.view_as(StandardOptions).runner == _LOCAL
        try:
            pipeline = beam.Pipeline(options=options)
            (
                pipeline
                | "shards" >> beam.Create(tasks)
                | "apart" >> beam.Reshuffle()  # else one worker would make them all
                | "write" >> beam.Map(_write, stop_path)
            )
            if not local:
                self._result = pipeline.run()
        except Exception as error:  # of a runner's own making
            raise RuntimeError(
                f"the Beam job could not be started: {str(error).strip() or type(error).__name__}"
            ) from error
        self.thread = threading.Thread(target=self._wait, args=[pipeline if local else None], daemon=True)
        self.thread.start()

    def _wait(self, pipeline: beam.Pipeline | None):
        try:
            result = pipeline.run() if pipeline else self._result
            result.wait_until_finish()
        except Exception as error:  # of a runner's own making; told by `failure`
            self._error = error

    def failure(self, missing: int, folder: str | Path) -> str:
        what = str(self._error or "").strip().split("\n")[-1] or f"it ended without {missing} of its shards"
        where = f"Its workers must see {folder} under this name; what is finished is kept there"
        return f"the Beam job failed: {what}\n{where}"

    def stop(self):
        """Ends the job, if it has not ended."""
        if self.thread.is_alive():
            FileSystems.create(self._stop_path).close()
            if self._result is not None:
                self._result.cancel()
            self.thread.join()
            self._let_go()

    def _let_go(self):
        if FileSystems.exists(self._stop_path):
            FileSystems.delete([self._stop_path])


def _write(task: Shard | StagedShard, stop_path: str):
    """Makes a shard in a worker, unless a worker that was here before has."""
    staged = isinstance(task, StagedShard)
    parent, looked, period = os.getppid(), -float("inf"), _STAGE_PERIOD if staged else _PERIOD

    def on_items(count: float):
        nonlocal looked
        if time.monotonic() - looked < period:
            return
        looked = time.monotonic()
        if os.getppid() != parent or FileSystems.exists(stop_path):  # a killed runner leaves orphans
            raise Stopped

    with contextlib.suppress(Stopped):
        on_items(0)
        if staged:
            task.make(on_items)
        elif ShardReport.read(task) is None:
            write_shard(task, on_items)
