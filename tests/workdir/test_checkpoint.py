"""A saved state is restored bit for bit, whatever runs meanwhile; an incomplete one is never taken for a checkpoint."""

import logging
import re
import shutil
import time
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from capjax.models.parameter_aliases import legacy_name, rename_parameters
from capjax.parallel.mesh import make_mesh
from capjax.parallel.sharding_rules import ShardingRules
from capjax.train.state import TrainState
from capjax.workdir.checkpoint import CheckpointError, Checkpoints, check_weights, load_weights
from tests.helpers.digests import flip_bit, forget_warnings
from tests.helpers.disks import full_disk

RULES = (("embed", ("fsdp",)), ("mlp", ("tensor",)))


def make_state(seed: int = 0, width: int = 128, ema: bool = False) -> TrainState:
    rng = np.random.default_rng(seed)
    params = {f"layer/{i}": jnp.asarray(rng.standard_normal((64, width)), jnp.float32) for i in range(3)}
    return TrainState(
        step=jnp.int32(0), params=params, frozen={"encoders/vision/kernel": jnp.ones((4, 4))},
        batch_stats={"mean": jnp.zeros(4)},
        opt_state=optax.adam(1e-2).init(params), ema=jax.tree.map(lambda x: x * 0.5, params) if ema else {},
    )  # fmt: skip


@jax.jit
def changed(state: TrainState) -> TrainState:
    return jax.tree.map(lambda x: x + 1 if x.dtype == jnp.int32 else x * 1.5 + 1, state)


donating = jax.jit(changed.__wrapped__, donate_argnums=0)


def copied(tree):
    return jax.tree.map(lambda x: np.array(x, copy=True), tree)


