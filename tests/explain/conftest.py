"""Tiny trained models of photos and videos."""

import pytest

import capjax
from capjax.explain.model import CaptionModel
from tests.helpers.captioned import FIXTURES
from tests.helpers.tiny_job import in_this_process


@pytest.fixture(scope="module")
def caption_model(tmp_path_factory):
    """Returns the model of a workdir of the fixtures by its name; each is loaded once."""
    models: dict[str, CaptionModel] = {}

    def load(name: str) -> CaptionModel:
        if name not in models:
            models[name] = CaptionModel(capjax.load(FIXTURES / "workdirs" / name))
        return models[name]

    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch, tmp_path_factory.getbasetemp())
        yield load
