"""The Java program of METEOR 1.5, which pycocoevalcap carries: what ours is held against."""

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
    """What one of the jar's programs answers to lines."""
    text = "\n".join(lines) + "\n"
    done = subprocess.run(_command(*arguments), input=text, capture_output=True, encoding="utf-8", check=True)
    return done.stdout.removesuffix("\n").split("\n")


@contextmanager
def conversation(*arguments: str) -> Iterator[Callable[..., list[str]]]:
    """Says a line to one of the jar's programs and gives its `answers` lines, as often as is wanted."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(_command(*arguments), encoding="utf-8", **pipes) as process:

        def say(line: str, *, answers: int = 1) -> list[str]:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return [process.stdout.readline().rstrip("\n") for _ in range(answers)]

        yield say
        process.stdin.close()
