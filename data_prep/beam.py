"""Writes shards on Apache Beam: with processes of this machine, or on Dataflow, Flink or Spark.

capjax prepare NAME ... --beam                                     (this machine, one process per core)
capjax prepare NAME ... --beam --runner=FlinkRunner --flink_master=HOST:8081 --environment_type=...

What follows --beam are Beam's own options. Each shard is one element of the pipeline, and `shards.write_shard` writes
it in any process, so the files equal those of any other run. The workers need capjax. They read media and write shards
under the paths of this machine, on a shared file system (NFS, Lustre, a mounted bucket), or through --stage. Each
finished shard has a report beside it, so that a stopped job resumes from the finished shards, with or without Beam.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

try:
    import apache_beam as beam
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners.runner import PipelineResult
except ImportError as error:
    raise RuntimeError("--beam needs Apache Beam: pip install 'capjax[beam]'") from error

from capjax.beam_options import LOCAL
from data_prep.pool import Stopped
from data_prep.shards import Shard, ShardReport, write_shard
from data_prep.staging import StagedShard, StagingFolder

# Seconds between two checks for finished shards, and between a worker's checks whether to stop; with a staging folder
# each check is a request.
_PERIOD, _STAGE_PERIOD = 0.5, 10.0


def make_shards_on_beam(
    shards: Sequence[Shard], options: PipelineOptions, work_dir: Path, stage: str | None = None
) -> Iterator[tuple[Shard, ShardReport]]:
    """Yields shards and their reports as they finish, in any order.

    Leaving the loop early stops the workers after their current items.

    Args:
      work_dir: working folder of the dataset, to which the shards are written. A file `stop` in it stops the workers.
      stage: URL of a staging folder for media and shards (see data_prep/staging.py); `stop` is then in that folder.

    Raises:
      InputError: the staging folder cannot be written.
      RuntimeError: the job failed; finished shards are kept.
    """
    if not shards:
        return
    staging = StagingFolder(stage) if stage else None
    tasks = staging.send(shards) if staging else shards
    waiting = {shard.report_path.name: shard for shard in shards}
    job = _Job(tasks, options, staging.stop_path() if staging else str(work_dir / "stop"))
    try:
        while waiting:
            alive = job.thread.is_alive()  # checked first, so that no finished shard is missed
            for name, report in staging.fetch(waiting) if staging else _finished(waiting):
                yield waiting.pop(name), report
            if waiting and not alive:
                raise RuntimeError(job.failure(len(waiting), stage or work_dir))
            job.thread.join(_STAGE_PERIOD if staging else _PERIOD)
        job.thread.join()
    finally:
        job.stop()


def _finished(waiting: dict[str, Shard]) -> list[tuple[str, ShardReport]]:
    folder = next(iter(waiting.values())).report_path.parent
    names = sorted({entry.name for entry in os.scandir(folder)} & set(waiting))
    return [(name, report) for name in names if (report := ShardReport.read(waiting[name]))]


class _Job:
    """A running pipeline. A thread waits for its end."""

    def __init__(self, tasks: Sequence[Shard | StagedShard], options: PipelineOptions, stop_path: str):
        self._stop_path = stop_path
        self._result: PipelineResult | None = None
        self._error: Exception | None = None
        self._remove_stop_file()
        # The local runner returns when the job is done. Others return at once and handle signals, in the main thread.
        local = options.view_as(StandardOptions).runner == LOCAL
        try:
            pipeline = beam.Pipeline(options=options)
            (
                pipeline
                | "shards" >> beam.Create(tasks)
                | "spread" >> beam.Reshuffle()  # otherwise one worker would write all shards
                | "write" >> beam.Map(_write, stop_path)
            )
            if not local:
                self._result = pipeline.run()
        except Exception as error:  # runners have exceptions of their own
            raise RuntimeError(
                f"the Beam job could not be started: {str(error).strip() or type(error).__name__}"
            ) from error
        self.thread = threading.Thread(target=self._wait, args=[pipeline if local else None], daemon=True)
        self.thread.start()

    def _wait(self, pipeline: beam.Pipeline | None):
        try:
            result = pipeline.run() if pipeline else self._result
            assert result is not None  # a runner that is not local has started
            result.wait_until_finish()
        except Exception as error:  # runners have exceptions of their own; reported by `failure`
            self._error = error

    def failure(self, missing: int, folder: str | Path) -> str:
        what = str(self._error or "").strip().split("\n")[-1] or f"it ended without {missing} of its shards"
        where = f"Its workers must see {folder} under this path; finished shards are kept there"
        return f"the Beam job failed: {what}\n{where}"

    def stop(self):
        """Stops the job if it is still running."""
        if self.thread.is_alive():
            FileSystems.create(self._stop_path).close()
            if self._result is not None:
                self._result.cancel()
            self.thread.join()
            self._remove_stop_file()

    def _remove_stop_file(self):
        if FileSystems.exists(self._stop_path):
            FileSystems.delete([self._stop_path])


def _write(task: Shard | StagedShard, stop_path: str):
    """Writes a shard in a worker, unless an earlier worker has written it."""
    parent, last_check = os.getppid(), -float("inf")
    period = _STAGE_PERIOD if isinstance(task, StagedShard) else _PERIOD

    def on_items(count: float):
        nonlocal last_check
        if time.monotonic() - last_check < period:
            return
        last_check = time.monotonic()
        if os.getppid() != parent or FileSystems.exists(stop_path):  # a killed runner leaves orphaned workers
            raise Stopped

    with contextlib.suppress(Stopped):
        on_items(0)
        if isinstance(task, StagedShard):
            task.make(on_items)
        elif ShardReport.read(task) is None:
            write_shard(task, on_items)
