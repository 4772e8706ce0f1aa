"""An evaluation is checked before training starts."""

import importlib.util

import pytest

from capjax.config import ConfigError
from capjax.evals.run_eval import check_metrics_installed


def test_a_metric_that_is_not_installed_is_an_error_before_training(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_metrics_installed(("bleu", "rouge", "cider"))
    with pytest.raises(ConfigError, match=r"'meteor' needs the package pycocoevalcap; run `pip install 'capjax\[met"):
        check_metrics_installed(("bleu", "meteor"))
