"""SPICE (Anderson et al. 2016) through pycocoevalcap, where Java and Stanford's models are.

It parses scenes with Stanford CoreNLP in Java, so it is not ours to compute; where it cannot run it is named as absent.
pycocoevalcap would fetch the models from the network: here they must lie where it puts them.
"""

import contextlib
import importlib.util
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


class Absent(Exception):
    """A metric cannot be computed here; the message says why."""


def _package() -> Path:
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise Absent("pycocoevalcap is not installed: pip install 'capjax[meteor]' brings it")
    return Path(next(iter(spec.submodule_search_locations))) / "spice"


def compute(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """F-scores of scene graphs, float64 [items].

    Raises:
      Absent: there is no Java, or no models, or SPICE failed.
    """
    package = _package()
    if shutil.which("java") is None:
        raise Absent("there is no java on the PATH (SPICE wants version 8)")
    if not all((package / "lib" / name).is_file() for name in _MODELS):
        raise Absent(
            f"Stanford's models are not in {package / 'lib'}; run pycocoevalcap's get_stanford_models() once, which "
            "fetches them"
        )
    from pycocoevalcap.spice.spice import Spice

    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            _, items = Spice().compute_score(
                {i: list(group) for i, group in enumerate(references)}, {i: [p] for i, p in enumerate(predictions)}
            )
    except Exception as error:  # of a program of others: whatever it is, there is no figure
        raise Absent(f"pycocoevalcap's SPICE failed: {error}") from error
    return np.array([item["All"]["f"] for item in items], np.float64)
