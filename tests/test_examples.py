"""The notebooks run from top to bottom."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers.tiny_job import ROOT


@pytest.mark.parametrize(
    "name", ["scores.ipynb", pytest.param("first_captioner.ipynb", marks=pytest.mark.slow)], ids=lambda name: name
)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("CAPJAX_EXAMPLE_COUNT", "60")
    monkeypatch.setenv("CAPJAX_EXAMPLE_STEPS", "4")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(ROOT / "examples" / name, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
