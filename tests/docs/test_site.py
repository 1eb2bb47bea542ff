"""The built site in a browser, opened as files: nothing from elsewhere, nothing too wide, nothing that axe minds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed")
CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROME is None, reason="no browser: neither chromium nor google-chrome is on the path"),
    pytest.mark.slow,
]
ROOT = Path(__file__).parents[2]
AXE = ROOT / "tests" / "review" / "axe.min.js"
LOOKED_AT = ("index.html", "reference/python.html", "questions.html", "cookbook.html", "architectures.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def chrome():
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROME, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_fit_to_read(site, chrome, width, scheme):
    context = chrome.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(60_000)
    asked, errors = [], []
    context.on("request", lambda request: asked.append(request.url))
    context.on("weberror", lambda error: errors.append(str(error.error)))
    page = context.new_page()
    for name in LOOKED_AT:
        page.goto((site / name).as_uri())
        page.wait_for_load_state("load")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run(document)")["violations"]
        grave = {one["id"]: one["nodes"][0]["html"] for one in found if one["impact"] in ("serious", "critical")}
        assert not grave, name
    context.close()
    assert not errors
    assert not [url for url in asked if url.startswith("http")]


def test_the_search_works_from_files(site, chrome):
    page = chrome.new_page()
    page.goto((site / "tour" / "first-campaign.html").as_uri())
    page.locator(".md-search__input").click()
    page.keyboard.type("round_to", delay=20)
    first = page.locator(".md-search-result__link").first
    first.wait_for(timeout=30_000)
    links = page.locator(".md-search-result__link").evaluate_all("links => links.map(link => link.href)")
    assert any("reference/python.html#blendsearch.prune" in link for link in links)
    page.close()
