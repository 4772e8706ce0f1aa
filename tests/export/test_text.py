"""Pieces to text in TensorFlow, against `Vocabulary.decode` and `TimeTokens.decode`, and normal form C against Python's
own."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.text import vocabulary as vocabularies
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import EOS, PAD, Vocabulary

tf = pytest.importorskip("tensorflow")

from capjax.export.normal_form import nfc  # noqa: E402
from capjax.export.text import Detokenizer, EventReader  # noqa: E402

SENTENCES = {
    "en": ["A dog runs.", "Two dogs, one cat: all's well!", "A \u201cquoted\u201d word"],
    "de": ["Ein weißer Hund läuft über die Straße.", "Öl und Äpfel"],
    "fr": ["Un garçon à côté d\u2019une forêt\u00a0!", "Où est l'œuvre ?"],
    "zh": ["一只狗在草地上奔跑。", "两个人，一匹马！"],
    "ar": ["كلب يجري في العشب", "هَٰذَا بَيْتٌ جَمِيلٌ", "أطفال يلعبون"],
}
TEXTS = [
    *(text for texts in SENTENCES.values() for text in texts),
    "", " ", "\u3000 a \u2028 b\t", "e\u0301\u0323 A\u030a", "각 힣 \u1112\u1161\u11ab",
    "\U0001f600 \U0001f469\u200d\U0001f680",
    "\u0915\u093c \u0958", "\u2126 \u212b \ufb01", "\u1e9b\u0323", "İI\u0307 ΑΣ", "\0", "\u0627\u0653\u0627\u0655",
]  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["cased", "lowercase"])
def vocabulary(request) -> Vocabulary:
    return Vocabulary(vocabularies.train(SENTENCES, size=460, time_tokens=11, lowercase=request.param))


def rows(pieces: list[list[int]]) -> np.ndarray:
    length = max(map(len, pieces)) + 2
    return np.array([[*row, EOS, *[PAD] * (length - len(row) - 1)] for row in pieces], np.int32)


def texts_of(vocabulary, tokens) -> list[str]:
    detokenize = tf.function(Detokenizer(vocabulary), input_signature=[tf.TensorSpec((None, None), tf.int32)])
    return [text.decode() for text in detokenize(tf.constant(tokens)).numpy()]


def test_texts_come_back_as_the_vocabulary_gives_them(vocabulary):
    tokens = rows([vocabulary.encode(text) for text in TEXTS])
    assert texts_of(vocabulary, tokens) == [vocabulary.decode(row) for row in tokens.tolist()]


def test_any_pieces_of_text_come_back_alike(vocabulary):
    """Bytes in any order too, which spell no UTF-8 most of the time, and marks that stand before their letter."""
    rng = np.random.default_rng(0)
    ids = np.array(vocabulary.text_ids)
    of_bytes = ids[[len(vocabulary.spellings[i]) == 1 and vocabulary.spellings[i][0] > 127 for i in ids]]
    drawn = [rng.choice(pool, rng.integers(0, 24)).tolist() for pool in (ids, of_bytes) for _ in range(300)]
    tokens = rows(drawn)
    assert texts_of(vocabulary, tokens) == [vocabulary.decode(row) for row in tokens.tolist()]


def test_what_follows_the_end_is_not_read(vocabulary):
    dog = vocabulary.encode("a dog")
    tokens = np.array([[*dog, EOS, *dog, PAD]], np.int32)
    assert texts_of(vocabulary, tokens) == ["a dog"]


# Letters, marks of many classes, jamo and syllables, characters with exclusions and singletons.
TRICKY = "aeo\u0301\u0300\u0323\u0327\u0315\u05b0\u0345\u1100\u1161\u11a8\uac00\u00e9\u1e69\u0958\u212b\u0344"
TRICKY += "\u2000\u06d5\u0654\u0653\u0627\u093c\u0928\U0001d15e\U00011099\U000110ba\u0dd9\u0dcf\u0dca\u1025\u102e"


NFC = tf.function(nfc, input_signature=[tf.TensorSpec((None,), tf.string)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1))
def test_normal_form_c_is_python_s(texts):
    texts = [text.replace("\0", "") for text in texts]
    normalized = [text.decode() for text in NFC(tf.constant([text.encode() for text in texts])).numpy()]
    assert normalized == [unicodedata.normalize("NFC", text) for text in texts]


def test_written_events_are_read_as_the_host_reads_them(vocabulary):
    times = TimeTokens(vocabulary, 11)
    t, dog, cat = times.ids, vocabulary.encode("a dog"), vocabulary.encode("a cat")
    event_lists = [
        [t[0], t[3], *dog, t[2], t[10], *cat],
        [*dog, t[1], t[2], *cat],
        [t[4], t[2], *dog, t[2], *cat, t[1], t[2], t[5], t[6], *dog],
        [],
        [t[1], t[2]],
    ]
    tokens, durations = rows(event_lists), np.array([10.0, 3.3, 7.7, 1.0, 2.0], np.float32)
    log_probs = -np.random.default_rng(0).random(tokens.shape).astype(np.float32)
    read = EventReader(times, Detokenizer(vocabulary))
    outputs = [each.numpy() for each in read(tf.constant(tokens), tf.constant(log_probs), tf.constant(durations))]
    for row, duration in enumerate(durations.tolist()):
        wanted = times.decode(tokens[row].tolist(), duration)
        valid, start, end, text, score = (each[row][: len(wanted)] for each in outputs)
        assert valid.all() and outputs[0][row].sum() == len(wanted)
        assert start.tolist() == [event.start for event in wanted]
        assert end.tolist() == [event.end for event in wanted]
        assert [each.decode() for each in text] == [event.text for event in wanted]
        probs = [np.exp(log_probs[row][list(event.positions)].mean()) for event in wanted]
        np.testing.assert_allclose(score, probs, rtol=1e-6)
