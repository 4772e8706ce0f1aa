"""Checkpoints with Orbax: `checkpoints/` holds the last states of a run, `best/` the weights with the best score.

Orbax writes a checkpoint under a temporary name and renames it when it is complete; in a bucket it adds a file that
marks it as complete. An interrupted save is therefore never mistaken for a checkpoint.

Orbax keeps no checksum of array data. Before a checkpoint is complete, each process therefore reads the files that it
has written once more and writes their digests beside them, in the thread that writes the checkpoint; process 0 adds
those of the files that belong to all. When a checkpoint is read, the processes share the files to verify, so that each
file is read once for it, whatever the number of processes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from capjax.digests import DigestError, verify, write_digests
from capjax.files import absolute, storage_path
from capjax.metrics.writing import write_errors_named
from capjax.models.parameter_aliases import legacy_name, modern_name, rename_parameters
from capjax.models.pure_model import Arrays
from capjax.parallel import hosts
from capjax.workdir.layout import checkpoint_steps

# The entry `batch_stats` of checkpoints of capjax 0.1.
_OLD_BATCH_STATS = "stats"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names it and the remedy."""


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax and TensorStore have no common class for files that are missing or damaged
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        reason = reason if isinstance(error, DigestError) else reason[:120]
        step_dir = path if path.name.isdigit() else path.parent
        raise CheckpointError(
            f"{path} cannot be read: a file of the checkpoint is missing or damaged ({reason}). "
            f"Copy {step_dir} again, or remove it to continue from another checkpoint, if there is one."
        ) from error


def _manager(directory: Path, keep: int, arrays: str, metadata: str) -> ocp.CheckpointManager:
    """A manager of checkpoints with two items: `arrays`, and `metadata` as JSON."""
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, cleanup_tmp_directories=True)
    # Compressing takes longer than writing, and saves a tenth of the space at best.
    handlers = {
        arrays: _digesting(ocp.PyTreeCheckpointHandler(use_compression=False)),
        metadata: _digesting(ocp.JsonCheckpointHandler()),
    }
    return ocp.CheckpointManager(absolute(directory), options=options, item_handlers=handlers)


def _digesting(handler: Any) -> Any:
    """Lets a handler of Orbax write the digests of its item's files before the checkpoint is complete.

    The methods of the object are replaced, since Orbax accepts its own classes of handlers only.
    """
    async_save, finalize = handler.async_save, handler.finalize

    async def save_and_digest(directory, *arguments, **options):
        futures = await async_save(directory, *arguments, **options)

        def digest_own():
            folder = getattr(directory, "path", directory) / f"ocdbt.process_{jax.process_index()}"
            if folder.is_dir():
                write_digests(folder)

        return [ocp.future.ChainedFuture(futures, cb=digest_own)]

    def finalize_and_digest(directory):
        finalize(directory)
        write_digests(directory)

    handler.async_save, handler.finalize = save_and_digest, finalize_and_digest
    return handler


def _verify(path: Path):
    """Compares the files of an item with their digests, together with the other processes of the job.

    Raises:
      CheckpointError: in every process, if one of them finds a damaged file.
    """
    problem = ""
    try:
        verify(path, part=jax.process_index(), parts=jax.process_count())
    except (DigestError, OSError) as error:
        problem = str(error)
    with _reading(path):
        for message in filter(None, hosts.allgather_objects(problem)):
            raise DigestError(message)


