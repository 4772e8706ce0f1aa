import math
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from capjax.parallel.mesh import AXES, fitting_shape, make_mesh
from capjax.parallel.sharding_rules import ShardingRules, by_slice, constrain, top_k

SIZES = {"replica": 1, "data": 2, "fsdp": 2, "tensor": 2}
RULES = (
    ("batch", ("replica", "data", "fsdp")),
    ("embed", ("fsdp",)),
    ("mlp", ("tensor",)),
    ("vocab", ("tensor",)),
)


@pytest.fixture
def rules():
    return ShardingRules(make_mesh(SIZES), RULES)


def spec(sharding):
    return tuple((axes,) if isinstance(axes, str) else axes for axes in sharding.spec)


def test_names_become_mesh_axes(rules):
    assert spec(rules.sharding(("layers", "embed", "mlp"), (3, 8, 16))) == (None, ("fsdp",), ("tensor",))


def test_compiler_options_are_for_tpus_only(rules):
    assert rules.compiler_options({"xla_tpu_scoped_vmem_limit_kib": 8192}) is None
    chip = SimpleNamespace(platform="tpu")
    rules = ShardingRules(SimpleNamespace(devices=np.array([[chip]]), shape=SIZES), RULES)
    assert rules.compiler_options({"xla_tpu_scoped_vmem_limit_kib": 8192}) == {"xla_tpu_scoped_vmem_limit_kib": 8192}


def test_an_axis_that_does_not_divide_is_not_sharded(rules):
    assert spec(rules.sharding(("vocab", "embed"), (7, 8))) == (None, ("fsdp",))


def test_a_mesh_axis_is_used_once_per_array(rules):
    assert spec(rules.sharding(("mlp", "vocab"), (8, 8))) == (("tensor",), None)


def test_the_batch_is_sharded_over_all_its_axes(rules):
    x = jax.device_put(jnp.zeros((8, 3)), rules.batch(8))
    assert x.sharding.shard_shape(x.shape) == (2, 3)
    with pytest.raises(ValueError, match="multiple of 4"):
        rules.batch(6)


def test_optimizer_state_is_sharded_like_its_parameters(rules):
    shapes = {"w": jax.ShapeDtypeStruct((8, 16), jnp.float32)}
    params = rules.params(shapes, {"w": ("embed", "mlp")})
    tree = {"mu": {"w": shapes["w"]}, "row": {"w": jax.ShapeDtypeStruct((8,), jnp.float32)}}
    placed = rules.like_params(tree, params, shapes)
    assert placed["mu"]["w"] == params["w"]
    assert placed["row"]["w"] == rules.replicated


def test_a_rule_for_an_unknown_mesh_axis_is_an_error():
    with pytest.raises(ValueError, match="'model'"):
        ShardingRules(make_mesh(SIZES), (("embed", ("model",)),))


def test_a_mesh_that_does_not_fit_the_devices_is_an_error():
    with pytest.raises(ValueError, match="8 devices"):
        make_mesh({"replica": 1, "data": 3, "fsdp": 1, "tensor": 1})
    with pytest.raises(ValueError, match="at most one -1"):
        make_mesh({"replica": 1, "data": -1, "fsdp": -1, "tensor": 1})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 3, 1, 1), "replica 1 x data 8 x fsdp 1 x tensor 1 would do: --config.mesh.data=8"),
        ((1, 1, 6, 1), "--config.mesh.data=2 --config.mesh.fsdp=4"),
        ((1, -1, 1, 3), "--config.mesh.data=4 --config.mesh.tensor=2"),
        ((1, 3, -1, 1), "--config.mesh.data=2 --config.mesh.fsdp=4"),
        ((1, 1, 64, 64), "--config.mesh.fsdp=1 --config.mesh.tensor=8"),
        ((3, 1, 1, 1), "--config.mesh.replica=2 --config.mesh.data=4"),
    ],
)
def test_the_error_of_a_mesh_that_does_not_fit_names_one_that_does(sizes, message):
    with pytest.raises(ValueError, match="8 devices cannot be laid out") as caught:
        make_mesh(dict(zip(AXES, sizes, strict=True)))
    assert message in str(caught.value)
    for setting in re.findall(r"--config.mesh.(\w+=\d+)", str(caught.value)):
        axis, size = setting.split("=")
        sizes = tuple(int(size) if name == axis else old for name, old in zip(AXES, sizes, strict=True))
    assert make_mesh(dict(zip(AXES, sizes, strict=True))).size == 8


@given(st.integers(1, 4), st.integers(1, 48), st.lists(st.integers(1, 100), min_size=4, max_size=4), st.integers(-1, 3))
def test_the_mesh_that_an_error_names_has_all_devices_and_whole_slices(slices, per_slice, shape, rest):
    if rest >= 0:
        shape[rest] = -1
    fitting = fitting_shape(shape, slices * per_slice, slices)
    assert np.prod(fitting) == slices * per_slice
    assert fitting[0] % slices == 0


