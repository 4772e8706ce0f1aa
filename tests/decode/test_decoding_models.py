"""Search through every decoder against running the whole model again for each hypothesis."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.decode.attention_recorder import record_attention, recorded_attention
from capjax.decode.sampling import sample
from capjax.decode.search import beam_search, greedy_search
from capjax.models.decoders import DECODERS
from tests.helpers.drawn_models import draw_memory, draw_model

PAD, EOS, BOS = 0, 1, 2
B, N, D, V, P, LONGEST, ROWS = 2, 5, 16, 6, 2, 5, 40
PREFIX = np.array([[BOS, 3], [BOS, 5]])
SUPPRESSED = np.isin(np.arange(V), (PAD, BOS))
TOKENS = [EOS, 3, 4, 5]
OPTIONS = {"transformer": {"layers": 2, "heads": 4, "mlp_ratio": 2.0}, "lstm": {}, "gru": {}}


class Case:
    """A decoder, its teacher forcing compiled for ROWS captions an item, and searches through it."""

    def __init__(self, name: str):
        self.decoder = draw_model(
            lambda key: DECODERS.make(name, vocab=V, width=D, max_len=P + LONGEST, rngs=nnx.Rngs(key), **OPTIONS[name])
        )
        self.memory = draw_memory(B, N, D)
        self.forward = jax.jit(lambda tokens: jax.nn.log_softmax(self.decoder(tokens, self.memory).logits))

    def search(self, find, rows: int, *, record: bool = False, **options):
        fixed, state = self.decoder.init_cache(self.memory, rows, P + LONGEST)

        def step_fn(tokens, index, state):
            logits, state, _ = self.decoder.step(tokens, index, fixed, state)
            return logits, state

        if record:

            def step_with_attention(tokens, index, state):
                return self.decoder.step(tokens, index, fixed, state, return_attention=True)

            step_fn, state = record_attention(step_with_attention, state, b=B, m=rows, length=P + LONGEST)

        options = {"max_len": LONGEST, "eos_id": EOS, "pad_id": PAD, "suppressed": jnp.asarray(SUPPRESSED)} | options
        return jax.tree.map(np.array, jax.jit(lambda: find(step_fn, state, PREFIX, **options))())

    def log_probs(self, hypotheses) -> np.ndarray:
        """For each item its hypotheses, lists of pieces without the prefix -> log-probabilities of what may follow
        each prefix of each: [b, ROWS, l, v]."""
        tokens = np.zeros((B, ROWS, P + LONGEST), np.int32)
        tokens[:, :, :P] = PREFIX[:, None]
        for item, rows in enumerate(hypotheses):
            for row, pieces in enumerate(rows):
                tokens[item, row, P : P + len(pieces)] = pieces
        out = np.array(self.forward(tokens.reshape(B * ROWS, -1))).reshape(B, ROWS, -1, V)
        return out[:, :, P - 1 :]

    def totals(self, hypotheses) -> list[list[float]]:
        """The log-probability of each whole hypothesis."""
        steps = self.log_probs(hypotheses)
        return [
            [sum(steps[item, row, i, piece] for i, piece in enumerate(pieces)) for row, pieces in enumerate(rows)]
            for item, rows in enumerate(hypotheses)
        ]


@pytest.fixture(scope="module", params=list(OPTIONS))
def case(request):
    return Case(request.param)


def hypotheses_of(out):
    return [
        [row[:length].tolist() for row, length in zip(*item, strict=True)]
        for item in zip(out.tokens, out.lengths, strict=True)
    ]


def test_greedy_takes_the_likeliest_after_running_all_again(case):
    out = case.search(greedy_search, 1)
    expected = [[[]], [[]]]
    for count in range(LONGEST):
        steps = case.log_probs(expected)
        for item in range(B):
            pieces = expected[item][0]
            if EOS not in pieces:
                pieces.append(int(np.where(SUPPRESSED, -np.inf, steps[item, 0, count]).argmax()))
    assert hypotheses_of(out) == expected
    np.testing.assert_allclose(out.log_probs, case.totals(expected), atol=1e-4)


def test_a_beam_as_wide_as_all_there_is_ranks_all_there_is(case):
    longest, alpha = 3, 0.7
    every = [
        list(pieces)
        for length in range(1, longest + 1)
        for pieces in product(TOKENS, repeat=length)
        if EOS not in pieces[:-1] and (pieces[-1] == EOS or length == longest)
    ]
    assert len(every) == ROWS
    out = case.search(beam_search, 64, num_beams=64, max_len=longest, length_penalty=alpha)
    totals = case.totals([every] * B)
    for item in range(B):
        scores = [total / ((5 + len(pieces)) / 6) ** alpha for total, pieces in zip(totals[item], every, strict=True)]
        ranked = sorted(zip(scores, every, strict=True), reverse=True)
        assert np.isfinite(out.scores[item]).sum() == ROWS
        np.testing.assert_allclose(out.scores[item, :ROWS], [score for score, _ in ranked], atol=1e-4)
        assert hypotheses_of(out)[item][:ROWS] == [pieces for _, pieces in ranked]


def test_scores_of_a_narrow_beam_are_those_of_teacher_forcing(case):
    alpha = 1.2
    out = case.search(beam_search, 3, num_beams=3, length_penalty=alpha)
    hypotheses = hypotheses_of(out)
    assert all(len({tuple(pieces) for pieces in rows}) == 3 for rows in hypotheses)
    totals = np.array(case.totals(hypotheses))
    np.testing.assert_allclose(out.log_probs, totals, atol=1e-4)
    np.testing.assert_allclose(out.scores, totals / ((5 + out.lengths) / 6) ** alpha, atol=1e-4)
    assert (np.diff(out.scores) <= 0).all()


FIND = {
    "greedy": (greedy_search, 1),
    "beam": (partial(beam_search, num_beams=3, length_penalty=1.2), 3),
    "sample": (partial(sample, key=jax.random.key(1), samples=3, temperature=2.0), 3),
}


@pytest.mark.parametrize("method", FIND)
def test_recorded_attention_is_that_of_teacher_forcing(case, method):
    find, m = FIND[method]
    plain = case.search(find, m)
    out = case.search(find, m, record=True)
    np.testing.assert_array_equal(out.tokens, plain.tokens)
    np.testing.assert_array_equal(out.scores, plain.scores)
    recorded = np.asarray(recorded_attention(out.state.rows, out.state.weights.value, P))
    tokens = np.concatenate([np.repeat(PREFIX[:, None], m, 1), out.tokens], axis=2)
    forced = case.decoder(tokens.reshape(B * m, -1)[:, :-1], case.memory, return_attention=True).attention
    layers, _, heads, *_ = forced.shape
    forced = forced.reshape(layers, B, m, heads, P + LONGEST - 1, N).transpose(1, 2, 4, 0, 3, 5)[:, :, P - 1 :]
    for index in np.ndindex(B, m):
        length = out.lengths[index]
        np.testing.assert_allclose(recorded[index][:length], forced[index][:length], atol=1e-5)
        np.testing.assert_allclose(recorded[index][:length].sum(-1), 1.0, atol=1e-5)
    if method == "beam":
        assert (out.state.rows[:, :, P:-1] != np.arange(m)[:, None]).any(), "beams that never move would prove nothing"


def test_log_probabilities_of_samples_are_those_of_teacher_forcing(case):
    def draw(*args, **options):
        return sample(*args, jax.random.key(1), samples=4, temperature=2.0, top_k=3, **options)

    out = case.search(draw, 4)
    np.testing.assert_allclose(out.log_probs, case.totals(hypotheses_of(out)), atol=1e-4)
    assert len(np.unique(out.tokens.reshape(-1, LONGEST), axis=0)) > 4
