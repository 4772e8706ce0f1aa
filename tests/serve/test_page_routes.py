"""The files of the page, and the headers that they are sent with."""

import re

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from capjax.serve import page_routes
from capjax.serve.page_routes import make_router


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    app.include_router(make_router())
    return TestClient(app)


def paths() -> list[str]:
    return ["/", *(f"/page/{path.name}" for path in page_routes._PAGE.glob("*.js")), "/page/page.css"]


@pytest.mark.parametrize("path", paths())
def test_a_file_may_run_no_inline_script_and_ask_no_other_host(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"""["'(=]\s*(https?:)?//\w""", answer.text)
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_all_files_that_the_page_names_are_served(client):
    page = client.get("/").text
    names = re.findall(r'(?:src|href)="(page/[^"]+)"', page)
    assert {"page/page.css", "page/page.js"} == set(names)
    for path in paths()[1:]:
        for name in re.findall(r'from "\./([\w.]+)"', client.get(path).text):
            assert client.get(f"/page/{name}").headers["content-type"].startswith("text/javascript")
    assert 'src="/' not in page and 'href="/' not in page
