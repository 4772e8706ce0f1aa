"""Warm start: initial weights of a run from another run's checkpoint."""

import re
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from capjax.config import ConfigError
from capjax.files import storage_path
from capjax.metrics.messages import shorten
from capjax.models.parameter_aliases import matches
from capjax.models.pure_model import Arrays, PureModel, make_key
from capjax.text.vocabulary import Vocabulary
from capjax.workdir.checkpoint import load_weights
from capjax.workdir.layout import Workdir


def parse_init(text: str) -> tuple[Path, str]:
    """Returns (workdir, checkpoint) of a setting `WORKDIR`, `WORKDIR@best` or `WORKDIR@STEP`."""
    match = re.fullmatch(r"(?P<workdir>.+)@(?P<checkpoint>best|\d+)", text)
    return (storage_path(match["workdir"]), match["checkpoint"]) if match else (storage_path(text), "")


def warm_start(
    config: ConfigDict, pure_model: PureModel, vocabulary: Vocabulary
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[str]]:
    """Returns the initial parameters and batch statistics that the setting `init` names, and lines that report them.

    With another vocabulary, the rows of tokens that both vocabularies have are copied, and the other rows keep their
    random initial values.

    Raises:
      ConfigError: no parameter can be used.
      CheckpointError, FileNotFoundError: the checkpoint is damaged or does not exist.
    """
    path, checkpoint = parse_init(config.init)
    workdir = Workdir(path)
    workdir.config()  # raises for a folder that holds no run
    step, *saved = load_weights(workdir.path, checkpoint)
    saved_params, saved_batch_stats = ({k: np.asarray(v) for k, v in tree.items()} for tree in saved)

    def is_selected(name: str) -> bool:
        return not config.init_patterns or matches(name, config.init_patterns)

    expected = {name: shape for name, shape in pure_model.shapes.items() if is_selected(name)}
    vocabulary_axes = {name: axes.index("vocab") for name, axes in pure_model.axes.items() if "vocab" in axes}
    copied_rows = _shared_tokens(Vocabulary.load(workdir.vocabulary_path), vocabulary)
    params, misshaped, mixed = {}, [], []
    for name in expected.keys() & saved_params.keys():
        axis, value, shape = vocabulary_axes.get(name), saved_params[name], expected[name].shape
        if axis is not None and copied_rows is not None and _without(value.shape, axis) == _without(shape, axis):
            mixed.append(name)
        elif value.shape == shape:
            params[name] = value
        else:
            misshaped.append(f"{name} {value.shape}, expected {shape}")
    params |= _copy_rows(pure_model, config.seed, {name: saved_params[name] for name in mixed}, vocabulary_axes,
                         copied_rows)  # fmt: skip
    batch_stats = {
        name: saved_batch_stats[name]
        for name, shape in pure_model.batch_stat_shapes.items()
        if is_selected(name) and name in saved_batch_stats and saved_batch_stats[name].shape == shape.shape
    }
    if not params:
        raise ConfigError(
            f"init = {config.init!r}: no parameter of this model is in that checkpoint with the same shape"
            + (f", of those that match init_patterns = {config.init_patterns!r}" if config.init_patterns else "")
        )
    report = [f"initialized {len(params)} of {len(pure_model.shapes)} arrays from {path}, step {step}"]
    if mixed and copied_rows is not None:
        report.append(
            f"the vocabularies share {len(copied_rows[0])} tokens of {vocabulary.size}: other rows of "
            f"{', '.join(sorted(mixed))} are random"
        )
    unexpected = [name for name in saved_params if is_selected(name) and name not in expected]
    for problem, names in (
        ("missing in the checkpoint", expected.keys() - saved_params.keys()),
        ("unexpected in the checkpoint", unexpected),
        ("of another shape", misshaped),
    ):
        if names:
            report.append(f"{problem}, not initialized from it: {shorten(sorted(names))}")
    return params, batch_stats, report


def _shared_tokens(saved: Vocabulary, new: Vocabulary) -> tuple[np.ndarray, np.ndarray] | None:
    """The (saved ids, new ids) of the tokens with the same text; None where the vocabularies are the same."""
    if saved.pieces == new.pieces:
        return None
    saved_ids = {piece: i for i, piece in enumerate(saved.pieces)}
    pairs = [(saved_ids[piece], i) for i, piece in enumerate(new.pieces) if piece in saved_ids]
    return tuple(np.array(pairs).T)


def _copy_rows(
    pure_model: PureModel, seed: int, saved: dict[str, np.ndarray], axes: dict[str, int], rows
) -> dict[str, np.ndarray]:
    """The random initial values of parameters, with the rows of shared tokens from `saved`."""
    if not saved:
        return {}

    def initial(key) -> Arrays:
        params, _ = pure_model.init(key)
        return {name: params[name] for name in saved}

    values = {name: np.array(value) for name, value in jax.device_get(jax.jit(initial)(make_key(seed))).items()}
    saved_ids, new_ids = rows
    for name, value in values.items():
        index = (slice(None),) * axes[name]
        value[*index, new_ids] = saved[name][*index, saved_ids]
    return values


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])
