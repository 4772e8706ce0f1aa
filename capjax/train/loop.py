"""The training loop, read top to bottom: mesh, data, model, state, step, then round and round."""

import collections
import contextlib
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from capjax.data.batch import to_device
from capjax.data.pipeline import (
    DatasetSplit,
    TrainIterator,
    check_eval,
    make_eval_batches,
    make_train_iterator,
)
from capjax.decode.generator import CaptionGenerator, Generator
from capjax.evals import dense
from capjax.evals import evaluate as evals
from capjax.metrics.names import LOWER_IS_BETTER
from capjax.models.build import check_stages, load_encoder
from capjax.models.pure_model import make_key
from capjax.parallel import hosts
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from capjax.text.vocabulary import Vocabulary
from capjax.train.reporter import Reporter, Silent
from capjax.train.state import TrainState
from capjax.train.train_programs import make_programs
from capjax.workdir.checkpoint import Checkpoints
from capjax.workdir.layout import Workdir
from capjax.workdir.prepare import prepare


class NotFiniteError(RuntimeError):
    """The loss or a parameter is NaN or infinite; the message names step, records and the last good checkpoint."""


class Stopped(RuntimeError):
    """A signal ended the run, after a checkpoint. `signal` is its number."""

    def __init__(self, number: int, step: int):
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name} at step {step} and saved; the same command goes on from here")
        self.signal = number


class _Stop:
    """`signal` is set by SIGTERM and SIGINT; the loop looks at it between steps. A second Ctrl-C stops at once."""

    def __init__(self):
        self.signal = None
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, number, frame):
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def restore(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)


def train(config: ConfigDict, workdir_path: str | Path) -> dict[str, float]:
    """Trains a config in a workdir, going on from its last checkpoint if there is one.

    Returns:
      The best evaluation's scores, by metric (a mean over languages); empty if there was none to do.

    Raises:
      ConfigError, DataError, FileNotFoundError: the config or the data cannot be used.
      NotFiniteError: the loss or a parameter became NaN or infinite.
      Stopped: by SIGTERM or SIGINT, at the end of a step.
    """
    workdir = Workdir(workdir_path)
    with workdir.lock() if hosts.is_first() else contextlib.nullcontext():
        _run(_make_job(config, workdir))
    return evals.read_scores(workdir.path) if config.data.eval else {}


@dataclass
class _Job:
    """What the loop turns."""

    config: ConfigDict
    workdir: Workdir
    rules: ShardingRules
    vocabulary: Vocabulary
    batches: TrainIterator
    checkpoints: Checkpoints
    state: TrainState
    step_fn: Callable
    generator: Generator
    reporter: Reporter | Silent


