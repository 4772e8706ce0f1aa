"""A training run between two steps: its state, the steps in flight, and the checks before anything is saved."""

import collections
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool
from ml_collections import ConfigDict

from capjax.data.batch import Batch
from capjax.data.curriculum import CurriculumStage
from capjax.data.pipeline import TrainIterator
from capjax.evals.run_eval import EvalSplit
from capjax.parallel import hosts
from capjax.parallel.sharding_rules import ShardingRules
from capjax.train.compilation import announced
from capjax.train.reporter import Reporter, SilentReporter
from capjax.train.state import TrainState
from capjax.train.stop_signals import StopSignals
from capjax.train.train_programs import Programs
from capjax.workdir.checkpoint import Checkpoints
from capjax.workdir.layout import Workdir


class NotFiniteError(RuntimeError):
    """The loss or a parameter is NaN or infinite; the message names step, records and the last good checkpoint."""


@dataclass
class TrainRun:
    """A training run, as the loop advances it and its hooks see it.

    Attributes:
      eval_split: the evaluation split; None: nothing is evaluated.
      undo_start: removes what a start that failed before its first step created in the workdir.
      start: the step that this process started from.
      step: the last step that was started; state: the training state after it.
      stage: the stage of the curriculum of the last batch; ids: the records in it.
      metrics: of the last step, on the device.
      data_wait: seconds that the loop waited for batches since the last report.
      excluded_time: seconds since the last report that are not training: compilation, evaluation.
      stop_signal: the signal after which all processes stop; None: go on.
    """

    config: ConfigDict
    workdir: Workdir
    rules: ShardingRules
    batches: TrainIterator
    eval_split: EvalSplit | None
    programs: Programs
    checkpoints: Checkpoints
    reporter: Reporter | SilentReporter
    signals: StopSignals
    undo_start: Callable[[], None]
    state: TrainState
    start: int
    step: int = field(init=False)
    stage: CurriculumStage | None = None
    ids: list[str] = field(default_factory=list)
    metrics: dict[str, jax.Array] = field(default_factory=dict)
    data_wait: float = 0.0
    excluded_time: float = 0.0
    stop_signal: int | None = None

    def __post_init__(self):
        self.step = self.start
        self._in_flight = collections.deque()  # (step, metrics, ids, vote) of steps that may still be running
        self._compiled: set[tuple] = set()  # shapes of batches
        self._iterator_state: dict = {}  # before the last batch
        self._vote = hosts.SignalAllReduce(self.rules.mesh) if jax.process_count() > 1 else None
        self._agreed_signal: int | None = None

    @property
    def is_last(self) -> bool:
        return self.step == self.config.train.steps

    def next_batch(self) -> Batch:
        """The next batch on the host."""
        before = time.perf_counter()
        self._iterator_state = self.batches.get_state()
        batch, self.stage = next(self.batches), self.batches.stage
        self.data_wait += time.perf_counter() - before
        self.ids = batch["ids"]
        return batch

    def is_compiled(self, inputs: dict[str, jax.Array]) -> bool:
        """Whether the training step is compiled for the shapes of `inputs`."""
        return _shapes(inputs) in self._compiled

    def compile(self, inputs: dict[str, jax.Array]):
        """Compiles the training step for the shapes of `inputs`."""
        if self._compiled:  # a signal ends the process while it compiles: with this checkpoint nothing is lost
            self.verify()
            self.checkpoints.save(self.step, self.state, self._iterator_state)
        hosts.heartbeat(self.step, busy=True)
        what = "the training step" + (" for another batch shape" if self._compiled else "")
        with self.excluded(), self.exit_on_signal(), announced(self.reporter.say, what):
            self.programs.step_fn.lower(self.state, inputs).compile()
        with self.excluded(), self.exit_on_signal():
            self.reporter.wait_for_trackers()
        self._compiled.add(_shapes(inputs))

    def advance(self, inputs: dict[str, jax.Array]):
        """Starts the next step. One step runs while the host prepares the next; the one before it is checked."""
        self.state, self.metrics = self.programs.step_fn(self.state, inputs)
        self.step += 1
        # Where there are several processes, all stop after the same step, whichever received the signal.
        vote = self._vote(self.signals.received or 0) if self._vote else 0
        self._in_flight.append((self.step, self.metrics, self.ids, vote))
        self.settle(keep=1)
        # Read once a step: a run that stops has been saved.
        self.stop_signal = self._agreed_signal if self._vote else self.signals.received
        hosts.heartbeat(self.step)

    def settle(self, keep: int = 0):
        """Waits for all but the newest `keep` steps, and checks their losses.

        Raises:
          NotFiniteError: a loss is NaN or infinite.
        """
        while len(self._in_flight) > keep:
            step, metrics, ids, vote = self._in_flight.popleft()
            self._agreed_signal = self._agreed_signal or int(vote) or None
            if not math.isfinite(float(metrics["loss"])):
                raise NotFiniteError(self._not_finite(f"the loss is {metrics['loss']}", step, ids))

    def verify(self):
        """Waits for the last step and checks its loss and the parameters after it.

        Raises:
          NotFiniteError: the state must not be saved.
        """
        self.settle()
        # The loss is that of the parameters before the step: it says nothing about those after it.
        if not all_finite(self.state.params):
            raise NotFiniteError(self._not_finite("a parameter is not finite", self.step, self.ids))

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Tells the other processes that this one evaluates or saves, which may take any time."""
        hosts.heartbeat(self.step, busy=True)
        yield
        if self.start < self.step < self.config.train.steps:
            hosts.heartbeat(self.step)  # from here a stalled step counts as a hang again

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """Leaves the time of this context out of the training rate and of the remaining time."""
        before = time.perf_counter()
        yield
        seconds = time.perf_counter() - before
        self.excluded_time += seconds
        self.reporter.exclude(seconds)

    def exit_on_signal(self):
        """A context in which a signal ends the process, since the current state is saved or is the initial one."""
        saved = self.checkpoints.latest_step()
        return self.signals.exit_on_signal(saved, self.undo_start if saved is None else self.checkpoints.wait)

    def _not_finite(self, problem: str, step: int, ids: list[str]) -> str:
        good = self.checkpoints.latest_step()
        path = f"{self.checkpoints.last_dir / str(good)}" if good is not None else "none was written yet"
        return (
            f"{problem} at step {step}, on the records {', '.join(ids)}. Last good checkpoint: {path}. "
            "Lower optimizer.learning_rate, set optimizer.clip_norm, or inspect these records."
        )


def _shapes(inputs: dict[str, jax.Array]) -> tuple:
    return tuple(value.shape for value in inputs.values())


@jax.jit
def all_finite(params) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(value).all() for value in jax.tree.leaves(params)]).all()