def abstract(state: TrainState, sharding=None) -> TrainState:
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def assert_same(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.fixture
def saved(tmp_path):
    """A workdir with two checkpoints, and the state of the second."""
    second = make_state(2)
    with closing(Checkpoints(tmp_path, keep=2)) as checkpoints:
        checkpoints.save(5, make_state(1), {"next": 5})
        checkpoints.save(10, second, {"next": 10})
    return tmp_path, second


def test_a_state_saved_under_the_names_of_an_older_version_is_restored_under_the_current_ones(tmp_path):
    names = ("connectors/vision/frame_difference/appearance/kernel", "decoder/blocks/attention/qkv/kernel", "decoder/x")
    params = {name: jnp.full((2, 3), float(i)) for i, name in enumerate(names)}
    state = make_state().replace(
        params=params, ema=params, opt_state=optax.adam(1e-2).init(params),
        batch_stats={"encoders/vision/norm/mean": jnp.ones(4)},
    )  # fmt: skip
    old = {name: rename_parameters(value, legacy_name) for name, value in vars(state).items()}
    old["stats"] = old.pop("batch_stats")
    assert set(old["params"]) == {"fuser/changes/seen/kernel", "decoder/blocks/self_attention/qkv/kernel", "decoder/x"}
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(5, old, {"next": 5})
    checkpoints.wait()
    _, loaded, batch_stats = load_weights(tmp_path)
    assert_same(loaded, {**state.frozen, **params})
    assert_same(batch_stats, state.batch_stats)
    weights = {"params": old["params"], "stats": old["stats"]}
    ocp.PyTreeCheckpointer().save((tmp_path / "best/5/weights").resolve(), weights)
    restored, iterator = checkpoints.restore(abstract(state))
    checkpoints.close()
    assert_same(restored, state)
    assert iterator == {"next": 5} and set(restored.opt_state[0].mu) == set(names)
    _, loaded, batch_stats = load_weights(tmp_path)
    assert_same(loaded, params)
    assert_same(batch_stats, state.batch_stats)


def test_steps_that_donate_their_buffers_do_not_touch_what_is_being_saved(tmp_path):
    state, expected = make_state(width=2048), {}
    with closing(Checkpoints(tmp_path, keep=100)) as checkpoints:
        for step in range(1, 7):
            state = donating(state)
            expected[step] = copied(state)
            checkpoints.save(step, state, {"next": step})
            for _ in range(3):
                state = donating(state)  # writes over the donated memory while the save is under way
    for step in sorted(expected, reverse=True):
        with closing(Checkpoints(tmp_path, keep=100)) as checkpoints:
            restored, iterator = checkpoints.restore(abstract(expected[step]))
        assert iterator == {"next": step}
        assert_same(expected[step], copied(restored))
        shutil.rmtree(tmp_path / "checkpoints" / str(step))


def test_the_last_k_stay(tmp_path):
    with closing(Checkpoints(tmp_path, keep=3)) as checkpoints:
        for step in range(2, 13, 2):
            checkpoints.save(step, make_state(step), {})
    assert steps_in(tmp_path / "checkpoints") == [8, 10, 12]


def test_the_best_by_score_stays_and_later_is_no_better(tmp_path):
    states, kept = [make_state(i) for i in range(5)], []
    with closing(Checkpoints(tmp_path, keep=1)) as checkpoints:
        for i, score in enumerate([0.2, 0.5, 0.4, 0.5, 0.1]):
            kept.append(checkpoints.beats_best(i + 1, score))
            if kept[-1]:
                checkpoints.save_best(i + 1, score, *states[i].for_eval())
        assert kept == [True, True, False, False, False]
        assert checkpoints.best() == (2, 0.5)
    assert steps_in(tmp_path / "best") == [2]
    step, params, batch_stats = load_weights(tmp_path)
    assert step == 2
    assert_same(copied(states[1].params | states[1].frozen), params)
    assert_same(copied(states[1].batch_stats), batch_stats)


def test_a_repeated_evaluation_does_not_replace_the_best(tmp_path):
    with closing(Checkpoints(tmp_path, keep=1)) as checkpoints:
        checkpoints.save_best(20, 0.5, *make_state().for_eval())
    with closing(Checkpoints(tmp_path, keep=1)) as checkpoints:  # goes on from step 10, say, and comes by 20 once more
        assert not checkpoints.beats_best(15, 0.9)
        assert not checkpoints.beats_best(20, 0.5)
        assert checkpoints.beats_best(30, 0.6)


def test_without_an_evaluation_the_weights_are_the_latest_and_the_averaged_ones(tmp_path):
    state = make_state(ema=True)
    with closing(Checkpoints(tmp_path, keep=1)) as checkpoints:
        checkpoints.save(3, state, {})
    step, params, batch_stats = load_weights(tmp_path)
    assert step == 3
    assert_same(copied(state.ema | state.frozen), params)
    assert_same(copied(state.batch_stats), batch_stats)


def test_no_checkpoint_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint here; train first"):
        load_weights(tmp_path)


def test_restoring_lays_arrays_over_another_mesh(saved):
    path, state = saved
    mesh = make_mesh({"replica": 1, "data": 2, "fsdp": 2, "tensor": 2})
    rules = ShardingRules(mesh, RULES)
    target = abstract(state, rules.replicated)
    placed = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rules.sharding(("embed", "mlp"), x.shape))
        for name, x in target.params.items()
    }
    with closing(Checkpoints(path, keep=2)) as checkpoints:
        restored, _ = checkpoints.restore(target.replace(params=placed))
        assert_same(copied(state), copied(restored))
        assert restored.params["layer/0"].sharding.shard_shape((64, 128)) == (32, 64)
        # and from eight devices back to one
        checkpoints.save(11, restored, {})
        checkpoints.wait()
        back, _ = checkpoints.restore(abstract(state))
    assert_same(copied(state), copied(back))
    assert len(back.params["layer/0"].sharding.device_set) == 1


def test_another_model_is_told_by_its_arrays(saved):
    fewer = make_state()
    del fewer.params["layer/2"]
    with closing(Checkpoints(saved[0], keep=2)) as checkpoints:
        with pytest.raises(CheckpointError, match=r"another model.*layer/0: saved \(64, 128\), expected \(64, 32\)"):
            checkpoints.restore(abstract(make_state(width=32)))
        with pytest.raises(CheckpointError, match=r"1 arrays differ: params/layer/2: saved .*128\), expected nothing"):
            checkpoints.restore(abstract(fewer))


