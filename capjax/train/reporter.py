"""Reports of a run while it trains: progress bar, metrics.jsonl, experiment trackers."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from capjax.train.trackers import BackgroundTracker
from capjax.workdir.metrics_log import MetricsLog


class Reporter:
    """Writes metrics by step.

    Args:
      path: metrics.jsonl. Rows after step `start` are dropped, since a resumed run repeats these steps.
      steps: the last step of the run.
      batch_size: records per step, for the rate.
      trackers: receive the same values as metrics.jsonl.
    """

    def __init__(
        self, path: Path, *, start: int, steps: int, batch_size: int, trackers: Sequence[BackgroundTracker] = ()
    ):
        self._log = MetricsLog(path, start=start)
        self._steps, self._batch_size, self._trackers = steps, batch_size, trackers
        self._bar = tqdm(
            total=steps, initial=start, unit="step", dynamic_ncols=True, disable=None, file=sys.stderr, leave=True
        )

    def wait_for_trackers(self):
        """Waits until all trackers can be used; raises the error of one that cannot.

        Except for TensorBoard, which needs no server, and whose packages take seconds to import.
        """
        for tracker in self._trackers:
            if tracker.name != "tensorboard":
                tracker.wait()

    def advance(self, step: int):
        """Moves the progress bar to a step."""
        self._bar.update(step - self._bar.n)

    def exclude(self, seconds: float):
        """Leaves the last `seconds` out of the bar's rate and remaining time."""
        if not self._bar.disable:
            self._bar.start_t += seconds
            self._bar.last_print_t += seconds

    def metrics(self, step: int, values: dict[str, float]):
        """Records training metrics; `seconds_per_step` gives the rate and the remaining time."""
        if "seconds_per_step" in values:
            values = values | {"images_per_second": self._batch_size / values["seconds_per_step"]}
        self._write(step, values)
        text = f"loss {values['loss']:.3f}, {values['images_per_second']:.0f} images/s"
        if self._bar.disable:
            remaining = (self._steps - step) * values["seconds_per_step"]
            print(f"step {step}/{self._steps}: {text}, {remaining:.0f} s left", file=sys.stderr, flush=True)
        else:
            self._bar.set_postfix_str(text)

    def scores(self, step: int, values: dict[str, float]):
        """Records an evaluation."""
        self._write(step, {f"eval/{name}": value for name, value in values.items()})
        self.say(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()))

    def say(self, text: str):
        """Prints a line without breaking the progress bar."""
        tqdm.write(text, file=sys.stderr)

    def _write(self, step: int, values: dict[str, float]):
        self._log.append({"step": step, **values})
        for tracker in self._trackers:
            tracker.write(step, values)

    def close(self):
        self._bar.close()
        self._log.close()
        for tracker in self._trackers:
            tracker.close()


class SilentReporter:
    """Has the methods of a Reporter and reports nothing; for all processes but the first."""

    def _ignore(self, *values):
        pass

    wait_for_trackers = advance = exclude = metrics = scores = say = close = _ignore
