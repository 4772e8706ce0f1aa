"""Runs a job, which is a config, a workdir and a mode, and turns its errors into exit statuses."""

import logging
import signal
import sys
import traceback
from collections.abc import Callable, Mapping

import jax
import numpy as np

from capjax import config as config_lib
from capjax.decode.generator import Generator
from capjax.evals.evaluate import means
from capjax.evals.run_eval import EvalSplit, write_eval
from capjax.files import check_output, local_path, storage_path
from capjax.metrics.messages import describe_unforeseen, noting
from capjax.parallel import hosts
from capjax.parallel.mesh import make_mesh
from capjax.parallel.rendezvous import LostError
from capjax.parallel.sharding_rules import ShardingRules
from capjax.text.vocabulary import Vocabulary
from capjax.train.loop import train
from capjax.train.stop_signals import Stopped
from capjax.train.train_run import NotFiniteError
from capjax.workdir.checkpoint import check_weights, load_weights
from capjax.workdir.layout import Workdir

log = logging.getLogger("capjax")


def evaluate_exported(config, workdir_path: str, model: str, output: str | None = None) -> dict[str, float]:
    """Scores a SavedModel that `--mode=export` wrote on config.data.eval, as `evaluate` does a checkpoint.

    Args:
      output: folder of predictions and scores; None: `saved_model/` in the workdir.

    Raises:
      FileNotFoundError: there is no export in the folder `model`; ConfigError: the config is of another model.
    """
    from capjax.export.saved_model_generator import SavedModelGenerator

    folder = storage_path(output) if output else Workdir(workdir_path).path / "saved_model"
    check_output(folder)
    generator = SavedModelGenerator(local_path(model))
    generator.check(config)
    if differences := generator.differences(config):
        log.warning("the SavedModel decodes with its own options: %s", ", ".join(differences))
    if config.decode.attribute_shares:
        log.warning("decode.attribute_shares is not applied: a SavedModel returns the best hypothesis alone")
    rules = ShardingRules(make_mesh(config.mesh), config.mesh.logical_axis_rules)
    result = EvalSplit.open(config, generator.vocabulary, rules).evaluate(generator, {}, {})
    result.write(
        folder, step=generator.step, split=config.data.eval, samples=config.eval.samples,
        output_format=config.eval.output_format, external_data=generator.external_data,
    )  # fmt: skip
    return means(result.scores)


def evaluate(config, workdir_path: str, checkpoint: str = "", output: str | None = None) -> dict[str, float]:
    """Scores a checkpoint of a workdir on config.data.eval.

    Args:
      checkpoint: `best`, a step, or the path of a checkpoint's folder: predictions and scores of a step or path go into
        `step_STEP/` in the workdir. Empty: the best, or the latest if the run was not evaluated.
      output: folder of predictions and scores in place of these. It lets a workdir that is read-only be evaluated.

    Raises:
      FileNotFoundError: nothing was trained there, or there is no such checkpoint.
      ConfigError: the config is of another model.
    """
    workdir = Workdir(workdir_path)
    if hosts.is_first():
        check_output(storage_path(output) if output else workdir.path)
    trained = workdir.config()
    workdir.check_model(config)
    vocabulary = Vocabulary.load(workdir.vocabulary_path)
    rules = ShardingRules(make_mesh(config.mesh), config.mesh.logical_axis_rules)
    pure_model = workdir.pure_model(trained, vocab=vocabulary.size)
    step, params, batch_stats = load_weights(workdir.path, checkpoint)
    check_weights(workdir.path, pure_model.shapes | pure_model.batch_stat_shapes, {**params, **batch_stats})
    placed = rules.params(pure_model.shapes, pure_model.axes)
    params = {name: jax.device_put(np.asarray(value), placed[name]) for name, value in params.items()}
    batch_stats = {name: jax.device_put(np.asarray(value), rules.replicated) for name, value in batch_stats.items()}
    neighbors, attribute_shares = workdir.neighbors(config.decode), workdir.attribute_shares(config.decode, config)
    generator = Generator(
        pure_model, vocabulary, config.decode, config.data, neighbors, rules=rules,
        xla_options=config.eval.xla_options, attribute_shares=attribute_shares,
    )  # fmt: skip
    split = EvalSplit.open(config, vocabulary, rules, attribute_shares)
    result = split.evaluate(generator, params, batch_stats)
    if hosts.is_first():
        folder = workdir.path / f"step_{step}" if checkpoint not in ("", "best") else workdir.path
        write_eval(result, config, workdir, step, storage_path(output) if output else folder)
    return means(result.scores)