def test_weights_of_another_model_are_told_by_their_names(tmp_path):
    shapes = jax.eval_shape(lambda: make_state().params)
    check_weights(tmp_path, shapes, make_state().params)
    with pytest.raises(CheckpointError, match="different models.*layer/0, layer/1, layer/2"):
        check_weights(tmp_path, shapes, make_state(width=32).params)
    with pytest.raises(CheckpointError, match="different models.*extra"):
        check_weights(tmp_path, shapes, make_state().params | {"extra": jnp.zeros(1)})


def biggest(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate(folder: Path):
    path = biggest(folder)
    path.write_bytes(path.read_bytes()[:1000])


DAMAGE = {
    "state is missing": lambda folder: shutil.rmtree(folder / "state"),
    "an array file is missing": lambda folder: biggest(folder).unlink(),
    "an array file is cut short": truncate,
    "the index is missing": lambda folder: (folder / "state/manifest.ocdbt").unlink(),
    "the list of arrays is no JSON": lambda folder: (folder / "state/_METADATA").write_text("{"),
}


# TensorStore goes on reading other arrays when one has failed, and complains into the void.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_checkpoint_is_named(saved, what):
    path, state = saved
    DAMAGE[what](path / "checkpoints" / "10")
    with pytest.raises(CheckpointError, match="checkpoints/10.* cannot be read.*Copy .*checkpoints/10 again, or"):
        load_weights(path)
    with (
        closing(Checkpoints(path, keep=2)) as checkpoints,
        pytest.raises(CheckpointError, match="checkpoints/10.* cannot be read"),
    ):
        checkpoints.restore(abstract(state))
    # as the message says:
    shutil.rmtree(path / "checkpoints" / "10")
    with closing(Checkpoints(path, keep=2)) as checkpoints:
        assert checkpoints.restore(abstract(state))[1] == {"next": 5}


def files_of(folder: Path) -> list[str]:
    """The files below a folder whose contents are read, in the order of their names."""
    marks = ("commit_success.txt", "_CHECKPOINT_METADATA")
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name not in marks)


def test_a_flipped_bit_in_any_file_of_a_checkpoint_is_named(saved):
    path, state = saved
    folder = path / "checkpoints/10"
    names = [name for name in files_of(folder) if (folder / name).stat().st_size]
    assert any("ocdbt.process_0/d/" in name for name in names) and "iterator/metadata" in names
    for name in names:
        flip_bit(folder / name)
        with (
            closing(Checkpoints(path, keep=2)) as checkpoints,
            pytest.raises(
                CheckpointError, match=rf"checkpoints/10.* cannot be read.*{re.escape(name)} (differs|is da)"
            ),
        ):
            checkpoints.restore(abstract(state))
        if name.startswith("state/"):
            with pytest.raises(CheckpointError, match=re.escape(name)):
                load_weights(path)
        flip_bit(folder / name)
    load_weights(path)


def test_a_flipped_bit_in_any_file_of_the_best_weights_is_named(tmp_path):
    with closing(Checkpoints(tmp_path, keep=1)) as checkpoints:
        checkpoints.save_best(20, 0.5, *make_state().for_eval())
    folder = tmp_path / "best/20"
    for name in files_of(folder):
        flip_bit(folder / name)
        with pytest.raises(CheckpointError, match=re.escape(name)):
            if name.startswith("weights/"):
                load_weights(tmp_path)
            else:
                with closing(Checkpoints(tmp_path, keep=1)) as checkpoints:
                    checkpoints.beats_best(30, 0.6)
        flip_bit(folder / name)