def test_minus_one_takes_the_remaining_devices():
    assert make_mesh({"replica": 1, "data": -1, "fsdp": 2, "tensor": 1}).shape["data"] == 4


def test_constraints_follow_the_active_rules():
    rules = ShardingRules(
        make_mesh({"replica": 1, "data": 4, "fsdp": 2, "tensor": 1}),
        [("batch", ("data", "fsdp")), ("mlp", ("tensor",))],
    )

    def double(x):
        return constrain(x * 2, "batch", None, "mlp")

    x = jnp.ones((8, 3, 4))
    placed = jax.jit(rules.activate(double))(x)
    assert placed.sharding.is_equivalent_to(rules.sharding(("batch", None, "mlp"), x.shape), x.ndim)
    assert len(jax.jit(double)(x).sharding.device_set) == 1, "without rules it constrains nothing"
    np.testing.assert_array_equal(placed, 2 * x)


def test_slices_hold_copies_of_the_model():
    devices = [SimpleNamespace(slice_index=i // 4) for i in range(12)]
    with pytest.raises(ValueError, match="3 slices with mesh.replica = 2: set mesh.replica to 3"):
        make_mesh({"replica": 2, "data": 6, "fsdp": 1, "tensor": 1}, devices)


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (("embed", "mlp"), (8, 6)),
        ((None, "embed"), (3, 4)),
        ((), (6, 4)),
        ((), (5,)),
        (("vocab", "embed"), (4, 12)),
        ((), ()),
    ],
)
def test_slices_exchange_each_number_once(names, shape):
    rules = ShardingRules(make_mesh({"replica": 2, "data": 2, "fsdp": 2, "tensor": 1}), RULES)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    within = rules.without("replica").sharding(names, shape)
    placed = jax.device_put(x, NamedSharding(rules.mesh, PartitionSpec("replica", *within.spec)))
    program = jax.jit(lambda x: rules.sum_spread(x, names))
    np.testing.assert_allclose(program(placed), x.sum(0), rtol=1e-6)
    assert program(placed).sharding.is_equivalent_to(within, len(shape))
    (summed,) = re.findall(r"f32\[([\d,]*)\]\S* all-reduce\(", program.lower(placed).compile().as_text())
    parts = math.prod(shape) / math.prod(map(int, filter(None, summed.split(","))))
    # Over the four chips of a slice, as far as the sizes divide by two.
    assert parts == min(4, math.prod(math.gcd(size, 4) for size in shape))


def test_by_slice_compiles_a_function_without_an_axis_of_slices():
    rules = ShardingRules(make_mesh({"replica": 2, "data": 2, "fsdp": 2, "tensor": 1}), RULES)
    rng = np.random.default_rng(0)
    x, dout, kernel = (rng.normal(size=size).astype(np.float32) for size in ((2, 8, 6), (2, 8, 4), (6, 4)))

    def gradients(x, kernel, dout):
        return dout @ kernel.T, constrain(x.T @ dout, "embed", "mlp")

    def each(x, kernel, dout):
        return by_slice(gradients)(x, kernel, dout)

    on_slices = rules.without("replica").activate(each)
    program = jax.jit(jax.vmap(on_slices, in_axes=(0, None, 0), spmd_axis_name="replica"))
    dx, dkernel = program(x, kernel, dout)
    np.testing.assert_allclose(dx, dout @ kernel.T, rtol=1e-5)
    np.testing.assert_allclose(dkernel, x.swapaxes(1, 2) @ dout, rtol=1e-5)
    products = re.findall(r"dot_general .*-> tensor<([\dx]*)xf32>", program.lower(x, kernel, dout).as_text())
    assert sorted(products) == ["6x4", "8x6"]


@pytest.mark.parametrize("sizes", [{"data": 8}, {"data": 2, "tensor": 4}, {"fsdp": 4, "tensor": 2}])
def test_one_process_loads_all_rows_of_a_batch(sizes):
    mesh = make_mesh({"replica": 1, "data": 1, "fsdp": 1, "tensor": 1} | sizes)
    rules = ShardingRules(mesh, [("batch", ("replica", "data", "fsdp"))])
    np.testing.assert_array_equal(rules.rows(16), np.arange(16))
    with pytest.raises(ValueError, match="15 does not divide"):
        rules.rows(15)


@pytest.mark.parametrize("rows", [8, 6, 7])  # in four parts, in two, and whole
def test_top_k_of_each_row_gathers_no_batch(rules, rows):
    x = np.random.default_rng(0).normal(size=(rows, 5, 40)).astype(np.float32)
    placed = jax.device_put(x, rules.sharding(("batch",), x.shape))
    values, index = jax.jit(rules.activate(lambda x: top_k(x, 3)))(placed)
    np.testing.assert_array_equal(index, np.argsort(-x, axis=-1, kind="stable")[..., :3])
    np.testing.assert_array_equal(values, np.take_along_axis(x, np.asarray(index), -1))
    program = jax.jit(rules.activate(lambda x: top_k(x, 3))).lower(placed).compile().as_text()
    assert "all-gather" not in program