class Checkpoints:
    """The checkpoints of one workdir, written asynchronously.

    A state is a pytree of arrays: the training state, of which `load_weights` reads the entries `params`, `frozen`,
    `batch_stats` and `ema`.

    Args:
      workdir: the folder of the run.
      keep: the number of states to keep.
    """

    def __init__(self, workdir: Path, *, keep: int):
        self.last_dir, self.best_dir = workdir / "checkpoints", workdir / "best"
        self._last = _manager(self.last_dir, keep, "state", "iterator")
        self._best = _manager(self.best_dir, 1, "weights", "score")

    def latest_step(self) -> int | None:
        return self._last.latest_step()

    def save(self, step: int, state: Any, iterator: dict):
        """Starts a save and returns as soon as the arrays are copied. A step that is already saved is left alone."""
        if step in self._last.all_steps():
            return
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(state), iterator=ocp.args.JsonSave(iterator))
        with write_errors_named(self.last_dir):
            self._last.save(step, args=items, force=True)

    def restore(self, abstract: Any) -> tuple[Any, dict]:
        """Returns the latest state and the state of the data iterator.

        Args:
          abstract: the state as ShapeDtypeStructs, with the shardings to restore to.

        Raises:
          CheckpointError: the checkpoint is damaged, or belongs to another model or optimizer; the message lists the
            arrays that differ.
        """
        step = self.latest_step()
        path = self.last_dir / str(step)
        for name in ("state", "iterator"):
            _verify(path / name)
        is_old = _OLD_BATCH_STATS in _metadata(path / "state")
        item = _with_old_names(abstract) if is_old else abstract
        _check_same_arrays(path, item)
        args = ocp.args.Composite(
            state=ocp.args.PyTreeRestore(item, restore_args=ocp.checkpoint_utils.construct_restore_args(item)),
            iterator=ocp.args.JsonRestore(),
        )
        with _reading(path):
            restored = self._last.restore(step, args=args)
        state = restored["state"]
        return replace(abstract, **_with_present_names(state)) if is_old else state, restored["iterator"]

    def best(self) -> tuple[int, float] | None:
        """Returns (step, score) of the best evaluation so far."""
        step = self._best.latest_step()
        if step is None:
            return None
        with _reading(self.best_dir / str(step)):
            verify(self.best_dir / str(step) / "score")
            restored = self._best.restore(step, args=ocp.args.Composite(score=ocp.args.JsonRestore()))
            score = restored["score"]["value"]
            if type(score) not in (int, float):  # -inf where the metric was not defined
                raise ValueError(f"score/metadata: the value {score!r:.40} is no number")
        return step, score

    def beats_best(self, step: int, score: float) -> bool:
        """Whether `score` is above the best score so far. An evaluation that a resumed run repeats does not count."""
        best = self.best()
        return best is None or (score > best[1] and step > best[0])

    def save_best(self, step: int, score: float, params: Arrays, batch_stats: Arrays):
        """Saves the weights with the best score, in place of those before them."""
        items = ocp.args.Composite(
            weights=ocp.args.PyTreeSave({"params": params, "batch_stats": batch_stats}),
            score=ocp.args.JsonSave({"value": score}),
        )
        with write_errors_named(self.best_dir):
            self._best.save(step, args=items, force=True)

    def wait(self):
        """Returns when every save is on disk; raises the error of a failed save, such as a full disk."""
        with write_errors_named(self.last_dir):
            self._last.wait_until_finished()
        with write_errors_named(self.best_dir):
            self._best.wait_until_finished()

    def close(self):
        self.wait()
        self._last.close()
        self._best.close()


def load_weights(workdir: Path, checkpoint: str = "") -> tuple[int, Arrays, Arrays]:
    """Returns (step, parameters, batch statistics) of a checkpoint.

    Of a training state these are the averaged parameters, where the run averages them. The arrays lie on the first
    device of this process, whatever mesh they were saved from.

    Args:
      checkpoint: see `find_checkpoint`.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      CheckpointError: the checkpoint is damaged.
    """
    path = find_checkpoint(workdir, checkpoint)
    if (path / "weights").is_dir():
        tree = _read(path / "weights")
        return int(path.name), tree["params"], tree.get("batch_stats", {})
    tree = _read(path / "state")
    averaged = tree.get("ema") or tree["params"]
    return int(path.name), {**(tree.get("frozen") or {}), **averaged}, tree.get("batch_stats") or {}