def test_digests_are_part_of_what_a_save_commits(tmp_path):
    """A save that is cut off leaves no checkpoint without them."""
    with closing(Checkpoints(tmp_path, keep=2)) as checkpoints:
        checkpoints.save(7, make_state(width=2048), {})
        while not (tmp_path / "checkpoints/7").exists():
            time.sleep(0.001)
        for item in ("state", "state/ocdbt.process_0", "iterator"):
            assert (tmp_path / "checkpoints/7" / item / "digests.json").is_file()


def test_a_checkpoint_from_before_digests_is_read_with_one_warning(saved, caplog, monkeypatch):
    path, state = saved
    for file in path.rglob("digests.json"):
        file.unlink()
    forget_warnings(monkeypatch)
    with caplog.at_level(logging.WARNING, logger="capjax"):
        assert load_weights(path)[0] == 10
        with closing(Checkpoints(path, keep=2)) as checkpoints:
            assert_same(copied(checkpoints.restore(abstract(state))[0]), copied(state))
    assert [record.message.count("before capjax stored digests") for record in caplog.records] == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_named_with_the_remedy(tmp_path):
    """The limit of file sizes stands for the size of the disk."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    with full_disk(50_000):
        with pytest.raises(OSError, match=f"{tmp_path}/checkpoints cannot be written: File too large; raise the"):
            checkpoints.save(5, make_state(), {})
            checkpoints.wait()
        with pytest.raises(OSError, match=f"{tmp_path}/best cannot be written: File too large"):
            checkpoints.save_best(5, 0.5, *make_state().for_eval())
            checkpoints.wait()
    checkpoints.close()
    with closing(Checkpoints(tmp_path, keep=2)) as checkpoints:
        assert checkpoints.latest_step() is None and checkpoints.best() is None
        checkpoints.save(6, make_state(), {})  # there is room again
    assert load_weights(tmp_path)[0] == 6


def test_a_lost_place_in_the_data_is_damage_too(saved):
    path, state = saved
    shutil.rmtree(path / "checkpoints/10/iterator")
    with (
        closing(Checkpoints(path, keep=2)) as checkpoints,
        pytest.raises(CheckpointError, match="checkpoints/10 cannot be read.*iterator"),
    ):
        checkpoints.restore(abstract(state))


def test_a_half_written_checkpoint_is_not_seen(saved):
    path, state = saved
    half = path / "checkpoints" / "15.orbax-checkpoint-tmp-1700000000"
    shutil.copytree(path / "checkpoints" / "10", half)
    (path / "best").mkdir(exist_ok=True)
    shutil.copytree(half, path / "best" / "15.orbax-checkpoint-tmp-1700000000")
    assert load_weights(path)[0] == 10
    with closing(Checkpoints(path, keep=2)) as checkpoints:
        assert checkpoints.latest_step() == 10
        assert checkpoints.best() is None
        assert checkpoints.restore(abstract(state))[1] == {"next": 10}
    assert not half.exists(), "it would never be finished"


def test_a_save_has_its_name_only_when_it_is_whole(tmp_path):
    folder, deadline = tmp_path / "checkpoints/7", time.monotonic() + 20

    def files() -> set[Path]:
        return {path.relative_to(folder) for path in folder.rglob("*") if "commit_success" not in path.name}

    with closing(Checkpoints(tmp_path, keep=2)) as checkpoints:
        checkpoints.save(7, make_state(width=2048), {})
        while not folder.exists():
            assert time.monotonic() < deadline
        first = files()
    assert first == files()


def test_a_step_is_saved_once(tmp_path):
    first = make_state(1)
    with closing(Checkpoints(tmp_path, keep=2)) as checkpoints:
        checkpoints.save(4, first, {"next": 1})
        checkpoints.save(4, make_state(2), {"next": 2})
        checkpoints.wait()
        restored, iterator = checkpoints.restore(abstract(first))
    assert iterator == {"next": 1}
    assert_same(copied(first), copied(restored))


def test_loading_weights_is_silent(saved, caplog, monkeypatch):
    path, _ = saved
    monkeypatch.chdir(path.parent)
    with caplog.at_level(logging.WARNING, logger="absl"):
        load_weights(Path(path.name))
    assert not caplog.records
