"""Evaluation of a config's evaluation split, from training and from `--mode=eval`."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from ml_collections import ConfigDict

from capjax.config import ConfigError
from capjax.data.batch import Batch, to_device
from capjax.data.pipeline import DataError, DatasetSplit, check_eval, make_eval_batches
from capjax.data.record import RecordSource
from capjax.decode.attribute_shares import AttributeShares
from capjax.decode.generator import CaptionGenerator
from capjax.evals import dense, evaluate
from capjax.metrics.languages import canonical
from capjax.metrics.names import check_families
from capjax.metrics.registry import METRICS
from capjax.metrics.signature import Absent
from capjax.models.pure_model import Arrays
from capjax.parallel.sharding_rules import ShardingRules
from capjax.text.vocabulary import Vocabulary
from capjax.workdir.layout import Workdir

# Packages of metrics, and the extras that install them.
_METRIC_PACKAGES = {
    "meteor": ("pycocoevalcap", "meteor"), "sacrebleu": ("sacrebleu", "sacrebleu"), "chrf": ("sacrebleu", "sacrebleu"),
}  # fmt: skip


def check_metrics(metrics: Sequence[str], languages: Sequence[str]):
    """Raises ConfigError for a code of no language, and for a metric that cannot be computed here in any language."""
    for lang in languages:
        try:
            canonical(lang)
        except ValueError as error:
            raise ConfigError(f"data.languages: {error}") from error
    for name in check_families(metrics):
        package, extra = _METRIC_PACKAGES.get(name, (None, None))
        if package and importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"eval.metrics: {name!r} needs the package {package}; run `pip install 'capjax[{extra}]'`, or leave "
                "the metric out"
            )
        reasons = [reason for lang in languages if (reason := _absent(name, lang))]
        if len(reasons) == len(languages):
            raise ConfigError(f"eval.metrics: {name!r} cannot be computed: {reasons[0]}; leave the metric out")


def _absent(family: str, lang: str) -> str:
    """Returns why a metric cannot be computed in a language on this machine; empty if it can."""
    try:
        METRICS[family].check_language(lang)
        METRICS[family].check_installed()
    except Absent as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class EvalSplit:
    """The evaluation split of a config, opened and checked once.

    Raises, when it is opened:
      DataError, FileNotFoundError: the split has no records, or none in one of the languages.
      ConfigError: a metric cannot be computed here, or a language does not exist.
    """

    config: ConfigDict
    vocabulary: Vocabulary
    rules: ShardingRules
    source: RecordSource
    attribute_shares: AttributeShares | None = None

    @classmethod
    def open(
        cls, config: ConfigDict, vocabulary: Vocabulary, rules: ShardingRules,
        attribute_shares: AttributeShares | None = None,
    ) -> "EvalSplit":  # fmt: skip
        if not config.data.eval:
            raise DataError("config.data.eval is empty; set it, for instance --config.data.eval=DATASET@val")
        check_metrics(config.eval.metrics, config.data.languages)
        source = DatasetSplit.parse(config.data.eval).open()
        check_eval(config.data.eval, config.data.languages, config.data.buckets, source=source)
        return cls(config, vocabulary, rules, source, attribute_shares)

    def evaluate(
        self, generator: CaptionGenerator, params: Arrays, batch_stats: Arrays,
        on_batch: Callable[[dict[str, jax.Array]], None] = lambda inputs: None,
    ) -> evaluate.Evaluation | dense.DenseEvaluation:  # fmt: skip
        """Captions and scores every record: events where the config's task is dense captioning.

        Args:
          on_batch: called with each batch on the devices, before it is captioned.
        """
        config = self.config
        batches = make_eval_batches(
            config.data.eval, self.vocabulary, config.data, batch_size=config.eval.batch_size, limit=config.eval.limit,
            rows=self.rules.rows(config.eval.batch_size), source=self.source,
        )  # fmt: skip

        def place(batch: Batch) -> dict[str, jax.Array]:
            inputs = to_device(batch, self.rules, config.eval.batch_size)
            on_batch(inputs)
            return inputs

        options = {
            "languages": config.data.languages, "to_device": place, "metrics": config.eval.metrics, "seed": config.seed,
        }  # fmt: skip
        result: evaluate.Evaluation | dense.DenseEvaluation
        if config.data.task == "dense":
            result = dense.evaluate(generator, params, batch_stats, batches, **options)
        else:
            shares = self.attribute_shares
            result = evaluate.evaluate(generator, params, batch_stats, batches, **options, attribute_shares=shares)
        if self.source.videos:
            # A score on the videos that are left of a benchmark is another score: its signature says so.
            available, listed = self.source.videos
            for signatures in result.signatures.values():
                signatures.update({name: f"{text}|videos:{available}/{listed}" for name, text in signatures.items()})
        return result


def write_eval(result, config: ConfigDict, workdir: Workdir, step: int, folder: Path | None = None):
    """Writes predictions, scores and samples of an evaluation of step `step` into `folder`, by default the workdir."""
    result.write(
        folder or workdir.path, step=step, split=config.data.eval, samples=config.eval.samples,
        output_format=config.eval.output_format, external_data=workdir.external_data(config),
    )  # fmt: skip
