"""The training loop, from top to bottom: mesh, data, model, state, steps."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from capjax.config import ConfigError
from capjax.data.batch import to_device
from capjax.data.pipeline import DatasetSplit, make_train_iterator
from capjax.decode.generator import Generator
from capjax.evals.evaluate import read_scores
from capjax.evals.run_eval import EvalSplit
from capjax.files import is_url
from capjax.models.build import check_stages, load_encoders
from capjax.models.pure_model import make_key
from capjax.parallel import hosts
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from capjax.text.vocabulary import Vocabulary
from capjax.train.cost import EstimateCost
from capjax.train.hooks import Evaluate, Hook, Profile, ReportProgress, SaveCheckpoints
from capjax.train.reporter import Reporter, SilentReporter
from capjax.train.stop_signals import Stopped, StopSignals
from capjax.train.trackers import check_trackers, make_trackers
from capjax.train.train_programs import make_programs
from capjax.train.train_run import TrainRun
from capjax.workdir.checkpoint import Checkpoints, latest_step
from capjax.workdir.layout import Workdir
from capjax.workdir.prepare import StartRecord, prepare
from capjax.workdir.warm_start import warm_start


def train(config: ConfigDict, workdir_path: str | Path) -> dict[str, float]:
    """Trains the model of a config in a workdir, from its last checkpoint if there is one.

    A start that fails before its first step removes what it created in the workdir.

    Returns:
      The scores of the best evaluation by metric, means over the languages; empty without an evaluation split.

    Raises:
      ConfigError, DataError, FileNotFoundError: the config or the data cannot be used.
      NotFiniteError: the loss or a parameter became NaN or infinite.
      Stopped: SIGTERM or SIGINT ended the run after a step, which is saved.
    """
    workdir = Workdir(workdir_path)
    run, lock = None, workdir.lock() if hosts.is_first() else contextlib.nullcontext(())
    with StopSignals() as signals, lock as new_folders:
        created = StartRecord(workdir, new_folders)

        def undo_start():
            if not hosts.has_stepped():
                created.remove()

        hosts.on_loss(undo_start)
        try:
            with signals.exit_on_signal(latest_step(workdir.path), created.remove):
                run, hooks = make_run(config, workdir, signals, created)
            run_steps(run, hooks)
        except BaseException:
            if run is None or run.step == run.start:
                created.remove()
            raise
    return read_scores(workdir.path) if config.data.eval else {}


def make_run(
    config: ConfigDict, workdir: Workdir, signals: StopSignals, created: StartRecord
) -> tuple[TrainRun, list[Hook]]:
    """Everything before the first step; the initial state is created on its devices."""
    check_trackers(config.train.trackers, workdir.path)
    if config.train.profile and is_url(workdir.path):
        raise ConfigError(
            f"train.profile writes its trace to this machine only; leave it out, or give a --workdir other than "
            f"{workdir.path}"
        )

    # ---- Mesh
    rules = ShardingRules(make_mesh(config.mesh), config.mesh.logical_axis_rules)
    rules.batch(config.train.batch_size // config.train.gradient_accumulation_steps)
    rules.batch(config.eval.batch_size)

    # ---- Data
    sources = [DatasetSplit.parse(part).open() for part in config.data.train]
    changed = prepare(workdir, config, sources) if hosts.is_first() else []
    notes = [f"changed since the last start: {change}" for change in changed]
    hosts.sync("the workdir is prepared")
    vocabulary = Vocabulary.load(workdir.vocabulary_path)
    batches = make_train_iterator(
        config.data.train, vocabulary, config.data, batch_size=config.train.batch_size, seed=config.seed,
        rows=rules.rows(config.train.batch_size), sources=sources, mitigation=config.mitigation,
        balance=workdir.balance(config.mitigation),
    )  # fmt: skip
    attribute_shares = workdir.attribute_shares(config.decode, config)
    eval_split = EvalSplit.open(config, vocabulary, rules, attribute_shares) if config.data.eval else None

    # ---- Model, optimizer and step
    feature_shape = workdir.feature_shape()
    programs = make_programs(config, rules, vocabulary, feature_shape=feature_shape)
    check_stages(programs.pure_model, config, feature_shape)
    generator = Generator(
        programs.pure_model, vocabulary, config.decode, config.data, workdir.neighbors(config.decode), rules=rules,
        xla_options=config.eval.xla_options, attribute_shares=attribute_shares,
    )  # fmt: skip

    # ---- State
    checkpoints = Checkpoints(workdir.path, keep=config.checkpoint.keep)
    if checkpoints.latest_step() is not None:
        state, iterator_state = checkpoints.restore(programs.state)
        batches.set_state(iterator_state)
    else:
        params, batch_stats = load_encoders(config)
        if config.init:
            loaded = warm_start(config, programs.pure_model, vocabulary)
            params, batch_stats, notes = params | loaded[0], batch_stats | loaded[1], notes + loaded[2]
        state = programs.init_fn(make_key(config.seed), params, batch_stats)
    start = int(state.step)

    # ---- Reports
    reporter: Reporter | SilentReporter = SilentReporter()
    if hosts.is_first():
        reporter = Reporter(
            workdir.metrics_path, start=start, steps=config.train.steps, batch_size=config.train.batch_size,
            trackers=make_trackers(workdir.path, config),
        )  # fmt: skip
    for note in notes:
        reporter.say(note)
    run = TrainRun(
        config, workdir, rules, batches, eval_split, programs, checkpoints, reporter, signals,
        created.remove, state, start,
    )  # fmt: skip
    profile = [Profile(*config.train.profile)] if config.train.profile else []
    return run, [ReportProgress(), EstimateCost(), *profile, SaveCheckpoints(), Evaluate(generator)]


def run_steps(run: TrainRun, hooks: Sequence[Hook]):
    """Takes the remaining steps of a run."""
    with contextlib.ExitStack() as stack:
        for hook in hooks:
            stack.callback(hook.close)
            hook.on_start(run)
        while run.step < run.config.train.steps:
            batch = run.next_batch()
            inputs = to_device(batch, run.rules, run.config.train.batch_size)
            if not run.is_compiled(inputs):
                for hook in hooks:
                    hook.before_compile(run, inputs)
                run.compile(inputs)
            run.advance(inputs)
            for hook in hooks:
                hook.after_step(run)
            if run.stop_signal and not run.is_last:
                run.checkpoints.wait()
                raise Stopped(run.stop_signal, run.step)
        for hook in hooks:
            hook.on_end(run)
