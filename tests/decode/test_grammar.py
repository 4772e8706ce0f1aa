"""Decoding of events under their grammar, against a plain reading of every short sequence there is."""

import functools
from itertools import product
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capjax.decode.grammar import EventGrammar
from capjax.decode.sampling import sample
from capjax.decode.search import beam_search, greedy_search
from capjax.text import vocabulary
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import Vocabulary

# A vocabulary of eight pieces.
PAD, BOS, EOS, T0, T1, T2, WORD, BLANK = range(8)
SMALL = SimpleNamespace(
    bins=3, ids=[T0, T1, T2],
    vocabulary=SimpleNamespace(eos_id=EOS, text_ids=[WORD, BLANK], blank_ids=[BLANK]),
)  # fmt: skip
P = 2


def is_events(pieces) -> bool:
    """Whether pieces, the last of which is <eos>, are a list of events; read by hand."""
    *body, last = pieces
    if last != EOS:
        return False
    place, before = 0, T0
    while place < len(body):
        start, end = (*body[place : place + 2], PAD, PAD)[:2]
        if not (before <= start < end <= T2):
            return False
        place, before, words = place + 2, start, 0
        while place < len(body) and body[place] in (WORD, BLANK):
            words += body[place] == WORD
            place += 1
        if not words:
            return False
    return True


@functools.cache
def all_events(longest: int) -> frozenset[tuple[int, ...]]:
    return frozenset(
        (*body, EOS)
        for length in range(longest)
        for body in product((T0, T1, T2, WORD, BLANK), repeat=length)
        if is_events((*body, EOS))
    )


@functools.cache
def beginnings(longest: int) -> frozenset[tuple[int, ...]]:
    return frozenset(whole[:length] for whole in all_events(longest) for length in range(len(whole) + 1))


@pytest.mark.parametrize("longest", [3, 4, 7])
def test_exactly_the_lists_of_events_can_be_written(longest):
    grammar, room = EventGrammar(SMALL, 8, P, longest), 1024

    @jax.jit
    def look(state, last, index):
        state = grammar.advance(state, last)
        return state, grammar.allowed(state, index)

    state, last = grammar.start(room, 1), np.full((room, 1), BOS)
    rows: list[tuple[int, ...]] = [()]
    written = set()
    for count in range(longest):
        state, may_follow = jax.tree.map(np.array, look(state, last, P - 1 + count))
        may_follow = may_follow[: len(rows), 0]
        assert may_follow.any(1).all(), "no dead ends"
        row, piece = np.nonzero(may_follow)
        written |= {(*rows[r], EOS) for r in row[piece == EOS]}
        row, piece = row[piece != EOS], piece[piece != EOS]
        rows = [(*rows[r], int(p)) for r, p in zip(row, piece, strict=True)]
        last[: len(rows), 0] = piece
        for part in state:
            part[: len(rows)] = part[row]
    assert not rows, "all have ended"
    assert written == all_events(longest)


def logits_of(tables: jax.Array):
    """step_fn of random models: logits depend on the item, the place and the piece before. tables: [b, l, v, v]."""

    def step_fn(tokens, index, state):
        rows = jnp.arange(tables.shape[0])[:, None]
        return tables[rows, index % tables.shape[1], tokens], state

    return step_fn


def test_greedy_search_takes_the_best_piece_that_can_still_end_well():
    b, longest = 300, 6
    tables = np.random.default_rng(0).normal(size=(b, longest, 8, 8)).astype(np.float32) * 2
    grammar = EventGrammar(SMALL, 8, P, longest)
    decoded = jax.jit(
        lambda tables: greedy_search(
            grammar.constrain(logits_of(tables)),
            (grammar.start(b, 1), ()),
            jnp.full((b, P), BOS),
            max_len=longest,
            eos_id=EOS,
            pad_id=PAD,
        )  # fmt: skip
    )(tables)
    decoded = jax.tree.map(np.asarray, decoded)
    for item in range(b):
        pieces: tuple[int, ...] = ()
        while EOS not in pieces:
            before = pieces[-1] if pieces else BOS
            logits = tables[item, (P - 1 + len(pieces)) % longest, before]
            able = [piece for piece in range(8) if (*pieces, piece) in beginnings(longest)]
            pieces = (*pieces, max(able, key=lambda piece: logits[piece]))
        assert tuple(decoded.tokens[item, 0, : len(pieces)]) == pieces
    assert len({bytes(row) for row in decoded.tokens}) > 20


WAYS = {
    "greedy": (greedy_search, 1),
    "beam": (functools.partial(beam_search, num_beams=4, length_penalty=0.6), 4),
    "sample": (functools.partial(sample, key=jax.random.key(1), samples=4, temperature=2.0, top_p=0.9), 4),
}


@pytest.fixture(scope="module")
def times() -> TimeTokens:
    sentences = {"en": ["a red circle moves left", "it is blue"] * 3, "zh": ["红色的圆向左移动"]}
    return TimeTokens(Vocabulary(vocabulary.train(sentences, size=340, time_tokens=6)), 6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("max_len", [3, 15])
def test_whatever_the_model_every_output_is_a_list_of_events(times, way, max_len):
    pieces, b = times.vocabulary, 100
    find, rows = WAYS[way]
    rng = np.random.default_rng(max_len)
    liked = np.zeros(pieces.size)
    liked[times.ids], liked[pieces.blank_ids], liked[EOS] = 3.0, 2.0, 2.0
    favored = jnp.asarray(rng.normal(size=(b, 4, pieces.size)) * 2 + liked, jnp.float32)

    def step_fn(tokens, index, state):
        return favored[jnp.arange(b)[:, None], (index + tokens) % 4], state

    grammar = EventGrammar(times, pieces.size, P, max_len)
    decoded = jax.jit(
        lambda: find(
            grammar.constrain(step_fn),
            (grammar.start(b, rows), ()),
            jnp.full((b, P), BOS),
            max_len=max_len,
            eos_id=EOS,
            pad_id=PAD,
        )  # fmt: skip
    )()
    tokens, log_probs, per_token = map(np.asarray, (decoded.tokens, decoded.log_probs, decoded.token_log_probs))
    num_events, exists = 0, np.isfinite(log_probs)  # of what can be written there may be less than there are beams
    assert exists[:, 0].all()
    np.testing.assert_allclose(per_token.sum(-1)[exists], log_probs[exists], rtol=1e-4, atol=1e-4)
    for row, length in zip(tokens[exists], np.asarray(decoded.lengths)[exists], strict=True):
        assert row[length - 1] == EOS
        body = row[: length - 1].tolist()
        events = times.decode(row.tolist(), duration=10.0)
        assert all(0 <= event.start < event.end <= 10 and event.text for event in events)
        assert [event.start for event in events] == sorted(event.start for event in events)
        assert [place for event in events for place in event.positions] == list(range(len(body))), "none is left out"
        assert sum(piece in times.ids for piece in body) == 2 * len(events)
        num_events += len(events)
    assert num_events == 0 if max_len < 4 else num_events > b
