"""Every page in a real browser, wide and narrow, light and dark; skipped where there is no browser."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_board import make_board
from fake_run import leave_unretrained, make_run, multiply
from PIL import Image

from blendsearch.reports.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROME is None, reason="no browser: neither chromium nor google-chrome is on the path"),
    pytest.mark.slow,
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
AXE = Path(__file__).parents[1] / "review" / "axe.min.js"  # Deque Systems, MPL 2.0, as in its header
OLD = Path(__file__).parents[1] / "results" / "old_runs"
PAGES = ["many", "few", "unretrained", "long board", *sorted(folder.name for folder in OLD.iterdir())]
WIDTHS = {"wide": 1280, "narrow": 390}


@pytest.fixture(scope="module")
def chrome():
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROME, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return what gives the page of a run, made when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def make(name):
        if name == "many":
            return multiply(make_run(folder / name), 3)
        if name == "few":
            return make_run(folder / name, groups=19)
        if name == "unretrained":
            return leave_unretrained(make_run(folder / name, seeds=1))
        if name == "long board":
            return make_board(folder / name, 40)
        return Path(shutil.copytree(OLD / name, folder / name))

    def page(name):
        if name not in made:
            made[name] = write_report(make(name))
        return made[name]

    return page


@pytest.fixture
def opened(chrome, pages):
    """Return what opens a page of a width in a colour scheme; any error of a script or request elsewhere fails."""
    contexts, errors, asked = [], [], []

    def open_page(name, width, scheme="light"):
        context = chrome.new_context(viewport={"width": WIDTHS[width], "height": 900}, color_scheme=scheme)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        context.on("request", lambda request: asked.append(request.url))
        contexts.append(context)
        page = context.new_page()
        page.goto(pages(name).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors
    assert all(url.startswith(("file:", "data:")) for url in asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious_and_nothing_overflows(opened, name, width, scheme):
    page = opened(name, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width]
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert not [
        (one["id"], [node["html"][:150] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width]


def test_a_folded_table_unfolds_in_place_without_a_script(chrome, pages):
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages("many").as_uri())
    lines = page.locator("main table").first.locator("tbody tr")
    assert lines.count() == 43
    hidden = page.locator("main table").first.locator("tbody tr.rest").first
    playwright.expect(hidden).to_be_hidden()
    playwright.expect(lines.first).to_be_visible()
    page.get_by_text("Show all 43 places").click()
    playwright.expect(hidden).to_be_visible()
    context.close()


def test_sorting_or_filtering_a_folded_board_unfolds_it(opened):
    for act in (
        lambda page: page.get_by_role("button", name="scoring").click(),
        lambda page: page.get_by_label("Filter the ranking by criterion").fill("criterion_2"),
    ):
        page = opened("long board", "wide")
        far = page.locator("main table").first.locator('tr[data-name="criterion_20"]')
        playwright.expect(far).to_be_hidden()
        act(page)
        playwright.expect(far).to_be_visible()
    playwright.expect(page.locator("output").first).to_have_text("11 lines")


def test_the_first_figure_comes_soon_and_the_page_has_no_blank_half(opened):
    page = opened("many", "wide")
    table, figure = (page.locator(f"main {kind}").first.bounding_box()["y"] for kind in ("table", "figure"))
    assert figure - table < 900
    heights = page.evaluate(
        "[...document.querySelectorAll('.columns')].map((box) => [...box.children].map((one) => {"
        "  const at = one.getBoundingClientRect(), all = box.getBoundingClientRect();"
        "  return [at.left > all.left + 50, at.bottom - all.top]; }))"
    )
    assert heights
    for ends in heights:
        left, right = (max((end for on_right, end in ends if on_right == side), default=0) for side in (False, True))
        assert min(left, right) > 0.5 * max(left, right)


def test_a_wide_table_shades_the_edge_behind_which_there_is_more(opened):
    page = opened("many", "narrow")
    box = page.locator("main .table").first
    assert box.evaluate("(one) => one.scrollWidth > one.clientWidth")

    def edges():
        at = box.bounding_box()
        return brightness(page.screenshot(clip={**at, "height": 8}))

    box.scroll_into_view_if_needed()
    left, before = edges()
    assert before < left
    box.evaluate("(one) => { one.scrollLeft = one.scrollWidth; }")
    _, after = edges()
    assert after > before


def brightness(png):
    """Return the mean grey of a few pixels at the left edge and at the right one."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float)
    return pixels[4, 3:6].mean(), pixels[4, -6:-3].mean()
