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


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = capjax.metrics.nothing
