"""Decoders against torch with the same weights, and decoding step by step against teacher forcing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from capjax.models.decoders import DECODERS
from capjax.models.decoders.cache import InPlace, reorder
from capjax.models.pure_model import PureModel, params_of
from tests.helpers.drawn_models import draw_memory, draw_model

B, M, L, N, D, V = 2, 3, 6, 5, 16, 11
PAD = 0
OPTIONS = {
    "transformer": {"layers": 2, "heads": 4, "mlp_ratio": 2.0},
    "lstm": {"attention_width": 12},
    "gru": {"tie": False},
}


class Case:
    """A decoder with its two entries compiled once: for B memories with M captions or beams each."""

    def __init__(self, name: str):
        self.name = name
        self.decoder = draw_model(
            lambda key: DECODERS.make(name, vocab=V, width=D, max_len=L, rngs=nnx.Rngs(key), **OPTIONS[name])
        )
        self.params = {name: np.array(value) for name, value in params_of(self.decoder).items()}
        self.memory = draw_memory(B, N, D)
        self.forward = jax.jit(lambda tokens, memory: self.decoder(tokens, memory, return_attention=True))
        self.stepwise = jax.jit(self._stepwise)

    def _stepwise(self, tokens, parents, memory):
        """Feeds tokens [l, b, m] with the beams reordered by parents [l, b, m] before each position."""
        fixed, state = self.decoder.init_cache(memory, M, L)

        def body(carry, x):
            index, state = carry
            tokens, parent = x
            logits, state, attention = self.decoder.step(
                tokens, index, fixed, reorder(state, parent), return_attention=True
            )
            return (index + 1, state), (logits, attention)

        return jax.lax.scan(body, (jnp.int32(0), state), (tokens, parents))[1]


@pytest.fixture(scope="module", params=list(OPTIONS))
def case(request):
    return Case(request.param)


def captions(seed=0):
    return np.random.default_rng(seed).integers(1, V, (B * M, L)).astype(np.int32)


def linear(params, name):
    """The function of a Linear, in torch."""
    kernel, bias = (torch.tensor(params[f"{name}/{p}"]) if f"{name}/{p}" in params else 0 for p in ("kernel", "bias"))
    return lambda x: x @ kernel + bias


def norm(params, name):
    scale, bias = (torch.tensor(params[f"{name}/{part}"]) for part in ("scale", "bias"))
    return lambda x: torch.nn.functional.layer_norm(x, (D,), scale, bias, 1e-6)


def embed(params, tokens):
    return torch.tensor(params["embedding/table"])[torch.tensor(tokens)] * D**0.5


def score(params, x):
    if "embedding/head/kernel" in params:
        return linear(params, "embedding/head")(x)
    return x @ torch.tensor(params["embedding/table"]).T + torch.tensor(params["embedding/bias"])


def torch_transformer(params, tokens, memory, mask):
    """torch.nn.TransformerDecoder with these parameters: logits."""
    layer = torch.nn.TransformerDecoderLayer(
        D, 4, 2 * D, dropout=0.0, activation="gelu",
        layer_norm_eps=1e-6, batch_first=True, norm_first=True,
    )  # fmt: skip
    decoder = torch.nn.TransformerDecoder(layer, 2, torch.nn.LayerNorm(D, 1e-6)).eval()
    values = {"norm.weight": params["norm/scale"], "norm.bias": params["norm/bias"]}
    for i in range(2):
        p = {name.removeprefix("blocks/"): value[i] for name, value in params.items() if name.startswith("blocks/")}
        for name, theirs in (("attention_norm", "norm1"), ("cross_norm", "norm2"), ("mlp_norm", "norm3")):
            values[f"layers.{i}.{theirs}.weight"] = p[f"{name}/scale"]
            values[f"layers.{i}.{theirs}.bias"] = p[f"{name}/bias"]
        for ours, theirs in (("attention", "self_attn"), ("cross_attention", "multihead_attn")):
            inputs = ("qkv",) if ours == "attention" else ("query", "key_value")
            for part, their_part in (("kernel", "weight"), ("bias", "bias")):
                joined = np.concatenate([p[f"{ours}/{name}/{part}"] for name in inputs], -1)
                values[f"layers.{i}.{theirs}.in_proj_{their_part}"] = joined.T
                values[f"layers.{i}.{theirs}.out_proj.{their_part}"] = p[f"{ours}/out/{part}"].T
        for ours, theirs in (("up", "linear1"), ("down", "linear2")):
            values[f"layers.{i}.{theirs}.weight"] = p[f"mlp/{ours}/kernel"].T
            values[f"layers.{i}.{theirs}.bias"] = p[f"mlp/{ours}/bias"]
    decoder.load_state_dict({name: torch.tensor(np.ascontiguousarray(value)) for name, value in values.items()})
    x = embed(params, tokens) + torch.tensor(params["position"])[: tokens.shape[1]]
    causal = torch.ones(L, L, dtype=torch.bool).triu(1)
    return score(params, decoder(x, memory, tgt_mask=causal, memory_key_padding_mask=~mask))


def torch_recurrent(kind, params, tokens, memory, mask):
    """Show, Attend and Tell with torch's cells: logits and attention [b, l, n]."""
    cell = (torch.nn.LSTMCell if kind == "lstm" else torch.nn.GRUCell)(2 * D, D)
    bias = params["from_token/bias"].copy()
    if kind == "lstm":
        bias[D : 2 * D] += 1.0  # the forget gate, open
    inputs = np.concatenate([params["from_token/kernel"], params["from_context/kernel"]])
    state_bias = params.get("from_state/bias", np.zeros_like(bias))
    for name, value in {
        "weight_ih": inputs.T, "weight_hh": params["from_state/kernel"].T, "bias_ih": bias, "bias_hh": state_bias,
    }.items():  # fmt: skip
        getattr(cell, name).data = torch.tensor(np.ascontiguousarray(value))
    real = mask[..., None].float()
    start = torch.tanh(linear(params, "initial")((memory * real).sum(1) / real.sum(1)))
    state = (start[:, :D], start[:, D:]) if kind == "lstm" else start
    part = {name: linear(params, f"attention/{name}") for name in ("memory", "state", "score", "gate")}
    embedded, logits, weights = embed(params, tokens), [], []
    for token in embedded.unbind(1):
        h = state[0] if kind == "lstm" else state
        scores = part["score"](torch.tanh(part["memory"](memory) + part["state"](h)[:, None]))[..., 0]
        alpha = torch.softmax(scores.masked_fill(~mask, -torch.inf), -1)
        context = torch.sigmoid(part["gate"](h)) * (alpha[..., None] * memory).sum(1)
        state = cell(torch.cat([token, context], -1), state)
        h = state[0] if kind == "lstm" else state
        deep = token + linear(params, "out_state")(h) + linear(params, "out_context")(context)
        logits.append(score(params, torch.tanh(norm(params, "out_norm")(deep))))
        weights.append(alpha)
    return torch.stack(logits, 1), torch.stack(weights, 1)