# Exit status of an unforeseen error after the first step: EX_SOFTWARE of sysexits.h. Launchers start the job again.
CRASHED = 70


def run(
    mode: str, source: str, workdir: str, overrides: list[str], *, compiles: Mapping | None = None,
    output: str | None = None, model: str | None = None, checkpoint: str = "", program: str = "launch.py",
) -> int:  # fmt: skip
    """Runs a job and returns its exit status.

    0: done.
    1: an error that the user can correct, printed without a traceback; a program that does not fit the TPU slice it
      was compiled for; or an unforeseen error before the first step, with a traceback, which a restart would repeat.
    70: an unforeseen error after the first step, with a traceback.
    75: another process of the job was lost. All are to be started again, and continue from the last checkpoint.
    128 + the signal's number: stopped by SIGTERM or Ctrl-C.

    A job of several processes joins them first, and an error of one process ends all.

    Args:
      compiles: for `--mode=compile`, keyword arguments of `capjax.compile.compile_job.run`.
      output: for `--mode=export`, the folder to write; for `--mode=eval`, the folder of predictions and scores.
      model: for `--mode=eval`, a SavedModel to score in place of the workdir's checkpoint.
      checkpoint: for `--mode=eval`, see `evaluate`.
      program: name of the command, for messages.
    """

    def job() -> int:
        if mode == "train" or (mode == "eval" and not model):
            hosts.join()
        with noting(f"--config {source}"):
            config = config_lib.load(source, overrides)
        with noting(f"the workdir {workdir}"):
            return run_mode(config)

    def run_mode(config) -> int:
        if mode == "compile":
            from capjax.compile import compile_job

            return 0 if compile_job.run(config, local_path(workdir), **(compiles or {})) else 1
        if mode == "export":
            from capjax.export import export_job

            export_job.run(config, Workdir(workdir).path, output)
            return 0
        if mode == "train":
            scores = train(config, workdir)
        else:
            scores = (
                evaluate_exported(config, workdir, model, output)
                if model
                else evaluate(config, workdir, checkpoint, output)
            )
        if hosts.is_first():
            for name, value in scores.items():
                print(f"{name:8} {value:.4f}")
        return 0

    return run_on_hosts(job, program)


def run_on_hosts(job: Callable[[], int], program: str) -> int:
    """Runs a job that may join others (`hosts.join`), leaves them at its end, and returns its exit status: see `run`.

    Args:
      job: returns the exit status.
      program: name of the command, for messages.
    """
    status, message = _run_guarded(job)
    if message:
        print(f"{program}: {message}", file=sys.stderr)
    hosts.shut_down(status, message)
    return status


def _run_guarded(job: Callable[[], int]) -> tuple[int, str]:
    """Runs a job; returns its exit status, and a message for standard error."""
    try:
        return job(), ""
    except Stopped as stopped:
        hosts.shut_down(0)  # the others stop too, after the same step
        return 128 + stopped.signal, str(stopped)
    except LostError as lost:
        return lost.status, str(lost)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT, "interrupted"
    except Exception as error:
        # JAX reports a collective that was cut off as a ValueError, too.
        if not hosts.attribute_failure(error) and isinstance(error, (ValueError, OSError, NotFiniteError)):
            return 1, str(error)
        traceback.print_exc()
        return CRASHED if hosts.has_stepped() else 1, describe_unforeseen(error)
