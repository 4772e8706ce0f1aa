"""What launch.py runs: a config, a workdir and a mode."""

import logging
import signal
import sys
import traceback
from collections.abc import Mapping

import jax
import numpy as np

from capjax import config as config_lib
from capjax.decode.generator import Generator
from capjax.evals.evaluate import means
from capjax.files import local_path
from capjax.models.build import make_pure_model
from capjax.parallel import hosts
from capjax.parallel.mesh import make_mesh
from capjax.parallel.rendezvous import LostError
from capjax.parallel.sharding_rules import ShardingRules
from capjax.text.vocabulary import Vocabulary
from capjax.train.loop import NotFiniteError, Stopped, run_eval, train, write_eval
from capjax.workdir.checkpoint import check_weights, load_weights
from capjax.workdir.layout import Workdir

log = logging.getLogger("capjax")


def evaluate_exported(config, workdir_path: str, model: str) -> dict[str, float]:
    """Scores a SavedModel that `--mode=export` wrote on config.data.eval, as `evaluate` does a checkpoint; predictions
    and scores go into `saved_model/` in the workdir.

    Raises:
      FileNotFoundError: there is no export in the folder `model`; ConfigError: the config is of another model.
    """
    from capjax.export.saved_model_generator import SavedModelGenerator

    folder = Workdir(workdir_path).path / "saved_model"
    generator = SavedModelGenerator(local_path(model))
    generator.check(config)
    if differences := generator.differences(config):
        log.warning("the SavedModel decodes with its own options: %s", ", ".join(differences))
    rules = ShardingRules(make_mesh(config.mesh), config.mesh.logical_axis_rules)
    result = run_eval(generator, ({}, {}), config, generator.vocabulary, rules)
    result.write(
        folder, step=generator.step, split=config.data.eval, samples=config.eval.samples,
        output_format=config.eval.output_format, external_data=generator.external_data,
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
    rules = ShardingRules(make_mesh(config.mesh), config.mesh.logical_axis_rules)
    pure_model = make_pure_model(trained, vocab=vocabulary.size, feature_shape=workdir.feature_shape())
    step, params, batch_stats = load_weights(workdir.path)
    check_weights(workdir.path, pure_model.shapes, params)
    placed = rules.params(pure_model.shapes, pure_model.axes)
    params = {name: jax.device_put(np.asarray(value), placed[name]) for name, value in params.items()}
    batch_stats = {name: jax.device_put(np.asarray(value), rules.replicated) for name, value in batch_stats.items()}
    neighbors = workdir.neighbors(config.decode)
    generator = Generator(
        pure_model, vocabulary, config.decode, config.data, neighbors, rules=rules,
        xla_options=config.eval.xla_options,
    )  # fmt: skip
    result = run_eval(generator, (params, batch_stats), config, vocabulary, rules)
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
      compiles: what `--mode=compile` is told, as `capjax.compile.compile_job.run` takes it.
      output: where `--mode=export` writes; model: the SavedModel that `--mode=eval` scores in place of the workdir's
        checkpoint.
    """
    status, said = _run(mode, source, workdir, overrides, compiles or {}, output, model)
    if said:
        print(f"launch.py: {said}", file=sys.stderr)
    hosts.shut_down(status, said)
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
            from capjax.compile import compile_job

            return 0 if compile_job.run(config, Workdir(workdir).path, **compiles) else 1, ""
        if mode == "export":
            from capjax.export import export_job

            export_job.run(config, Workdir(workdir).path, output)
            return 0, ""
        if mode == "train":
            scores = train(config, workdir)
        else:
            scores = evaluate_exported(config, workdir, model) if model else evaluate(config, workdir)
    except Stopped as stopped:
        hosts.shut_down(0)  # the others stop too, after the same step
        return 128 + stopped.signal, str(stopped)
    except LostError as lost:
        return lost.status, str(lost)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT, "interrupted"
    except Exception as error:
        # JAX tells of an exchange that broke off by a ValueError, too.
        if not hosts.attribute_failure(error) and isinstance(error, (ValueError, OSError, NotFiniteError)):
            return 1, str(error)
        traceback.print_exc()
        return BROKEN, repr(error)
    if hosts.is_first():
        for name, value in scores.items():
            print(f"{name:8} {value:.4f}")
    return 0, ""