def find_checkpoint(workdir: Path, checkpoint: str = "") -> Path:
    """Returns the folder of a checkpoint.

    Args:
      checkpoint: `best`, a step, or the path of a checkpoint's folder; empty: the best, or the latest if the run was
        not evaluated.

    Raises:
      FileNotFoundError: there is no such checkpoint; the message lists those that exist.
    """
    folders = {name: checkpoint_steps(workdir / name) for name in ("checkpoints", "best")}
    if not checkpoint and (name := "best" if folders["best"] else "checkpoints" if folders["checkpoints"] else ""):
        return workdir / name / str(max(folders[name]))
    if checkpoint == "best" and folders["best"]:
        return workdir / "best" / str(max(folders["best"]))
    for name, steps in folders.items():
        if checkpoint.isdigit() and int(checkpoint) in steps:
            return workdir / name / checkpoint
    path = storage_path(checkpoint)
    if checkpoint and path.name.isdigit() and any((path / item).is_dir() for item in ("state", "weights")):
        return path
    if not any(folders.values()):
        raise FileNotFoundError(f"{workdir}: no checkpoint here; train first with `launch.py --mode=train`")
    existing = [str(step) for step in folders["checkpoints"]] + [f"best ({step})" for step in folders["best"]]
    raise FileNotFoundError(f"{workdir}: no checkpoint {checkpoint!r}; there are {', '.join(existing)}")


def latest_step(workdir: Path) -> int | None:
    """Returns the step of the latest training state in a workdir; None without one."""
    return max(checkpoint_steps(workdir / "checkpoints"), default=None)


def check_weights(workdir: Path, shapes: Mapping[str, jax.ShapeDtypeStruct], params: Arrays):
    """Raises CheckpointError unless `params` have the names and shapes of a model's parameters.

    Running statistics of batch norm may be among both.
    """
    wrong = sorted(shapes.keys() ^ params.keys())
    names = sorted(shapes.keys() & params.keys())
    wrong += [name for name in names if shapes[name].shape != getattr(params[name], "shape", None)]
    if wrong:
        raise CheckpointError(
            f"{workdir}: checkpoint and config.json are of different models; they differ in {', '.join(wrong[:3])}"
        )


def _read(path: Path) -> dict:
    _verify(path)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    args = jax.tree.map(lambda _: ocp.ArrayRestoreArgs(sharding=device), _metadata(path))
    with _reading(path):
        tree = ocp.PyTreeCheckpointHandler().restore(absolute(path), args=ocp.args.PyTreeRestore(restore_args=args))
        tree = _with_present_names(tree)
        if not isinstance(tree.get("params"), dict):
            raise ValueError("it has no params")
        return tree


def _with_present_names(tree: dict) -> dict:
    """Returns a saved tree with present names, whichever version wrote it."""
    tree = rename_parameters(tree, modern_name)
    return {"batch_stats" if name == _OLD_BATCH_STATS else name: value for name, value in tree.items()}


def _with_old_names(state: Any) -> dict:
    """Returns a training state, a dataclass, as the tree that capjax 0.1 saved."""
    tree = {field.name: rename_parameters(getattr(state, field.name), legacy_name) for field in fields(state)}
    return {_OLD_BATCH_STATS if name == "batch_stats" else name: value for name, value in tree.items()}


def _metadata(path: Path) -> dict:
    """The tree of a saved item, with shapes in place of arrays."""
    with _reading(path):
        return ocp.PyTreeCheckpointHandler().metadata(absolute(path)).tree  # Orbax finds nothing at a relative path


def _check_same_arrays(path: Path, abstract: Any):
    def shapes(tree) -> dict[str, tuple]:
        flat = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {_name(key): tuple(leaf.shape) for key, leaf in flat if hasattr(leaf, "shape")}

    expected, saved = shapes(abstract), shapes(_metadata(path / "state"))
    # Parameters first: their names say more than those of the optimizer's arrays.
    names = sorted(expected.keys() | saved.keys(), key=lambda name: (name.startswith("opt_state"), name))
    wrong = [
        f"{name}: saved {saved.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
        for name in names
        if expected.get(name) != saved.get(name)
    ]
    if wrong:
        raise CheckpointError(
            f"{path} was written by another model or optimizer than this config's ({len(wrong)} arrays differ: "
            f"{'; '.join(wrong[:3])}). Use the config in the workdir, or another workdir."
        )


def _name(path) -> str:
    """A key path as one string, the same for dataclass fields, dict keys and tuple indices."""
    return "/".join(str(getattr(k, "name", getattr(k, "key", getattr(k, "idx", k)))) for k in path)
