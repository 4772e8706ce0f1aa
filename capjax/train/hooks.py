"""Hooks of the training loop: reports, checkpoints, evaluation, profiling.

The loop calls each hook at the points that `Hook` defines, in the order of the list that it is given.
"""

import time
from pathlib import Path

import jax

from capjax.decode.generator import Generator
from capjax.evals.evaluate import means, value_of
from capjax.evals.run_eval import write_eval
from capjax.metrics.names import LOWER_IS_BETTER
from capjax.metrics.writing import write_errors_named
from capjax.parallel import hosts
from capjax.train.compilation import announced
from capjax.train.train_run import TrainRun
from capjax.workdir.metrics_log import read_metrics


class Hook:
    """The points at which a hook is called. All processes of a job call the same hooks."""

    def on_start(self, run: TrainRun):
        """Before the first step of this process, with the initial or the restored state."""

    def before_compile(self, run: TrainRun, inputs: dict[str, jax.Array]):
        """Before the training step is compiled for the shapes of `inputs`."""

    def after_step(self, run: TrainRun):
        """After each step; it may still be running on the devices."""

    def on_end(self, run: TrainRun):
        """After the last step of the run."""

    def close(self):
        """When the loop ends, however it ends."""


class ReportProgress(Hook):
    """Reports the start, metrics every `train.log_every` steps, and stages of the curriculum."""

    def on_start(self, run: TrainRun):
        self._reporter, self._since, self._last_step = run.reporter, time.perf_counter(), run.start
        trained, frozen = (
            sum(value.size for value in params.values()) for params in (run.state.params, run.state.frozen)
        )
        devices, steps = jax.devices(), run.config.train.steps
        run.reporter.say(
            f"{trained:,} trainable parameters, {frozen:,} frozen; {len(devices)} {devices[0].platform} devices; "
            + (f"resuming from step {run.start}" if run.start else "starting from step 0")
        )
        if run.config.data.curriculum:
            run.reporter.say(str(run.batches.stage))
        if run.start >= steps:
            run.reporter.say(f"all {steps} steps are done already; set a larger train.steps to continue from here")

    def after_step(self, run: TrainRun):
        step = run.step
        run.reporter.advance(step)
        if step % run.config.train.log_every == 0 or run.is_last or step == run.start + 1:
            values = {name: float(value) for name, value in run.metrics.items()}  # waits for the step
            now = time.perf_counter()
            seconds = now - self._since - run.excluded_time
            values["seconds_per_step"] = seconds / (step - self._last_step)
            values["data_wait"] = run.data_wait / seconds
            run.settle()
            run.reporter.metrics(step, values)
            self._since, self._last_step, run.data_wait, run.excluded_time = now, step, 0.0, 0.0
        if run.stage is not None and run.stage.first == step:
            run.reporter.say(str(run.stage))

    def close(self):
        self._reporter.close()


class SaveCheckpoints(Hook):
    """Saves the state every `checkpoint.every` steps, at the end, when the run stops, and before each evaluation."""

    def on_start(self, run: TrainRun):
        self._checkpoints = run.checkpoints

    def after_step(self, run: TrainRun):
        due = run.step % run.config.checkpoint.every == 0
        if due or run.is_last or run.stop_signal or evaluation_due(run):
            with run.busy():
                run.verify()
                run.checkpoints.save(run.step, run.state, run.batches.get_state())

    def close(self):
        self._checkpoints.close()


class Evaluate(Hook):
    """Evaluates every `train.eval_every` steps and at the end, and saves the weights with the best score.

    The state is saved before, so that a signal may end the process during an evaluation. The next start repeats an
    evaluation that was cut off.
    """

    def __init__(self, generator: Generator):
        self._generator = generator
        self._compiled: set[tuple] = set()  # shapes of batches

    def on_start(self, run: TrainRun):
        if run.start and evaluation_due(run) and not _is_evaluated(run):
            self._evaluate(run)

    def after_step(self, run: TrainRun):
        if evaluation_due(run) and (run.is_last or not run.stop_signal):
            self._evaluate(run)

    def on_end(self, run: TrainRun):
        if run.eval_split and (best := run.checkpoints.best()):
            name, (step, score) = run.config.checkpoint.best, best
            score = abs(score) if name in LOWER_IS_BETTER else score
            run.reporter.say(f"best {name}: {score:.4f}, at step {step}; see best/ and scores.json")

    def _evaluate(self, run: TrainRun):
        assert run.eval_split is not None  # an evaluation is due only with data.eval
        eval_split = run.eval_split
        params, batch_stats = run.state.for_eval()

        def compile_for(inputs: dict[str, jax.Array]):
            shapes = tuple(value.shape for value in inputs.values())
            if shapes not in self._compiled:
                self._compiled.add(shapes)
                with announced(run.reporter.say, "the decoder for evaluation"):
                    self._generator.compile(params, batch_stats, inputs, run.config.data.languages)

        with run.busy(), run.excluded(), run.exit_on_signal():
            result = eval_split.evaluate(self._generator, params, batch_stats, on_batch=compile_for)
            score = value_of(result.scores, run.config.checkpoint.best)
            if run.checkpoints.beats_best(run.step, score):
                # Files first: a run killed between the two writes them again.
                if hosts.is_first():
                    write_eval(result, run.config, run.workdir, run.step)
                run.checkpoints.save_best(run.step, score, params, batch_stats)
            # Last: an evaluation without this row is repeated.
            run.reporter.scores(run.step, means(result.scores))
            for warning in result.warnings:
                run.reporter.say(f"warning: {warning}")


class Profile(Hook):
    """Writes a profiler trace of the steps `train.profile`, which TensorBoard and Perfetto show."""

    def __init__(self, first: int, last: int):
        self._first, self._last, self._is_tracing = first, last, False
        self._folder = Path()

    def on_start(self, run: TrainRun):
        self._start_before(run, run.step + 1)

    def after_step(self, run: TrainRun):
        if self._is_tracing and run.step == self._last:
            run.settle()
            self.close()
            run.reporter.say(f"wrote a profiler trace of steps {self._first} to {run.step} into {_profile_dir(run)}")
        self._start_before(run, run.step + 1)

    def _start_before(self, run: TrainRun, step: int):
        if step == self._first:
            run.settle()
            with write_errors_named(_profile_dir(run)):
                jax.profiler.start_trace(_profile_dir(run))
            self._is_tracing, self._folder = True, _profile_dir(run)

    def close(self):
        if self._is_tracing:
            self._is_tracing = False
            with write_errors_named(self._folder):
                jax.profiler.stop_trace()


def _profile_dir(run: TrainRun) -> Path:
    return run.workdir.path / "profile"


def evaluation_due(run: TrainRun) -> bool:
    """Whether the config asks for an evaluation after the current step."""
    every = run.config.train.eval_every
    return run.eval_split is not None and (run.is_last or (every > 0 and run.step % every == 0))


def _is_evaluated(run: TrainRun) -> bool:
    """Whether an earlier process has completed the evaluation after the current step."""
    rows = read_metrics(run.workdir.metrics_path) if hosts.is_first() else []
    names = {name for row in rows if row["step"] == run.step for name in row}
    return hosts.allgather_objects(any(name.startswith("eval/") for name in names))[0]
