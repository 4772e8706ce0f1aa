"""The whole model: any encoder with any decoder, frames or their features, one frame or many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.models.captioner import Captioner
from capjax.models.connector import Connector
from capjax.models.layers import TIME_SCALE
from capjax.models.pure_model import PureModel, params_of
from tests.helpers.drawn_models import draw_model, vision

B, T, SIZE, L, D, V = 2, 3, 16, 6, 16, 11
VIT = {"name": "vit_tiny", "width": 24, "depth": 1, "heads": 2}
ENCODERS = {
    "vit": VIT,
    "resnet": {"name": "resnet10_slim", "channels": 4},
    "efficientnet": {"name": "efficientnet_lite0", "stages": ((1, 3, 1, 8, 1), (2, 3, 2, 8, 1))},
}
DECODERS = {
    "transformer": {"name": "transformer", "layers": 1, "heads": 2},
    "lstm": {"name": "lstm"},
    "gru": {"name": "gru"},
}


def captioner(key, *, encoder=VIT, frozen=False, decoder=DECODERS["transformer"], **options) -> Captioner:
    options = {"vocab": V, "width": D, "max_len": L, "image_size": SIZE} | options
    return Captioner(encoders=vision(encoder, frozen=frozen), decoder=decoder, rngs=nnx.Rngs(key), **options)


def batch(t=T, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.ones((B, t), bool)
    mask[1, t // 2 + 1 :] = False
    return {
        "frames": rng.integers(0, 256, (B, t, size, size, 3)).astype(np.uint8),
        "frame_times": np.cumsum(rng.random((B, t)), 1).astype(np.float32),
        "frame_mask": mask,
        "target": rng.integers(0, V, (B, L)).astype(np.int32),
    }


@pytest.fixture(scope="module")
def model():
    return draw_model(lambda key: captioner(key, frozen=True))


@pytest.fixture(scope="module")
def forward(model):
    return jax.jit(lambda batch: model(batch).logits)


@pytest.fixture(scope="module")
def featured():
    """A model that is fed features of a 2 x 3 grid, with dropout."""
    return draw_model(lambda key: captioner(key, encoder=None, feature_shape=(2, 3, 8), dropout=0.4))


def feature_batch(t=1):
    features = np.random.default_rng(3).normal(size=(B, t, 6, 8)).astype(np.float32)
    return {name: value for name, value in batch(t).items() if name != "frames"} | {"features": features}


def _abstract(encoder, decoder, t, size, **options):
    pure_model = PureModel.of(lambda key: captioner(key, encoder=encoder, decoder=decoder, image_size=size, **options))

    def run(params, batch_stats, batch):
        model = pure_model.bind(params, batch_stats)
        return model.encode(batch), model(batch, train=True, return_attention=True)

    grid = pure_model.bind(pure_model.shapes, pure_model.batch_stat_shapes).encoders["vision"].grid(size, size)
    memory, out = jax.eval_shape(run, pure_model.shapes, pure_model.batch_stat_shapes, batch(t, size))
    n = t * grid[0] * grid[1]
    assert memory.x.shape == (B, n, D) and memory.mask.shape == memory.time.shape == (B, n)
    assert memory.grid_index.shape == (n, 3)
    assert out.logits.shape == (B, L - 1, V)
    assert out.attention.shape[1::2] == (B, L - 1) and out.attention.shape[-1] == n


@pytest.mark.parametrize("t", [1, T])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_encoder_goes_with_any_decoder(encoder, decoder, t):
    _abstract(ENCODERS[encoder], DECODERS[decoder], t, 32)


@pytest.mark.parametrize(
    ("encoder", "decoder", "dtype"),
    [("resnet50", "transformer", "float32"), ("efficientnet_lite0", "lstm", "bfloat16"), ("vit_b16", "gru", "float32")],
)
def test_encoders_of_full_size_fit(encoder, decoder, dtype):
    _abstract({"name": encoder}, DECODERS[decoder], 1, 224, dtype=jnp.dtype(dtype))


def test_features_give_the_logits_of_their_frames(model, forward):
    frames = batch()
    grid = nnx.jit(lambda encoder, images: encoder(images))(
        model.encoders["vision"], frames["frames"].reshape(-1, SIZE, SIZE, 3)
    )
    features = np.array(grid).reshape(B, T, -1, grid.shape[-1])
    pure_model = PureModel.of(lambda key: captioner(key, encoder=None, feature_shape=(*grid.shape[1:3], VIT["width"])))
    params = {name: value for name, value in params_of(model).items() if not name.startswith("encoders/")}
    fed = jax.jit(lambda batch: pure_model.bind(params, {})(batch).logits)
    others = {name: value for name, value in frames.items() if name != "frames"}
    np.testing.assert_allclose(fed(others | {"features": features}), forward(frames), atol=1e-5)
    # As records hold them.
    stored = others | {"features": features.astype(np.float16)}
    np.testing.assert_allclose(fed(stored), forward(frames), atol=0.02)


def test_a_masked_frame_has_no_influence_and_a_real_one_has(forward):
    frames = batch()
    expected = np.array(forward(frames))
    for row, frame in np.ndindex(B, T):
        changed = {name: value.copy() for name, value in frames.items()}
        changed["frames"][row, frame] = 255 - changed["frames"][row, frame]
        changed["frame_times"][row, frame] += 5.0
        got = np.array(forward(changed))
        if frames["frame_mask"][row, frame]:
            assert np.abs(got[row] - expected[row]).max() > 1e-3
        else:
            np.testing.assert_allclose(got[row], expected[row], atol=1e-5)
        np.testing.assert_allclose(got[1 - row], expected[1 - row], atol=1e-5)


def test_padding_frames_change_nothing(featured):
    short, padded = feature_batch(2), feature_batch(4)
    short["frame_mask"][:], padded["frame_mask"][:] = True, [True, True, False, False]
    for name in ("features", "frame_times"):
        padded[name][:, :2] = short[name]
    padded["target"] = short["target"]
    run = jax.jit(lambda batch: featured(batch).logits)
    np.testing.assert_allclose(run(padded), run(short), atol=1e-5)


def test_memory_says_where_and_when_each_position_lies(featured):
    given = feature_batch(T)
    memory = jax.jit(featured.encode)(given)
    position = 0
    for frame in range(T):
        for row in range(2):
            for column in range(3):
                np.testing.assert_array_equal(memory.grid_index[position], (frame, row, column))
                np.testing.assert_array_equal(memory.time[:, position], given["frame_times"][:, frame])
                np.testing.assert_array_equal(memory.mask[:, position], given["frame_mask"][:, frame])
                position += 1
    assert position == memory.x.shape[1]


def test_the_connector_is_norm_projection_norm_place_and_time():
    connector = draw_model(
        lambda key: Connector(8, D, (2, 3), rate=0.0, feature_dropout=0.0, dtype=jnp.float32, rngs=nnx.Rngs(key))
    )
    p = {name: np.float64(value) for name, value in params_of(connector).items()}
    given = feature_batch(T)

    def norm(x, name):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
        return x * p[f"{name}/scale"] + p[f"{name}/bias"]

    memory = jax.jit(connector)(given["features"], given["frame_times"], given["frame_mask"])
    for b, frame, row, column in np.ndindex(B, T, 2, 3):
        x = norm(np.float64(given["features"][b, frame, 3 * row + column]), "norm")
        x = norm(x @ p["project/kernel"] + p["project/bias"], "out_norm") + p["row"][row] + p["column"][column]
        angle = TIME_SCALE * given["frame_times"][b, frame] / 10_000 ** (np.arange(0, D, 2) / D)
        x = x + np.concatenate([np.sin(angle), np.cos(angle)])
        np.testing.assert_allclose(memory.x[b, 6 * frame + 3 * row + column], x, atol=1e-4)


def test_a_model_sees_pictures_of_another_size_with_rows_and_columns_between_its_own():
    model = draw_model(lambda key: captioner(key, encoder=VIT, image_size=32))  # a grid of 4 x 4
    run = jax.jit(model.connectors["vision"])
    p = {name: np.array(value) for name, value in params_of(model.connectors["vision"]).items()}
    for side in (2, 3, 6):
        features = np.zeros((B, 1, side * side, VIT["width"]), np.float32)
        memory = run(features, np.zeros((B, 1), np.float32), np.ones((B, 1), bool))
        # Places are centres of equal parts of the picture; numpy interpolates linearly and holds the ends.
        at, own = (np.arange(side) + 0.5) / side, (np.arange(4) + 0.5) / 4
        rows, columns = (
            np.stack([np.interp(at, own, p[name][:, d]) for d in range(D)], axis=-1) for name in ("row", "column")
        )
        place = (rows[:, None] + columns[None]).reshape(side * side, D)
        positions = np.array(memory.x[0])
        np.testing.assert_allclose(positions - positions[:1], place - place[:1], atol=1e-5)
        assert memory.grid_index[-1].tolist() == [0, side - 1, side - 1]
    assert jax.eval_shape(model, batch(1, 48)).logits.shape == (B, L - 1, V)
    with pytest.raises(ValueError, match="grid of 4 x 4, not for 6 positions"):
        model.connectors["vision"](features[:, :, :6], np.zeros((B, 1), np.float32), np.ones((B, 1), bool))


def test_features_of_another_grid_are_refused(featured):
    given = feature_batch()
    with pytest.raises(ValueError, match="grid of 2 x 3, not for 5 positions"):
        featured.encode(given | {"features": given["features"][:, :, :5]})


def test_the_prefix_changes_what_is_written(forward):
    given = batch()
    other = given | {"target": given["target"].copy()}
    other["target"][:, 1] = (given["target"][:, 1] + 1) % V
    difference = np.abs(forward(given) - forward(other)).max(-1)
    assert (difference[:, 0] == 0).all() and (difference[:, 1:] > 1e-4).all()


def test_the_last_piece_is_predicted_and_never_read(forward):
    given = batch()
    other = given | {"target": given["target"].copy()}
    other["target"][:, -1] = (given["target"][:, -1] + 1) % V
    np.testing.assert_array_equal(forward(given), forward(other))


def test_captions_of_one_item_are_as_on_their_own(featured):
    given = feature_batch(2)
    targets = np.random.default_rng(1).integers(0, V, (B, 4, L)).astype(np.int32)

    @jax.jit
    def run(batch):
        out = featured(batch, return_attention=True)
        return out.logits, out.attention[0, :, 0]

    together = [np.array(x).reshape(B, 4, L - 1, -1) for x in run(given | {"target": targets})]
    for i in range(4):
        for whole, alone in zip(together, run(given | {"target": targets[:, i]}), strict=True):
            np.testing.assert_allclose(whole[:, i], alone, atol=1e-5)


def test_dropout_follows_its_key_and_is_off_without_one(featured):
    given = feature_batch()
    run = jax.jit(lambda key: featured(given, train=True, key=key).logits)
    first, again, other = (np.array(run(jax.random.key(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    plain = draw_model(lambda key: captioner(key, encoder=None, feature_shape=(2, 3, 8)))
    # The same program, not only the same numbers.
    assert str(jax.make_jaxpr(lambda: featured(given, train=True).logits)()) == str(
        jax.make_jaxpr(lambda: plain(given).logits)()
    )


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_frozen_encoder_computes_in_training_what_it_computes_after(encoder):
    model = draw_model(lambda key: captioner(key, encoder=ENCODERS[encoder], frozen=True, image_size=32))
    given = batch(1, 32)
    programs = [
        str(jax.make_jaxpr(lambda key, train=train: model.encode(given, train=train, key=key).x)(jax.random.key(0)))
        for train in (True, False)
    ]
    assert programs[0] == programs[1]


def test_time_pieces_begin_as_the_memory_tells_their_moments():
    ids = (4, 9, 2, 7, 10)
    model = captioner(0, dense=True, time_ids=ids, width=64)
    table = model.decoder.embedding.table[...]
    np.testing.assert_allclose(jnp.linalg.norm(table[jnp.asarray(ids)], axis=-1), 1, rtol=1e-5)
    duration = jnp.asarray([8.0, 20.0])
    times = jnp.linspace(0, 1, len(ids)) * duration[:, None]
    named = jnp.einsum(
        "btd,vd->btv", model.connectors["vision"].time_embedding(times, duration, 64)[..., 32:], table[:, 32:]
    )
    np.testing.assert_array_equal(named.argmax(-1), [ids, ids])
    other = captioner(0, dense=True, width=64).decoder.embedding.table[...]
    rest = [i for i in range(V) if i not in ids]
    np.testing.assert_array_equal(table[jnp.asarray(rest)], other[jnp.asarray(rest)])
