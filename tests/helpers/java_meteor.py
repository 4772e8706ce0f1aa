"""The Java program of METEOR 1.5, from pycocoevalcap: the oracle of capjax.metrics.meteor."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("pycocoevalcap")
JAR = Path(next(iter(find_spec("pycocoevalcap").submodule_search_locations))) / "meteor" / "meteor-1.5.jar"
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="the oracle is a Java program")


def _command(*arguments: str) -> list[str]:
    return ["java", "-Xmx2G", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", str(JAR), *arguments]


def java(*arguments: str, lines: list[str]) -> list[str]:
    """Runs one of the jar's programs on lines of input and returns the lines of its output."""
    text = "\n".join(lines) + "\n"
    process = subprocess.run(_command(*arguments), input=text, capture_output=True, encoding="utf-8", check=True)
    return process.stdout.removesuffix("\n").split("\n")


@contextmanager
def conversation(*arguments: str) -> Iterator[Callable[..., list[str]]]:
    """Starts one of the jar's programs; yields a function that sends it a line and returns `answers` lines."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(_command(*arguments), encoding="utf-8", **pipes) as process:

        def say(line: str, *, answers: int = 1) -> list[str]:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return [process.stdout.readline().rstrip("\n") for _ in range(answers)]

        yield say
        process.stdin.close()
