"""What launch.py runs: a config, a workdir and a mode."""

import logging
import signal
import sys
import traceback
from collections.abc import Mapping

import jax
import numpy as np

from capjax import config as config_lib
from capjax.evals.evaluate import means
from capjax.evals.generate import Generator
from capjax.files import local_path
from capjax.models.build import make_functional
from capjax.parallel import hosts
from capjax.parallel.meeting import LostError
from capjax.parallel.mesh import make_mesh
from capjax.parallel.rules import Rules
from capjax.text.vocabulary import Vocabulary
from capjax.train.checkpoint import check_weights, load_weights
from capjax.train.loop import NotFiniteError, Stopped, run_eval, train, write_eval
from capjax.train.workdir import Workdir

log = logging.getLogger("capjax")


def evaluate_exported(config, workdir_path: str, model: str) -> dict[str, float]:
    """Scores a SavedModel that `--mode=export` wrote on config.data.eval, as `evaluate` does a checkpoint; predictions
    and scores go into `saved_model/` in the workdir.

    Raises:
      FileNotFoundError: there is no export in the folder `model`; ConfigError: the config is of another model.
    """
    from capjax.export.served import Served

    folder = Workdir(workdir_path).path / "saved_model"
    served = Served(local_path(model))
    served.check(config)
    if differences := served.differences(config):
        log.warning("the SavedModel decodes with its own options: %s", ", ".join(differences))
    rules = Rules(make_mesh(config.mesh), config.mesh.rules)
    result = run_eval(served, ({}, {}), config, served.vocabulary, rules)
    result.write(
        folder, step=served.step, split=config.data.eval, samples=config.eval.samples, form=config.eval.form,
        external_data=served.external_data,
    )  # fmt: skip
    return means(result.scores)


def evaluate(config, workdir_path: str) -> dict[str, float]:
    """Scores the best checkpoint of a workdir on config.data.eval.

    Raises:
      FileNotFoundError: nothing was trained there; ConfigError: the config is of another model.
    """
    workdir = Workdir(workdir_path)
    trained = workdir.config()
    workdir.check_model(config)
    vocabulary = Vocabulary.load(workdir.vocabulary_path)
    rules = Rules(make_mesh(config.mesh), config.mesh.rules)
    functional = make_functional(trained, vocab=vocabulary.size, feature_shape=workdir.feature_shape())
    step, params, stats = load_weights(workdir.path)
    check_weights(workdir.path, functional.shapes, params)
    placed = rules.params(functional.shapes, functional.axes)
    params = {name: jax.device_put(np.asarray(value), placed[name]) for name, value in params.items()}
    stats = {name: jax.device_put(np.asarray(value), rules.replicated) for name, value in stats.items()}
    neighbours = workdir.neighbours(config.decode)
    generator = Generator(
        functional, vocabulary, config.decode, config.data, neighbours, rules=rules,
        xla_options=config.eval.xla_options,
    )  # fmt: skip
    result = run_eval(generator, (params, stats), config, vocabulary, rules)
    if hosts.is_first():
        write_eval(result, config, workdir, step)
    return means(result.scores)


# sysexits.h's EX_SOFTWARE.
BROKEN = 70


def run(
    mode: str, source: str, workdir: str, overrides: list[str], *, compiles: Mapping | None = None,
    output: str | None = None, model: str | None = None,
) -> int:  # fmt: skip
    """Runs a job and returns its exit status: 0; 1 for an error that the user can mend, printed without a traceback,
    and where something does not fit the slice that it was compiled for; 128 + the signal's number where SIGTERM or
    Ctrl-C stopped it, as shells have it; 70 for what nobody foresaw, with a traceback.

    Where a job has several processes, it joins them first, and an error of one ends all. A process whose peer is lost
    exits with status 75: the same command, started again for all, goes on from the last checkpoint.

    Args:
      compiles: what `--mode=compile` is told, as `capjax.compile.command.run` takes it.
      output: where `--mode=export` writes; model: the SavedModel that `--mode=eval` scores in place of the workdir's
        checkpoint.
    """
    status, said = _run(mode, source, workdir, overrides, compiles or {}, output, model)
    if said:
        print(f"launch.py: {said}", file=sys.stderr)
    hosts.leave(status, said)
    return status


def _run(
    mode: str, source: str, workdir: str, overrides: list[str], compiles: Mapping, output: str | None, model: str | None
) -> tuple[int, str]:
    """(exit status, what to say of it)."""
    try:
        if mode == "train" or (mode == "eval" and not model):
            hosts.join()
        config = config_lib.load(source, overrides)
        if mode == "compile":
            from capjax.compile import command

            return 0 if command.run(config, Workdir(workdir).path, **compiles) else 1, ""
        if mode == "export":
            from capjax.export import command

            command.run(config, Workdir(workdir).path, output)
            return 0, ""
        if mode == "train":
            scores = train(config, workdir)
        else:
            scores = evaluate_exported(config, workdir, model) if model else evaluate(config, workdir)
    except Stopped as stopped:
        hosts.leave(0)  # the others stop too, after the same step
        return 128 + stopped.signal, str(stopped)
    except LostError as lost:
        return lost.status, str(lost)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT, "interrupted"
    except Exception as error:
        # JAX tells of an exchange that broke off by a ValueError, too.
        if not hosts.blame(error) and isinstance(error, (ValueError, OSError, NotFiniteError)):
            return 1, str(error)
        traceback.print_exc()
        return BROKEN, repr(error)
    if hosts.is_first():
        for name, value in scores.items():
            print(f"{name:8} {value:.4f}")
    return 0, ""
