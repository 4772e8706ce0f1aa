"""SPICE (Anderson et al. 2016) by pycocoevalcap's Java program.

It parses scenes with Stanford CoreNLP. pycocoevalcap would download the models at first use; here they must be
installed already, and where the program cannot run, the metric is reported as absent.
"""

import contextlib
import importlib.util
import io
import shutil
from pathlib import Path

import numpy as np

from capjax.metrics.metric import Captions, MeanMetric
from capjax.metrics.signature import Absent

_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


class Spice(MeanMetric):
    """F-scores of scene graphs."""

    family = "spice"
    names = ("SPICE",)
    english_only = "SPICE is defined for English only"
    reads_text = True

    def signature_fields(self, captions: Captions) -> dict[str, object]:
        return {"tok": "corenlp"}

    def check_installed(self):
        package = _package()
        if shutil.which("java") is None:
            raise Absent("there is no java on the PATH (SPICE needs version 8)")
        if not all((package / "lib" / name).is_file() for name in _MODELS):
            raise Absent(
                f"Stanford's models are not in {package / 'lib'}; run pycocoevalcap's get_stanford_models() once to "
                "download them"
            )

    def item_scores(self, captions: Captions) -> np.ndarray:
        self.check_installed()
        from pycocoevalcap.spice.spice import Spice as JavaSpice

        texts, references = captions.texts
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                _, items = JavaSpice().compute_score(dict(enumerate(references)), {i: [t] for i, t in enumerate(texts)})
        except Exception as error:  # whatever fails in the Java program: there is no score
            raise Absent(f"pycocoevalcap's SPICE failed: {error}") from error
        return np.array([item["All"]["f"] for item in items], np.float64)


def _package() -> Path:
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise Absent("pycocoevalcap is not installed: pip install 'capjax[meteor]' brings it")
    return Path(next(iter(spec.submodule_search_locations))) / "spice"
