"""Text to tokens and back, for text of any kind; reserved tokens; what may be asked for."""

import io
import random
from collections import Counter

import pytest
import sentencepiece as spm
from hypothesis import example, given, settings
from hypothesis import strategies as st

from capjax.text.vocabulary import Vocabulary, VocabularyError, balance, normalize, train

SENTENCES = {
    "en": [f"A {color} {thing} is left of the dog." for color in ("red", "blue") for thing in ("cat", "ball", "House")],
    "de": [f"Ein {thing} läuft über die große Straße." for thing in ("Hund", "Kind", "Mann")],
    "ar": ["كلب يركض على العشب", "طفل يلعب بالكرة"],
    "zh": ["一只狗在草地上跑。", "一个孩子在玩球，很高兴。"],
}
MODEL = train(SENTENCES, size=600, time_tokens=5)
VOCABULARY = Vocabulary(MODEL)
LOWER = Vocabulary(train(SENTENCES, size=600, lowercase=True))
RESERVED = {VOCABULARY.pad_id, VOCABULARY.bos_id, VOCABULARY.eos_id, 3} | {
    *map(VOCABULARY.lang_id, VOCABULARY.languages),
    *map(VOCABULARY.task_id, VOCABULARY.tasks),
    *map(VOCABULARY.time_id, range(5)),
}


@settings(max_examples=400, deadline=None)
@given(st.text(st.characters(), max_size=30))
@example("")
@example("  two  spaces, and more \t\n ")
@example("a family 👨‍👩‍👧‍👦 and a flag 🇩🇪")
@example("e\u0301 \u2581 \u3000 \0 \ud800")
@example("Ａ１，①ﬁ")
@example("كلب   يركض\u200fعلى")
@example("<lang:de> <pad> <eos> <time:3> ⁇")
@example("İSTANBUL ẞ ΑΣ")
def test_text_comes_back_as_it_went_in_but_for_the_normalization(text):
    ids = VOCABULARY.encode(text)
    assert VOCABULARY.decode(ids) == normalize(text)
    assert not RESERVED.intersection(ids)
    assert normalize(normalize(text)) == normalize(text)
    assert LOWER.decode(LOWER.encode(text)) == normalize(text, lowercase=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, VOCABULARY.size - 1), max_size=20))
def test_any_tokens_are_text_with_single_spaces_and_none_at_its_ends(ids):
    text = VOCABULARY.decode(ids)
    assert text == " ".join(text.split())
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == text
    assert "<" not in text or not any(f"<{name}:" in text for name in ("lang", "task", "time"))


def test_decoding_stops_at_the_first_eos_and_drops_reserved_tokens():
    cat, dog = VOCABULARY.encode("a cat"), VOCABULARY.encode("a dog")
    row = [*VOCABULARY.prefix("en", "dense"), VOCABULARY.time_id(2), *cat, VOCABULARY.eos_id, *dog, VOCABULARY.pad_id]
    assert VOCABULARY.decode(row) == "a cat"


def test_a_prefix_is_bos_task_language():
    assert VOCABULARY.prefix("zh") == [VOCABULARY.bos_id, VOCABULARY.lang_id("zh")]
    assert VOCABULARY.prefix("zh", "summary") == [1, VOCABULARY.task_id("summary"), VOCABULARY.lang_id("zh")]


def test_an_unknown_language_names_those_known():
    with pytest.raises(ValueError, match="'dee'.*did you mean 'de'.*ar, de, en, zh"):
        VOCABULARY.prefix("dee")


def test_reserved_tokens_are_counted():
    vocabulary = Vocabulary(train(SENTENCES, size=600, languages=["pt-BR", "en"], time_tokens=12))
    assert vocabulary.languages == ["ar", "de", "en", "pt-BR", "zh"]
    assert (vocabulary.num_time_tokens, vocabulary.tasks) == (12, ["dense", "summary"])
    assert len({vocabulary.time_id(i) for i in range(12)}) == 12
    assert len(vocabulary.text_ids) == vocabulary.size - 4 - 5 - 2 - 12


def test_the_same_sentences_give_the_same_bytes_in_any_order():
    shuffled = {lang: random.Random(1).sample(texts, len(texts)) for lang, texts in reversed(SENTENCES.items())}
    assert train(shuffled, size=600, time_tokens=5) == MODEL


def test_words_of_a_small_corpus_become_whole_tokens():
    vocabulary = Vocabulary(train({"en": SENTENCES["en"]}, size=600))
    caption = "A red cat is left of the dog."
    assert len(vocabulary.encode(caption)) == len(caption.split()) + 1  # the period


