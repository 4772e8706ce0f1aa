"""Bulk captioning on Apache Beam: each shard is one element, and each worker loads the model once.

The workers need capjax. They read the inputs and the workdir, and write shards, under the paths of this machine, on a
shared file system.
"""

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from capjax import runtime
from capjax.bulk.bulk_job import BulkJob, BulkOptions, caption_groups
from capjax.bulk.inputs import Inputs
from capjax.bulk.shards import Shards
from capjax.plugins import import_plugins
from capjax.predict import Predictor

_loading = threading.Lock()


@dataclass(frozen=True)
class _Task:
    """A shard to write, with its media."""

    shard: int
    inputs: Inputs


class CaptionShards(beam.DoFn):
    """Captions and writes shards, unless an earlier worker has written them.

    Args:
      workdir: folder of a training run.
      plugins: modules to import before the model is loaded.
      options: how media are captioned.
      shards: where they are written.
    """

    def __init__(self, workdir: str, plugins: Sequence[str], options: BulkOptions, shards: Shards):
        self._workdir, self._plugins, self._options, self._shards = workdir, tuple(plugins), options, shards

    def setup(self):
        """Loads the model, unless another thread of this process has."""
        with _loading:
            self._predictor = _load(self._workdir, self._plugins)

    def process(self, task: _Task):
        """Writes a shard and yields its number."""
        if not self._shards.path(task.shard).exists():
            media = (item for _, item in task.inputs.items([range(len(task.inputs))]))
            (rows,) = caption_groups(self._predictor, iter([media]), self._options)
            self._shards.write(task.shard, rows)
        yield task.shard


@functools.cache
def _load(workdir: str, plugins: tuple[str, ...]) -> Predictor:
    runtime.start()
    import_plugins(plugins)
    return Predictor(workdir)


def run_on_beam(job: BulkJob, shards: Sequence[int], workdir: str, plugins: Sequence[str], options: PipelineOptions):
    """Captions and writes these shards with the workers of a Beam runner.

    Raises:
      ValueError: the Beam job failed; the shards that were written are kept.
    """
    tasks = [_Task(shard, job.inputs.part(job.numbers(shard))) for shard in shards]
    if not tasks:
        return
    try:
        pipeline = beam.Pipeline(options=options)
        (
            pipeline
            | "shards" >> beam.Create(tasks)
            | "spread" >> beam.Reshuffle()  # otherwise one worker would write all shards
            | "caption" >> beam.ParDo(CaptionShards(workdir, plugins, job.options, job.shards))
        )
        pipeline.run().wait_until_finish()
    except Exception as error:  # runners have exceptions of their own
        reason = str(error).strip().split("\n")[-1] or type(error).__name__
        raise ValueError(
            f"the Beam job failed: {reason}. Its workers must see inputs, workdir and {job.shards.folder} under these "
            "paths; shards that were written are kept"
        ) from error