def test_logits_are_torchs(case):
    tokens = captions()
    out = case.forward(tokens, case.memory)
    memory, mask = (torch.tensor(np.repeat(x, M, 0)) for x in (case.memory.x, case.memory.mask))
    if case.name == "transformer":
        expected = torch_transformer(case.params, tokens, memory, mask)
    else:
        expected, attention = torch_recurrent(case.name, case.params, tokens, memory, mask)
        np.testing.assert_allclose(out.attention[0, :, 0], attention.detach(), atol=1e-5)
    assert out.logits.dtype == jnp.float32
    np.testing.assert_allclose(out.logits, expected.detach(), atol=2e-4)


def test_attention_sums_to_one_over_the_real_positions(case):
    attention = np.array(case.forward(captions(), case.memory).attention)
    layers, heads = (2, 4) if case.name == "transformer" else (1, 1)
    assert attention.shape == (layers, B * M, heads, L, N) and attention.dtype == np.float32
    np.testing.assert_allclose(attention.sum(-1), 1.0, atol=1e-5)
    hidden = np.repeat(~np.array(case.memory.mask), M, 0)
    assert hidden.any() and (np.moveaxis(attention, (1, 4), (0, 1))[hidden] == 0).all()


@pytest.mark.parametrize("position", [1, 3, L - 1])
def test_a_token_changes_no_logits_before_it(case, position):
    tokens = captions()
    padded, other = tokens.copy(), tokens.copy()
    padded[:, position:] = PAD
    other[:, position] = tokens[:, position] % (V - 1) + 1
    logits = np.array(case.forward(tokens, case.memory).logits)
    for changed in (padded, other):
        got = np.array(case.forward(changed, case.memory).logits)
        np.testing.assert_array_equal(got[:, :position], logits[:, :position])
        assert (np.abs(got[:, position] - logits[:, position]).max(-1) > 1e-4).all()


@pytest.mark.parametrize("reordered", [False, True])
def test_cached_logits_equal_uncached(case, reordered):
    rng = np.random.default_rng(4)
    fed = rng.integers(1, V, (L, B, M)).astype(np.int32)
    parents = np.tile(np.arange(M), (L, B, 1))
    if reordered:
        parents = rng.integers(0, M, (L, B, M))
    logits, attention = case.stepwise(fed, parents, case.memory)
    history = np.zeros((B, M, L), np.int32)
    for index in range(L):
        history = np.take_along_axis(history, parents[index][..., None], 1)
        history[:, :, index] = fed[index]
        out = case.forward(history.reshape(B * M, L), case.memory)
        np.testing.assert_allclose(
            logits[index], np.array(out.logits[:, index]).reshape(B, M, V), atol=1e-4, err_msg=f"position {index}"
        )
        layers, _, heads, *_ = out.attention.shape
        expected = np.array(out.attention[..., index, :]).reshape(layers, B, M, heads, N)
        np.testing.assert_allclose(attention[index], expected, atol=1e-5)


def test_masked_memory_has_no_influence(case):
    tokens, hidden = captions(), ~case.memory.mask[..., None]
    other = case.memory.replace(x=jnp.where(hidden, 30.0, case.memory.x))
    np.testing.assert_allclose(
        case.forward(tokens, other).logits, case.forward(tokens, case.memory).logits, atol=1e-5
    )  # fmt: skip


