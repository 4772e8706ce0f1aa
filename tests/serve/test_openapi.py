"""Requests that schemathesis makes from the OpenAPI schema: answers keep to it, and none is an error of the server."""

import subprocess
import sys
from pathlib import Path

import pytest


def check(server, *options: str):
    """Runs schemathesis.

    Which of the valid values an option may have depends on the models, so that valid requests may be refused.
    """
    command = [
        str(Path(sys.executable).with_name("st")), "run", f"{server.url}/openapi.json", "--workers", "1", "--no-color",
        "--exclude-checks", "positive_data_acceptance", "--continue-on-failure", "--seed", "1", *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20_000:]


def test_answers_to_requests_that_the_schema_allows_or_not_keep_to_it(server):
    check(server, "--phases", "examples,coverage,fuzzing", "--max-examples", "5")


@pytest.mark.slow
def test_many_random_requests_keep_to_the_schema(server):
    check(server, "--phases", "fuzzing,stateful", "--max-examples", "400")


def test_the_methods_of_a_path_are_listed(server):
    response = server.client.put("/v1/jobs/1")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET")
