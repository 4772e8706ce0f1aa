"""METEOR's data is gathered once, whole, and says what is wrong with it."""

import gzip
import zipfile

import numpy as np
import pytest

from capjax.metrics.meteor import resources

JAR = {
    "function/english.words": "the\na\n",
    "nonbreaking/english.prefixes": "#comment\nMr\nNo #NUMERIC_ONLY#\n\n",
    "synonym/english.exceptions": "child\nchildren childer\n",
    "synonym/english.synsets": "couch\n11 12\nsofa\n11\nchild\n20 21\ndog\n30\nspoon\n40\nspoonful\n41\n",
}
TABLE = [("in front of", "before"), ("the couch", "the sofa"), ("in front", "ahead"), ("in front of", "ahead of")]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small pycocoevalcap, and a cache folder of its own."""
    folder = tmp_path / "pycocoevalcap" / "meteor"
    (folder / "data").mkdir(parents=True)
    with zipfile.ZipFile(folder / "meteor-1.5.jar", "w") as jar:
        for name, content in JAR.items():
            jar.writestr(name, content)
    write_table(folder, TABLE)
    monkeypatch.setattr(resources, "_package", lambda: folder)
    monkeypatch.setenv("CAPJAX_CACHE", str(tmp_path / "cache"))
    resources.load.cache_clear()
    yield folder
    resources.load.cache_clear()


def write_table(folder, pairs):
    with gzip.open(folder / "data" / "paraphrase-en.gz", "wt", encoding="utf-8") as file:
        file.writelines(f"0.5\n{phrase}\n{paraphrase}\n" for phrase, paraphrase in pairs)


def nodes(table, phrase: str) -> int:
    node = np.zeros(1, np.int64)
    for word in phrase.split():
        node = table.children(node, np.array([table.words.get(word, -1)]))
    return int(node[0])


def test_every_paraphrase_is_found_in_the_order_of_the_table(package):
    table = resources.load().paraphrases
    for head in {head for head, _ in TABLE}:
        _, tails = table.of(np.array([nodes(table, head)]))
        assert tails.tolist() == [nodes(table, tail) for other, tail in TABLE if other == head]


def test_what_is_no_phrase_of_the_table_leads_nowhere(package):
    table = resources.load().paraphrases
    assert nodes(table, "front of") == nodes(table, "in unheard") == nodes(table, "couch") == -1
    places, tails = table.of(np.array([-1, nodes(table, "in")]))
    assert len(places) == len(tails) == 0


def test_meanings_are_of_the_word_and_of_its_base_form(package):
    data = resources.load()
    assert data.meanings("couches") == data.meanings("couch") == {11, 12}
    assert data.meanings("children") == {20, 21}
    assert data.meanings("unheard") == frozenset()
    assert data.function_words == {"the", "a"}
    assert data.prefixes == {"Mr": 1, "No": 2}


def test_the_data_is_converted_once(package, capsys, monkeypatch):
    first = resources.load()
    assert "once" in capsys.readouterr().err
    resources.load.cache_clear()
    monkeypatch.setattr(resources, "_read_paraphrases", None)
    again = resources.load()
    assert capsys.readouterr().err == ""
    assert again.synsets == first.synsets
    assert np.array_equal(again.paraphrases.edges, first.paraphrases.edges)


def test_other_files_are_converted_again(package):
    resources.load()
    write_table(package, [("a sofa", "a couch")])
    resources.load.cache_clear()
    assert "sofa" in resources.load().paraphrases.words
    assert "ahead" not in resources.load().paraphrases.words


def test_an_interruption_leaves_nothing_that_could_be_taken_for_whole(package, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(resources.np, "save", stop)
        resources.load()
    assert list((package.parents[1] / "cache").iterdir()) == []
    assert len(resources.load().paraphrases.tails) == len(TABLE)


def test_a_damaged_cache_is_named_and_a_folder_that_cannot_be_written_too(package, monkeypatch, tmp_path):
    resources.load()
    resources.load.cache_clear()
    tails = next((tmp_path / "cache").glob("*/tails.npy"))
    tails.write_bytes(tails.read_bytes()[:-5])
    with pytest.raises(ValueError, match="is damaged.*delete it to have it made again"):
        resources.load()
    (tmp_path / "file").touch()
    monkeypatch.setenv("CAPJAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"cannot be cached: .*set \$CAPJAX_CACHE to a folder"):
        resources.load()


def test_a_broken_package_is_named(package):
    (package / "meteor-1.5.jar").write_bytes(b"not a jar")
    with pytest.raises(ValueError, match="meteor-1.5.jar is not METEOR 1.5.*reinstall pycocoevalcap"):
        resources.load()


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    resources.load.cache_clear()
    monkeypatch.setattr(resources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'capjax\[meteor\]'"):
        resources.load()
