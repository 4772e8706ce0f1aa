"""Search against a plain beam written with Python lists, on random Markov models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capjax.decode.search import beam_search, greedy_search

EOS, PAD = 1, 0
V, L = 7, 6


def table_step(table):
    """Logits depend on the two last tokens of each beam, so that `state` matters, and a little on the position, so that
    no two hypotheses tie. table: [b, v, v, v]."""

    def step_fn(tokens, index, state):
        rows = jnp.arange(table.shape[0])[:, None]
        return table[rows, state, tokens] + position_bias(index), tokens

    return step_fn


def position_bias(index):
    return jnp.sin(index * 7.0 + jnp.arange(V) ** 2)


BIAS = np.stack([np.asarray(position_bias(i)) for i in range(L + 4)])


def plain_beam(table, prefix, *, num_beams, min_len, alpha, ngram, suppressed):
    """One item, as the docstring of beam_search tells it. table: [v, v, v]; returns [(score, tokens)] best first."""
    alive, ended = [(0.0, [])], []
    for count in range(L):
        candidates = []
        for number, (total, tokens) in enumerate(alive):
            history = [0, *prefix, *tokens]
            logits = table[history[-2], history[-1]] + BIAS[len(history) - 2]
            log_probs = logits - np.logaddexp.reduce(logits)
            for token in range(V):
                grams = [tuple(tokens[i : i + ngram]) for i in range(len(tokens) - ngram + 1)] if ngram else []
                repeated = ngram and len(tokens) >= ngram - 1 and tuple([*tokens, token][-ngram:]) in grams
                if suppressed[token] or (token == EOS and count < min_len) or repeated:
                    continue
                if np.isfinite(log_probs[token]):
                    candidates.append((-(total + log_probs[token]), number, token, tokens))
        candidates.sort(key=lambda c: c[:3])
        chosen = [(-negative, [*tokens, token]) for negative, _, token, tokens in candidates[: num_beams - len(ended)]]
        ended += [hypothesis for hypothesis in chosen if hypothesis[1][-1] == EOS]
        alive = [hypothesis for hypothesis in chosen if hypothesis[1][-1] != EOS]
    scored = [(total / ((5 + len(tokens)) / 6) ** alpha, tokens) for total, tokens in ended + alive if tokens]
    return sorted(scored, key=lambda s: -s[0])


@pytest.mark.parametrize("num_beams", [1, 3, 9])
@pytest.mark.parametrize(("min_len", "alpha", "ngram"), [(0, 0.0, 0), (3, 0.8, 0), (0, 0.6, 2), (2, 1.5, 1)])
def test_beam_equals_a_plain_beam_on_random_models(num_beams, min_len, alpha, ngram):
    rng = np.random.default_rng(num_beams * 100 + min_len * 10 + ngram)
    b = 24
    table = (rng.normal(size=(b, V, V, V)) * 2).astype(np.float32)
    table[:6, :, :, 3] = -np.inf
    suppressed = np.zeros(V, bool)
    suppressed[PAD] = True
    prefix = rng.integers(2, V, (b, 2))
    out = jax.jit(
        lambda table, prefix: beam_search(
            table_step(table), jnp.zeros((b, num_beams), jnp.int32), prefix, num_beams=num_beams, max_len=L, eos_id=EOS,
            pad_id=PAD, min_len=min_len, length_penalty=alpha, no_repeat_ngram=ngram,
            suppressed=jnp.asarray(suppressed),
        )
    )(table, prefix)  # fmt: skip
    for item in range(b):
        expected = plain_beam(
            table[item].astype(np.float64), list(prefix[item]), num_beams=num_beams, min_len=min_len, alpha=alpha,
            ngram=ngram, suppressed=suppressed,
        )  # fmt: skip
        got = [
            (float(s), [int(t) for t in row[:n]])
            for s, row, n in zip(out.scores[item], out.tokens[item], out.lengths[item], strict=True)
            if np.isfinite(s)
        ]
        np.testing.assert_allclose([s for s, _ in got], [s for s, _ in expected], atol=1e-4)
        assert [t for _, t in got] == [t for _, t in expected]


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_beam_of_one_is_greedy(alpha):
    table = jnp.asarray(np.random.default_rng(0).normal(size=(50, V, V, V)).astype(np.float32))
    prefix, state = jnp.full((50, 1), 2), jnp.zeros((50, 1), jnp.int32)
    options = {"max_len": L, "eos_id": EOS, "pad_id": PAD, "length_penalty": alpha, "no_repeat_ngram": 2}
    beam = beam_search(table_step(table), state, prefix, num_beams=1, **options)
    greedy = greedy_search(table_step(table), state, prefix, **options)
    np.testing.assert_array_equal(beam.tokens, greedy.tokens)
    np.testing.assert_allclose(beam.scores, greedy.scores, atol=1e-5)


def test_wide_enough_a_beam_finds_the_best_of_all():
    rng = np.random.default_rng(3)
    table = rng.normal(size=(1, 4, 4, 4)).astype(np.float32)
    best = -np.inf

    def extend(last, token, total, depth):
        nonlocal best
        if token == EOS or depth == 4:
            best = max(best, total)
            return
        logits = table[0, last, token] + np.sin(depth * 7.0 + np.arange(4) ** 2)
        log_probs = logits - np.logaddexp.reduce(logits)
        for following in range(4):
            extend(token, following, total + log_probs[following], depth + 1)

    extend(0, 2, 0.0, 0)
    model = jnp.asarray(table)

    def step_fn(tokens, index, state):
        return model[0, state, tokens] + jnp.sin(index * 7.0 + jnp.arange(4) ** 2), tokens

    out = beam_search(
        step_fn, jnp.zeros((1, 200), jnp.int32), jnp.array([[2]]), num_beams=200, max_len=4,
        eos_id=EOS, pad_id=PAD,
    )  # fmt: skip
    assert float(out.scores[0, 0]) == pytest.approx(best, abs=1e-5)


def test_an_item_does_not_depend_on_its_neighbors():
    table = jnp.asarray(np.random.default_rng(5).normal(size=(6, V, V, V)).astype(np.float32))
    options = {"num_beams": 3, "max_len": L, "eos_id": EOS, "pad_id": PAD}
    together = beam_search(table_step(table), jnp.zeros((6, 3), jnp.int32), jnp.full((6, 1), 2), **options)
    for item in range(6):
        alone = beam_search(
            table_step(table[item : item + 1]), jnp.zeros((1, 3), jnp.int32), jnp.array([[2]]), **options
        )
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[item])


def test_one_compilation_serves_every_batch_of_a_shape():
    traces = []

    @jax.jit
    def run(table):
        traces.append(1)
        return beam_search(
            table_step(table), jnp.zeros((2, 3), jnp.int32), jnp.full((2, 1), 2), num_beams=3, max_len=L, eos_id=EOS,
            pad_id=PAD,
        )  # fmt: skip

    for seed in range(3):
        run(jnp.asarray(np.random.default_rng(seed).normal(size=(2, V, V, V)).astype(np.float32)))
    assert len(traces) == 1


def test_where_nothing_may_follow_the_search_ends():
    table = jnp.zeros((1, V, V, V))
    suppressed = jnp.ones(V, bool)
    options = {"max_len": L, "eos_id": EOS, "pad_id": PAD, "suppressed": suppressed}
    greedy = greedy_search(table_step(table), jnp.zeros((1, 1), jnp.int32), jnp.array([[2]]), **options)
    assert (np.asarray(greedy.tokens) == PAD).all()
    beam = beam_search(table_step(table), jnp.zeros((1, 2), jnp.int32), jnp.array([[2]]), num_beams=2, **options)
    assert (np.asarray(beam.tokens) == PAD).all()
