"""An evaluation is checked before training starts."""

import importlib.util

import pytest

from capjax.config import ConfigError
from capjax.evals.run_eval import check_metrics
from capjax.metrics import spice
from capjax.metrics.signature import Absent


def test_a_metric_that_is_not_installed_is_an_error_before_training(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_metrics(("bleu", "rouge", "cider"), ("en",))
    with pytest.raises(ConfigError, match=r"'meteor' needs the package pycocoevalcap; run `pip install 'capjax\[met"):
        check_metrics(("bleu", "METEOR"), ("en",))


def test_a_metric_that_cannot_be_computed_is_an_error_before_training(monkeypatch):
    def missing():
        raise Absent("no models")

    monkeypatch.setattr(spice, "_package", missing)
    with pytest.raises(ConfigError, match="eval.metrics: 'spice' cannot be computed: no models; leave the metric out"):
        check_metrics(("CIDEr", "SPICE"), ("en",))
    with pytest.raises(ConfigError, match="'spice' cannot be computed: SPICE is defined for English only"):
        check_metrics(("spice",), ("de", "fr"))


def test_a_language_that_does_not_exist_is_an_error_before_training():
    with pytest.raises(ConfigError, match="data.languages: 'german' is the name of a language, not its code; write de"):
        check_metrics(("bleu",), ("en", "german"))