def test_real_memory_has_influence(case):
    tokens = captions()
    other = case.memory.replace(x=case.memory.x.at[0, 1].add(1.0))
    changed = np.abs(case.forward(tokens, other).logits - case.forward(tokens, case.memory).logits).max((1, 2))
    assert (changed[:M] > 1e-3).all() and (changed[M:] == 0).all()


def test_an_item_without_memory_gives_finite_logits(case):
    nothing = case.memory.replace(mask=case.memory.mask.at[0].set(False))
    tokens = captions()
    logits = np.array(case.forward(tokens, nothing).logits)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[M:], case.forward(tokens, case.memory).logits[M:], atol=1e-6)
    fed = tokens.reshape(B, M, L).transpose(2, 0, 1)
    stepped = case.stepwise(fed, np.tile(np.arange(M), (L, B, 1)), nothing)[0]
    np.testing.assert_allclose(stepped, logits.reshape(B, M, L, V).transpose(2, 0, 1, 3), atol=1e-4)


@pytest.mark.parametrize("name", OPTIONS)
def test_without_a_key_a_decoder_with_dropout_is_the_one_without(name):
    programs = []
    for rate in (0.5, 0.0):
        options = OPTIONS[name] | {"vocab": V, "width": D, "max_len": L, "dropout": rate}
        pure_model = PureModel.of(lambda key, options=options: DECODERS.make(name, rngs=nnx.Rngs(key), **options))

        def run(params, key, pure_model=pure_model):
            return pure_model.bind(params, {})(captions(), draw_memory(B, N, D), key).logits

        programs.append([str(jax.make_jaxpr(run)(pure_model.shapes, key)) for key in (None, jax.random.key(0))])
    (without_key, with_key), (never, _) = programs
    assert without_key == never != with_key


@pytest.mark.parametrize("name", OPTIONS)
def test_bfloat16_keeps_float32_parameters_and_logits_and_a_cache_of_one_type(name):
    pure_model = PureModel.of(
        lambda key: DECODERS.make(
            name, vocab=V, width=D, max_len=L, dtype=jnp.bfloat16, rngs=nnx.Rngs(key), **OPTIONS[name]
        )
    )
    assert {spec.dtype for spec in pure_model.shapes.values()} == {jnp.dtype("float32")}
    memory = draw_memory(B, N, D)
    memory = memory.replace(x=memory.x.astype(jnp.bfloat16))

    def run(params):
        decoder = pure_model.bind(params, {})
        fixed, state = decoder.init_cache(memory, M, L)
        logits, stepped, _ = decoder.step(jnp.zeros((B, M), jnp.int32), jnp.int32(0), fixed, state)
        return decoder(captions(), memory).logits, logits, state, stepped

    forced, logits, state, stepped = jax.eval_shape(run, pure_model.shapes)
    assert forced.dtype == logits.dtype == jnp.float32
    assert jax.tree.leaves(state) == jax.tree.leaves(stepped), "a search carries the state through a loop"
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {jnp.dtype("bfloat16"), jnp.dtype("int32")}
    leaves = jax.tree.leaves(state, is_leaf=lambda leaf: isinstance(leaf, InPlace))
    assert all(leaf.shape[:2] == (B, M) for leaf in leaves if not isinstance(leaf, InPlace))


def test_a_deeper_transformer_projects_the_memory_by_no_more_products():
    def products(layers):
        pure_model = PureModel.of(
            lambda key: DECODERS.make(
                "transformer", vocab=V, width=D, max_len=L, layers=layers, heads=2, rngs=nnx.Rngs(key)
            )
        )
        lowered = jax.jit(lambda params, memory: pure_model.bind(params, {}).init_cache(memory, M, L)).lower(
            pure_model.shapes, draw_memory(B, N, D)
        )
        return lowered.as_text().count("dot_general")

    assert 0 < products(5) == products(2)


def test_more_positions_than_the_transformer_has_are_refused():
    decoder = draw_model(
        lambda key: DECODERS.make("transformer", vocab=V, width=D, max_len=L, layers=1, heads=2, rngs=nnx.Rngs(key))
    )
    with pytest.raises(ValueError, match=f"{L + 1} positions.*made for {L},"):
        decoder(np.zeros((B, L + 1), np.int32), draw_memory(B, N, D))
    with pytest.raises(ValueError, match=f"{L + 1} positions.*made for {L},"):
        decoder.init_cache(draw_memory(B, N, D), 1, L + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "width 16 with 3 heads in the decoder: .* heads that divide the width"),
        ({"heads": 0}, "0 heads"),
        ({"layers": 0}, "0 layers"),
    ],
)
def test_layers_and_heads_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DECODERS.make("transformer", vocab=V, width=D, max_len=L, rngs=nnx.Rngs(0), **options)


def test_an_unknown_decoder_names_the_nearest():
    with pytest.raises(ValueError, match="unknown decoder 'transfomer': did you mean 'transformer'"):
        DECODERS.get("transfomer")
