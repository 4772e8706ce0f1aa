"""What a run says while it goes: a progress bar, metrics.jsonl, TensorBoard."""

import json
import logging
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from capjax.files import write_text
from capjax.workdir.metrics_log import read_metrics

log = logging.getLogger("capjax")


class Reporter:
    """Writes metrics by step.

    Args:
      path: metrics.jsonl; lines of steps after `start` are dropped, for a run that goes on from a checkpoint repeats
      them.
      tensorboard_dir: where TensorBoard's files go, or None.
    """

    def __init__(self, path: Path, *, start: int, steps: int, batch_size: int, tensorboard_dir: Path | None):
        kept = [row for row in read_metrics(path) if row["step"] <= start]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a")
        self._batch_size = batch_size
        self._bar = tqdm(
            total=steps, initial=start, unit="step", dynamic_ncols=True, disable=None, file=sys.stderr, leave=True
        )
        self._tensorboard = _TensorBoard(tensorboard_dir) if tensorboard_dir else None

    def advance(self, step: int):
        self._bar.update(step - self._bar.n)

    def exclude(self, seconds: float):
        """Leaves the last `seconds` out of the bar's rate and remaining time."""
        if not self._bar.disable:
            self._bar.start_t += seconds
            self._bar.last_print_t += seconds

    def metrics(self, step: int, values: dict[str, float]):
        """Records training metrics; `seconds_per_step` gives images/s and the time left."""
        if "seconds_per_step" in values:
            values = values | {"images_per_second": self._batch_size / values["seconds_per_step"]}
        self._write(step, values)
        text = f"loss {values['loss']:.3f}, {values['images_per_second']:.0f} images/s"
        if self._bar.disable:
            left = (self._bar.total - step) * values["seconds_per_step"]
            print(f"step {step}/{self._bar.total}: {text}, {left:.0f} s left", file=sys.stderr, flush=True)
        else:
            self._bar.set_postfix_str(text)

    def scores(self, step: int, values: dict[str, float]):
        """Records an evaluation."""
        self._write(step, {f"eval/{name}": value for name, value in values.items()})
        self.say(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()))

    def say(self, text: str):
        """A line that does not break the bar."""
        tqdm.write(text, file=sys.stderr)

    def _write(self, step: int, values: dict[str, float]):
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._tensorboard:
            self._tensorboard.write_scalars(step, values)

    def close(self):
        self._bar.close()
        self._file.close()
        if self._tensorboard:
            self._tensorboard.close()


class SilentReporter:
    """In place of a Reporter in all processes but the first."""

    def advance(self, step: int):
        pass

    def exclude(self, seconds: float):
        pass

    def metrics(self, step: int, values: dict[str, float]):
        pass

    def scores(self, step: int, values: dict[str, float]):
        pass

    def say(self, text: str):
        pass

    def close(self):
        pass


class _TensorBoard:
    """Writes summaries in a thread of its own, which first imports TensorFlow for clu: seconds that no step waits for.

    An error there is raised by the next call here.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, "tensorboard")
        self._writer: Future | None = None
        self._written: Future | None = None

    def write_scalars(self, step: int, values: dict[str, float]):
        if self._writer is None:
            self._writer = self._thread.submit(_summary_writer, self._directory)
        if self._written and self._written.done():
            self._written.result()
        self._written = self._thread.submit(self._write, step, values)

    def _write(self, step: int, values: dict[str, float]):
        if (writer := self._writer.result()) is not None:
            writer.write_scalars(step, values)

    def close(self):
        self._thread.shutdown()
        if self._writer and (writer := self._writer.result()) is not None:
            writer.close()
            self._written.result()


def _summary_writer(directory: Path):
    """clu's summary writer, or None where the extra is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it writes summaries only, and would announce oneDNN
    try:
        from clu import metric_writers
    except ImportError:
        log.info("no TensorBoard files: pip install 'capjax[tensorboard]' brings them; metrics.jsonl has the same")
        return None
    return metric_writers.SummaryWriter(str(directory))
