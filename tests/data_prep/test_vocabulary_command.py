"""`capjax prepare vocabulary`: a dataset's captions to a vocabulary."""

import pytest

from capjax.data.record import RecordSource
from capjax.text.vocabulary import Vocabulary, VocabularyError
from data_prep.cli import main
from data_prep.vocabulary import choose


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Forty drawn scenes with captions in English and German."""
    folder = tmp_path_factory.mktemp("shapes") / "data"
    arguments = ["shapes", "--count", "40", "--size", "16", "--languages", "en,de", "--workers", "1"]
    assert main([*arguments, "--output", str(folder)]) == 0
    return folder


def command(dataset, output, *options: str) -> int:
    return main(["vocabulary", "--input", str(dataset), "--output", str(output), *options])


def test_a_dataset_to_a_vocabulary(dataset, tmp_path, capsys):
    path = tmp_path / "new" / "v.model"
    assert command(dataset, path, "--size", "450") == 0
    vocabulary = Vocabulary.load(path)
    assert vocabulary.size <= 450
    assert vocabulary.languages == ["de", "en"]
    assert f"{path}: {vocabulary.size:,} tokens from captions: 180 in en, 180 in de" in capsys.readouterr().err
    for caption in RecordSource(dataset, "val")[0].captions:
        assert vocabulary.decode(vocabulary.encode(caption.text)) == caption.text
    assert command(dataset, tmp_path / "again.model", "--size", "450") == 0
    assert (tmp_path / "again.model").read_bytes() == path.read_bytes()


def test_languages_are_chosen_or_reserved(dataset, tmp_path, capsys):
    options = ("--languages", "DE,pt_br", "--time-tokens", "3", "--lowercase")
    assert command(dataset, tmp_path / "v.model", *options) == 0
    output = capsys.readouterr().err
    assert "tokens from captions: 180 in de\n" in output
    assert "reserved, without captions: pt-BR" in output
    vocabulary = Vocabulary.load(tmp_path / "v.model")
    assert (vocabulary.languages, vocabulary.num_time_tokens, vocabulary.lowercase) == (["de", "pt-BR"], 3, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--languages", "del,fr"), "no captions in --languages del,fr; did you mean 'de'? known: de, en"),
        (("--split", "dev"), "no split 'dev'; it has test, train, val"),
        (("--size", "0"), "size 0 should be a whole number, 1 or more"),
        (("--size", "100"), "a vocabulary of 100 tokens is too small for these captions"),
        (("--temperature", "0"), "temperature 0.0 should be a number, 1 or more"),
        (("--time-tokens", "-1"), "time_tokens -1 should be a whole number, 0 or more"),
    ],
)
def test_what_cannot_be_had_is_a_message(dataset, tmp_path, capsys, options, told):
    assert command(dataset, tmp_path / "v.model", *options) == 1
    errors = capsys.readouterr().err
    assert told in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "v.model").exists()


def test_a_language_that_is_none_is_refused(dataset, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        command(dataset, tmp_path / "v.model", "--languages", "en, german>")
    assert stopped.value.code == 2
    assert "language 'german>' should be a BCP-47 code" in capsys.readouterr().err


def test_no_captions_at_all_is_an_error():
    with pytest.raises(VocabularyError, match="split 'train' of mine: no captions"):
        choose({}, ["en"], "split 'train' of mine")
