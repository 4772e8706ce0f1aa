"""Memory that is kept between steps."""

import os
import platform
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

SCRIPT = """
import numpy as np
from capjax import runtime

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

runtime.keep_memory(training={training})
before = resident()
block = np.ones(100 * 2**20, np.uint8)
del block
print(resident() - before)
"""


def left_after_freeing(training: bool, **environment) -> float:
    """MB still resident after 100 MB were freed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{training}", str(training))],
        env={**kept, "JAX_PLATFORMS": "cpu", **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is about glibc's malloc")


@pytest.mark.parametrize("training", [False, True])
def test_freed_memory_is_kept_for_the_next_step(training):
    assert left_after_freeing(training) > 90


def test_what_the_user_told_malloc_stands():
    assert left_after_freeing(True, MALLOC_ARENA_MAX="2") < 10


def test_with_an_accelerator_memory_is_left_alone():
    assert left_after_freeing(True, JAX_PLATFORMS="tpu") < 10


@pytest.mark.skipif(
    any(Path("/dev").glob("accel*")) or Path("/dev/vfio").exists() or bool(entry_points(group="jax_plugins")),
    reason="there may be an accelerator here",
)
def test_a_compiler_for_tpus_is_no_accelerator(tmp_path):
    (tmp_path / "libtpu.py").touch()
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert left_after_freeing(True, JAX_PLATFORMS="", PYTHONPATH=path) > 90
