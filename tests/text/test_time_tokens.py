"""Events to tokens and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.text import vocabulary
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import EOS, Vocabulary, VocabularyError, normalize

SENTENCES = {"en": ["a red circle moves left", "it is blue"] * 3, "zh": ["红色的圆向左移动"]}
PIECES = Vocabulary(vocabulary.train(SENTENCES, size=400, time_tokens=100))
TIMES = {bins: TimeTokens(PIECES, bins) for bins in (2, 3, 10, 100)}

shares = st.floats(0, 1)
words = st.one_of(st.sampled_from(SENTENCES["en"] + SENTENCES["zh"]), st.text(min_size=1)).filter(normalize)


@settings(max_examples=300, deadline=None)
@given(
    bins=st.sampled_from([2, 3, 10, 100]), duration=st.floats(0.1, 10_000),
    events=st.lists(st.tuples(shares, shares, words), max_size=6),
)  # fmt: skip
def test_events_come_back_within_half_a_bin_and_in_order(bins, duration, events):
    times, half = TIMES[bins], duration / (bins - 1) / 2
    events = [(min(a, b) * duration, max(a, b) * duration, text) for a, b, text in events]
    decoded = times.decode([*times.encode(events, duration), EOS, 300, 301], duration)
    assert sorted(event.text for event in decoded) == sorted(normalize(text) for *_, text in events)
    assert [(event.start, event.end) for event in decoded] == sorted((event.start, event.end) for event in decoded)
    near = 1e-6 * duration
    for event in decoded:
        assert 0 <= event.start < event.end <= duration + near
        # The one that it was: within half a bin, or moved and made one bin long where it was shorter.
        assert any(
            event.text == normalize(text)
            and abs(event.start - start) <= (half if end - start >= 2 * half else 3 * half) + near
            and abs(event.end - end) <= (half if end - start >= 2 * half else 3 * half) + near
            for start, end, text in events
        )


def test_the_first_and_the_last_moment_have_tokens_of_their_own():
    assert TIMES[10].quantize(0.0, 20.0, 20.0) == (0, 9)
    assert TIMES[10].encode([(0.0, 20.0, "")], 20.0) == [PIECES.time_id(0), PIECES.time_id(9)]


def test_what_lies_outside_the_video_ends_at_its_edge():
    assert TIMES[10].quantize(-3.0, 99.0, 20.0) == (0, 9)
    assert TIMES[10].quantize(25.0, 30.0, 20.0) == (8, 9), "and has a length all the same"
    assert TIMES[10].quantize(-3.0, -1.0, 20.0) == (0, 1)


@pytest.mark.parametrize(
    "pieces", ["W", "T0 W", "T3 T1 W", "T2 T2 W", "T0 T1", "", "T0 T1 T2 T3", "T0 T1 S", "T1"],
)  # fmt: skip
def test_what_is_no_event_is_left_out(pieces):
    ids = {"W": PIECES.encode("blue"), "S": PIECES.blank_ids[-1:]} | {f"T{i}": [PIECES.time_id(i)] for i in range(4)}
    bad = [piece for name in pieces.split() for piece in ids[name]]
    good = TIMES[10].encode([(4.0, 8.0, "it is blue")], 9.0)
    assert TIMES[10].decode(bad, 9.0) == []
    (event,) = TIMES[10].decode([*good, *(bad if pieces.startswith("T") else []), EOS], 9.0)
    assert (event.start, event.end, event.text, event.positions) == (4.0, 8.0, "it is blue", range(len(good)))


def test_a_text_that_spells_a_time_is_text():
    (event,) = TIMES[10].decode(TIMES[10].encode([(0.0, 9.0, "<time:3> now")], 9.0), 9.0)
    assert (event.start, event.end, event.text) == (0.0, 9.0, "<time:3> now")


def test_tokens_that_may_be_blank_are_those_of_white_space():
    for char in (" ", "\u00a0", "\u3000", "\u2003", "\t"):
        ids = PIECES._model.EncodeAsIds(f"a{char}a")  # as it is, not normalized
        assert not set(ids) <= set(PIECES.blank_ids)
        spelled = [PIECES._model.PieceToId(f"<0x{byte:02X}>") for byte in char.encode()]
        assert PIECES.decode(spelled) == ""
        assert set(spelled) <= set(PIECES.blank_ids)
    assert not set(PIECES.encode("blue")) <= set(PIECES.blank_ids)


def test_what_the_vocabulary_lacks_is_told():
    with pytest.raises(
        VocabularyError, match="has 100 time tokens, but data.time_bins asks for 101.*--time-tokens 101"
    ):
        TimeTokens(PIECES, 101)
    with pytest.raises(VocabularyError, match="data.time_bins = 1: expected 2 or more"):
        TimeTokens(PIECES, 1)
