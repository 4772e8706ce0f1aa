"""The options of Apache Beam, which follow `--beam` on a command line."""

import argparse
import difflib
import re
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from capjax.runtime import available_cores

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

LOCAL = "DirectRunner"
# Runners whose job servers have further options of their own.
_WITH_JOB_SERVER = ("flink", "spark", "portable")
# Options of runners that name a server; without a host and a port they mean this process.
_ENDPOINTS = ("job_endpoint", "artifact_endpoint", "flink_master", "spark_rest_url")
_CONNECT_TIMEOUT = 10.0  # seconds


def check_words(parser: argparse.ArgumentParser, words: Sequence[str]):
    """Rejects words that are not options of Beam, which Beam itself would ignore."""
    previous = "="
    for word in words:
        if not word.startswith("--") and ("=" in previous or not previous.startswith("--")):
            parser.error(f"{word!r} after --beam is not an option of Beam; write --NAME=VALUE")
        # Only our full names are rejected: an abbreviation may be an option of Beam.
        if word.partition("=")[0] in parser._option_string_actions:
            parser.error(f"{word} is not an option of Beam; write it before --beam")
        previous = word


def make_options(flags: Sequence[str]) -> "PipelineOptions":
    """Beam's options; without a runner, processes of this machine are used.

    Raises:
      ValueError: Beam does not have an option, or no server answers at the address of a runner.
    """
    try:
        from apache_beam.options import pipeline_options as beam
    except ImportError as error:
        raise ValueError("--beam needs Apache Beam: pip install 'capjax[beam]'") from error
    options = beam.PipelineOptions(flags, pipeline_type_check=False)
    runner = (options.view_as(beam.StandardOptions).runner or LOCAL).lower().removesuffix("runner")
    all_options = options.get_all_options()
    given = options.get_all_options(retain_unknown_options=True)
    unknown = set(given) - set(all_options)
    if unknown and runner not in _WITH_JOB_SERVER:
        name = min(unknown)
        close = difflib.get_close_matches(name, all_options, n=1)
        raise ValueError(f"--beam: Beam has no option --{name}" + (f"; did you mean --{close[0]}?" if close else ""))
    if runner == "direct":
        options.view_as(beam.StandardOptions).runner = LOCAL
        # Without this, DirectRunner downloads a program to check triggers; our pipeline has none.
        options.view_as(beam.TypeOptions).allow_unsafe_triggers = True
        direct, named = options.view_as(beam.DirectOptions), {flag.split("=")[0] for flag in flags}
        if "--direct_running_mode" not in named:
            direct.direct_running_mode = "multi_processing"
        if "--direct_num_workers" not in named:
            direct.direct_num_workers = available_cores()
        if "--default_sdk_harness_log_level" not in named:
            options.view_as(beam.WorkerOptions).default_sdk_harness_log_level = "ERROR"
    for name in _ENDPOINTS:
        _check_endpoint(name, given.get(name) or "")
    return options


def _check_endpoint(name: str, address: str):
    """Connects once: Beam waits for minutes, and some runners forever, for a server that does not exist."""
    match = re.fullmatch(r"(?:https?://)?([^\s:/\[\]]+):(\d+)/?", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=_CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"--beam: nothing answers at --{name}={address} ({error}); is it running, and can this machine reach it?"
        ) from error