def _make_job(config: ConfigDict, workdir: Workdir) -> _Job:
    # ---- Mesh
    rules = ShardingRules(make_mesh(config.mesh), config.mesh.logical_axis_rules)
    rules.batch(config.train.batch_size // config.train.gradient_accumulation_steps)
    rules.batch(config.eval.batch_size)

    # ---- Data
    sources = [DatasetSplit.parse(part).open() for part in config.data.train]
    changed = []
    if hosts.is_first():
        changed = prepare(workdir, config, sources)
    hosts.sync("the workdir is prepared")
    vocabulary = Vocabulary.load(workdir.vocabulary_path)
    batches = make_train_iterator(
        config.data.train, vocabulary, config.data, batch_size=config.train.batch_size, seed=config.seed,
        rows=rules.rows(config.train.batch_size), sources=sources,
    )  # fmt: skip
    if config.data.eval:
        check_eval(config.data.eval, config.data.languages, config.data.buckets)

    # ---- Model, optimizer and step
    programs = make_programs(config, rules, vocabulary, feature_shape=workdir.feature_shape())
    check_stages(programs.pure_model, config, workdir.feature_shape())

    # ---- State, born where it belongs
    checkpoints = Checkpoints(workdir.path, keep=config.checkpoint.keep)
    resumed = checkpoints.latest_step() is not None
    if resumed:
        state, iterator_state = checkpoints.restore(programs.state)
        batches.set_state(iterator_state)
    else:
        state = programs.init_fn(make_key(config.seed), *load_encoder(config))
    start = int(state.step)

    # ---- What tells of it
    reporter = Silent()
    if hosts.is_first():
        reporter = Reporter(
            workdir.metrics_path, start=start, steps=config.train.steps, batch_size=config.train.batch_size,
            tensorboard_dir=workdir.path / "tensorboard" if config.train.tensorboard else None,
        )  # fmt: skip
    count, frozen = (sum(value.size for value in part.values()) for part in (state.params, state.frozen))
    reporter.say(
        f"{count:,} parameters learn, {frozen:,} are frozen; {len(jax.devices())} {jax.devices()[0].platform} devices; "
        + (f"going on from step {start}" if resumed else "from the start")
    )
    for change in changed:
        reporter.say(f"changed since the last start: {change}")
    if config.data.curriculum:
        reporter.say(str(batches.stage))
    if start >= config.train.steps:
        reporter.say(f"all {config.train.steps} steps are done already; a larger train.steps goes on from here")
    neighbors = workdir.neighbors(config.decode)
    generator = Generator(
        programs.pure_model, vocabulary, config.decode, config.data, neighbors, rules=rules,
        xla_options=config.eval.xla_options,
    )  # fmt: skip
    return _Job(
        config, workdir, rules, vocabulary, batches, checkpoints, state, programs.step_fn, generator, reporter
    )  # fmt: skip


def _run(job: _Job):
    """Round and round: the rest of the steps, with evaluations and checkpoints when they are due."""
    config, checkpoints, reporter = job.config, job.checkpoints, job.reporter
    stop, state, start = _Stop(), job.state, int(job.state.step)
    job.state = None  # its arrays are given away by the first step
    pending = collections.deque()  # (step, metrics, ids, votes) of steps that may still be running
    waited, last_time, last_step = 0.0, time.perf_counter(), start
    ballot = hosts.SignalAllReduce(job.rules.mesh) if jax.process_count() > 1 else None
    seen, agreed = set(), None  # shapes of batches; the signal that the processes agreed to stop for

    def settle(keep: int):
        """Waits for all but the newest `keep` steps and looks at their losses."""
        nonlocal agreed
        while len(pending) > keep:
            step, metrics, ids, votes = pending.popleft()
            agreed = agreed or int(votes) or None
            if not math.isfinite(float(metrics["loss"])):
                raise NotFiniteError(_not_finite(f"the loss is {metrics['loss']}", step, ids, checkpoints))

    try:
        for step in range(start + 1, config.train.steps + 1):
            before = time.perf_counter()
            batch, stage = next(job.batches), job.batches.stage
            waited += time.perf_counter() - before
            inputs = to_device(batch, job.rules, config.train.batch_size)
            shapes = tuple(value.shape for value in inputs.values())
            hosts.heartbeat(step - 1, busy=shapes not in seen)  # the step is compiled for them
            seen.add(shapes)
            state, metrics = job.step_fn(state, inputs)
            # Where there are several processes, all stop after the same step, whichever was told to.
            pending.append((step, metrics, batch["ids"], ballot(stop.signal or 0) if ballot else 0))
            # One step runs while the host prepares the next; older ones are looked at.
            settle(keep=1)
            hosts.heartbeat(step)
            reporter.advance(step)

            last = step == config.train.steps
            if step % config.train.log_every == 0 or last or step == start + 1:
                values = {name: float(value) for name, value in metrics.items()}
                now = time.perf_counter()
                seconds = now - last_time
                values["seconds_per_step"] = seconds / (step - last_step)
                values["data_wait"] = waited / seconds
                settle(keep=0)
                reporter.metrics(step, values)
                waited, last_time, last_step = 0.0, now, step
            stopped_by = agreed if ballot else stop.signal  # looked at once: what leaves the loop has been saved
            due = config.train.eval_every and step % config.train.eval_every == 0
            evaluates = config.data.eval and (due or last)
            saves = step % config.checkpoint.every == 0 or last or stopped_by
            if evaluates or saves:
                hosts.heartbeat(step, busy=True)
                settle(keep=0)
                # The loss is of the parameters before the step: it says nothing of those that would be kept.
                if not all_finite(state.params):
                    raise NotFiniteError(_not_finite("a parameter is not finite", step, batch["ids"], checkpoints))
            if evaluates:
                result = run_eval(job.generator, state.for_eval(), config, job.vocabulary, job.rules)
                reporter.scores(step, evals.means(result.scores))
                for warning in result.warnings:
                    reporter.say(f"warning: {warning}")
                score = evals.value_of(result.scores, config.checkpoint.best)
                if checkpoints.beats_best(step, score):
                    # Files first: a run killed between the two writes them again.
                    if hosts.is_first():
                        write_eval(result, config, job.workdir, step)
                    checkpoints.save_best(step, score, *state.for_eval())
                last_time = time.perf_counter()
            if saves:
                checkpoints.save(step, state, job.batches.get_state())
            if stopped_by and not last:
                checkpoints.wait()
                raise Stopped(stopped_by, step)
            if (evaluates or saves) and not last:
                hosts.heartbeat(step)  # from here on, to hang is to hang
            if stage.first == step:
                reporter.say(str(stage))
        if config.data.eval and (best := checkpoints.best()):
            value = abs(best[1]) if config.checkpoint.best in LOWER_IS_BETTER else best[1]
            reporter.say(
                f"best {config.checkpoint.best}: {value:.4f}, at step {best[0]}; best/ and scores.json are of it"
            )
    finally:
        stop.restore()
        reporter.close()
        checkpoints.close()


def run_eval(generator: CaptionGenerator, weights, config, vocabulary, rules: ShardingRules):
    """Captions and scores the config's evaluation split: an Evaluation, or where events are asked for a
    DenseEvaluation."""
    source = DatasetSplit.parse(config.data.eval).open()
    batches = make_eval_batches(
        config.data.eval, vocabulary, config.data, batch_size=config.eval.batch_size, limit=config.eval.limit,
        rows=rules.rows(config.eval.batch_size), source=source,
    )  # fmt: skip
    evaluate = dense.evaluate if config.data.task == "dense" else evals.evaluate
    result = evaluate(
        generator, *weights, batches, languages=config.data.languages,
        to_device=lambda batch: to_device(batch, rules, config.eval.batch_size), metrics=config.eval.metrics,
        seed=config.seed,
    )  # fmt: skip
    if source.videos:
        # A score on what is left of a benchmark is another score.
        there, named = source.videos
        for signatures in result.signatures.values():
            signatures.update({name: f"{text}|videos:{there}/{named}" for name, text in signatures.items()})
    return result


def write_eval(result, config, workdir: Workdir, step: int):
    """Puts predictions, scores and samples into the workdir; they are those of step `step`."""
    result.write(
        workdir.path, step=step, split=config.data.eval, samples=config.eval.samples,
        output_format=config.eval.output_format, external_data=workdir.external_data(config),
    )  # fmt: skip


@jax.jit
def all_finite(params) -> jax.Array:
    return jnp.stack([jnp.isfinite(value).all() for value in jax.tree.leaves(params)]).all()


def _not_finite(what: str, step: int, ids, checkpoints: Checkpoints) -> str:
    good = checkpoints.latest_step()
    where = f"{checkpoints.last_dir / str(good)}" if good is not None else "none was written yet"
    return (
        f"{what} at step {step}, on the records {', '.join(ids)}. Last good checkpoint: {where}. "
        "Lower optimizer.learning_rate, set optimizer.clip_norm, or look at these records."
    )