@pytest.mark.parametrize(
    "sentences", [{"en": ["a"]}, {"zh": ["一"]}, {"en": ["x"] * 3}, {"en": ["<lang:de> <pad>"] * 5}]
)
def test_a_tiny_corpus_gives_fewer_tokens(sentences):
    vocabulary = Vocabulary(train(sentences, size=8192))
    assert 256 < vocabulary.size < 300
    assert vocabulary.decode(vocabulary.encode("something else, 狗")) == "something else, 狗"


def test_too_small_a_size_says_how_many_tokens_are_needed():
    with pytest.raises(VocabularyError, match=r"of 100 tokens is too small.* (\d+) are needed") as caught:
        train(SENTENCES, size=100)
    least = int(str(caught.value).split(" are needed")[0].split()[-1])
    assert Vocabulary(train(SENTENCES, size=least)).size == least
    with pytest.raises(VocabularyError, match="too small"):
        train(SENTENCES, size=least - 1)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"size": 0}, "size 0"),
        ({"size": 400.0}, "size 400.0"),
        ({"temperature": 0.5}, "temperature 0.5"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"time_tokens": -1}, "time_tokens -1"),
        ({"languages": ["de>"]}, "language 'de>'"),
        ({"languages": ["pt BR"]}, "language 'pt BR'"),
        ({"languages": [""]}, "language ''"),
        ({"languages": [None]}, "language None"),
        ({"sentences": {"e n": ["a"]}}, "language 'e n'"),
        ({"sentences": {"en": [" "]}}, "no captions"),
        ({"sentences": {}}, "no captions"),
    ],
)
def test_bad_arguments_are_named(wrong, told):
    with pytest.raises(VocabularyError, match=told):
        train(**{"sentences": SENTENCES, "size": 600, **wrong})


def test_case_is_folded_where_the_file_says_so(tmp_path):
    (tmp_path / "v.model").write_bytes(train(SENTENCES, size=600, lowercase=True))
    vocabulary = Vocabulary.load(tmp_path / "v.model")
    assert vocabulary.lowercase
    assert not VOCABULARY.lowercase
    assert vocabulary.decode(vocabulary.encode("A Red ÜBER")) == "a red über"


def test_temperature_lifts_small_languages():
    sentences = {"en": [f"e{i}" for i in range(1000)], "de": [f"d{i}" for i in range(10)]}
    as_they_are = Counter(text[0] for text in balance(sentences, 1))
    assert as_they_are == {"e": 1000, "d": 10}
    # 1000 ** 0.5 : 10 ** 0.5 is 10 : 1.
    assert Counter(text[0] for text in balance(sentences, 2)) == {"e": 918, "d": 92}
    assert len(set(balance(sentences, 2))) == 918 + 10


def foreign(**options) -> bytes:
    model = io.BytesIO()
    texts = [text for texts in SENTENCES.values() for text in texts]
    options = {
        "model_type": "bpe", "vocab_size": 400, "hard_vocab_limit": False, "byte_fallback": True, "minloglevel": 2,
        "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "normalization_rule_name": "identity",
        "control_symbols": ["<task:summary>", "<task:dense>", "<lang:en>"], **options,
    }  # fmt: skip
    spm.SentencePieceTrainer.Train(sentence_iterator=iter(texts), model_writer=model, **options)
    return model.getvalue()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pad_id": -1, "unk_id": 0}, "pad, bos, eos and unk are"),
        ({"pad_id": 3, "unk_id": 0}, "pad, bos, eos and unk are"),
        ({"byte_fallback": False}, "no byte fallback"),
        ({"normalization_rule_name": "nmt_nfkc"}, "normalizes text differently"),
        ({"normalization_rule_name": "nmt_nfkc_cf"}, "normalizes text differently"),
        ({"control_symbols": []}, "no token <task:summary>"),
        ({"control_symbols": ["<task:summary>", "<task:dense>"]}, "no language tokens"),
    ],
)
def test_models_made_for_something_else_are_refused(options, told):
    with pytest.raises(
        VocabularyError, match=f"their.model is a SentencePiece model, but.*{told}.*capjax prepare vocabulary"
    ):
        Vocabulary(foreign(**options), "their.model")


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(VocabularyError, match="not a SentencePiece model"):
        Vocabulary(b"no model")
    with pytest.raises(VocabularyError, match="not a SentencePiece model"):
        Vocabulary(b"")
    with pytest.raises(FileNotFoundError, match=r"no vocabulary .*v.model; make one with"):
        Vocabulary.load(tmp_path / "v.model")
