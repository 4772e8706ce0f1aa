"""Names of metrics and figures, known without importing the metrics."""

import subprocess
import sys

import pytest

import capjax.metrics
from capjax.metrics import names, score
from capjax.metrics.activitynet import Annotation, TimedSentence
from capjax.metrics.dense import score_dense

EVENTS = [
    TimedSentence(0.0, 10.0, "a man runs in the park"),
    TimedSentence(10.0, 20.0, "then the dog jumps over a ball"),
]


def test_importing_names_imports_no_metric_and_no_numpy():
    program = (
        "import sys, capjax.metrics.names\n"
        "print(sorted(name for name in sys.modules if name.startswith('capjax') or name in ('numpy', 'scipy', 'jax')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['capjax', 'capjax._deprecated', 'capjax.metrics', 'capjax.metrics.names']"


@pytest.mark.parametrize("family", ["bleu", "rouge", "cider", "chrf", "sacrebleu"])
def test_a_family_computes_the_metrics_it_is_listed_with(family):
    if family in ("chrf", "sacrebleu"):
        pytest.importorskip("sacrebleu")
    scores = score({1: "a dog", 2: "a cat"}, {1: ["the dog"], 2: ["a cat"]}, metrics=[family])
    assert tuple(scores.corpus) == names.FAMILIES[family]


def test_dense_figures_are_those_that_dense_scoring_computes():
    families = ["bleu", "cider", "rouge"]
    scores = score_dense({"v": EVENTS}, [{"v": Annotation(20.0, EVENTS)}], metrics=families)
    assert set(names.dense_figures(families)) == set(scores.corpus)


def test_a_family_without_dense_scores_is_refused_by_name():
    with pytest.raises(ValueError, match="dense captions are not scored by 'chrf'; choose from bleu"):
        names.dense_figures(["cider", "chrf"])


@pytest.mark.parametrize(
    ("name", "family"),
    [("BLEU-4", "bleu"), ("bleu-1", "bleu"), ("Bleu_2", "bleu"), ("ROUGE-L", "rouge"), ("ROUGE_L", "rouge"),
     ("CIDEr", "cider"), ("CIDEr-D", "cider"), ("METEOR", "meteor"), ("chrF", "chrf"), ("sacreBLEU", "sacrebleu"),
     ("SPICE", "spice"), (" bleu ", "bleu")],
)  # fmt: skip
def test_a_metric_is_named_as_tables_print_it_or_by_its_family(name, family):
    assert names.check_families([name, family]) == (family,)


def test_every_name_in_a_table_chooses_its_family():
    for family, metrics in names.FAMILIES.items():
        assert {names.find_family(name) for name in (family, *metrics)} == {family}
    captions = {1: "a dog runs home"}, {1: ["a dog runs home"]}
    assert score(*captions, metrics=["BLEU-4"]).corpus == score(*captions, metrics=["bleu"]).corpus
    events = {"v": EVENTS}, [{"v": Annotation(20.0, EVENTS)}]
    assert score_dense(*events, metrics=["ROUGE-L"]).corpus == score_dense(*events, metrics=["rouge"]).corpus


def test_a_name_that_is_nearly_right_is_corrected():
    with pytest.raises(ValueError, match="there is no metric 'bleu4'; did you mean bleu-4. choose from bleu, rouge"):
        names.check_families(["bleu4"])
    for call in (names.check_families, lambda text: score({1: "a"}, {1: ["a"]}, metrics=text)):
        with pytest.raises(TypeError, match="metrics: expected a list of names, such as .'bleu'."):
            call("bleu")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = capjax.metrics.nothing
