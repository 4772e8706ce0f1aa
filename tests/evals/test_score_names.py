"""The check of metrics and of the score that selects the best checkpoint."""

import pytest

from capjax.config import ConfigError, default_config, with_overrides
from capjax.evals.score_names import check_scores


@pytest.mark.parametrize(
    "best",
    ["F1@0.5", "SODA_c (ROUGE-L)", "SODA_d precision", "paragraph CIDEr", "Kendall tau", "boundary error p90 (s)"],
)
def test_any_score_of_a_dense_model_may_select_the_best_checkpoint(best):
    check_scores(with_overrides(default_config(), ["data.task=dense", f"checkpoint.best={best}"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.task=dense", "checkpoint.best=SODA_c"], r"checkpoint.best = 'SODA_c': .*SODA_c \(ROUGE-L\)"),
        (["checkpoint.best=cider"], "checkpoint.best = 'cider': did you mean 'CIDEr'.* eval.metrics is bleu"),
        (["checkpoint.best=F1"], "checkpoint.best = 'F1'"),
        (["eval.metrics=blue"], "eval.metrics: .*bleu"),
    ],
)
def test_a_score_that_is_not_computed_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        check_scores(with_overrides(default_config(), settings))
