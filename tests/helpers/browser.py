"""Chromium without a network, for the tests of pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def open_browser(*options: str) -> Iterator:
    """Yields Playwright's browser, with further options of Chromium."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    sync_api = pytest.importorskip("playwright.sync_api")
    if chromium is None:
        pytest.skip("no Chromium here; $CHROMIUM may name it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*_OPTIONS, *options])
        yield browser
        browser.close()


@contextmanager
def open_page(path: Path) -> Iterator:
    """Yields Playwright's page of an HTML file. Fails on requests that leave it, and on errors of its scripts."""
    with open_browser() as browser:
        page = browser.new_page()
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        yield page
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert not errors


def serious_findings(page) -> list[str]:
    """Serious and critical findings of axe-core about a page, in light and in dark, each with the element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    findings = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        findings += [
            f"{scheme}: {finding['id']}: {node['html'][:120]}"
            for finding in axe.Axe().run(page).response["violations"]
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]
    return findings
