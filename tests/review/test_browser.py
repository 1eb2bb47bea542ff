"""The page in a real browser, against the real server; skipped where there is no browser."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from blendsearch.results.run_folder import RunFolder
from blendsearch.review.marks import Marks
from blendsearch.review.review import Review

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROME is None, reason="no browser: neither chromium nor google-chrome is on the path"),
    pytest.mark.slow,
]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
AXE = Path(__file__).parent / "axe.min.js"  # Deque Systems, MPL 2.0, as in its header
SPACE = """
name: tiny
data: {name: digits, test: 100, calibration: 60, search: 60, limit: 200}
model: {name: conv4, arguments: {width: 4}}
training: {epochs: 1, batch_size: 64, lr: 0.1}
criteria: [l1, taylor]
budget: {filters: 0.5}
schedule: progressive
retraining: {epochs: 1, batch_size: 64, lr: 0.02}
compute: {device: cpu, workers: 1}
"""


@pytest.fixture(scope="module")
def chrome():
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROME, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def window(chrome, **options):
    """Open a window; an error in its script, or a file that another address was asked for, fails the test."""
    context = chrome.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(60_000)
    errors, asked = [], []
    context.on("weberror", lambda error: errors.append(str(error.error)))
    context.on("request", lambda request: asked.append(request.url))
    yield context
    context.close()
    assert not errors
    assert all(url.startswith("http://127.0.0.1:") for url in asked)


@contextlib.contextmanager
def serving(folder, *options, port=0):
    """Run the command in a process of its own; yield the process and the address it prints."""
    (folder / "tiny.yaml").write_text(SPACE)
    code = "from blendsearch.cli import main; main()"
    words = [sys.executable, "-c", code, "review", "tiny.yaml", "--run-dir", "run", "--port", str(port), "-q", *options]
    with subprocess.Popen(words, cwd=folder, env=os.environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("open http://127.0.0.1:"), line
            yield process, line.split()[1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("served"), "--rater", "ann") as (_, address):
        yield address


def card(page, number):
    return page.locator(f"#f{number}")


def mark_of(page, number):
    return card(page, number).get_attribute("data-mark")


def expect_mark(page, number, word):
    playwright.expect(card(page, number)).to_have_attribute("data-mark", word)


def press(page, key):
    """Press a key and wait until the server has taken it."""
    with page.expect_response(re.compile("/(mark|undo)$")) as answer:
        page.keyboard.press(key)
    assert answer.value.ok


def test_rating_by_click_and_by_keyboard_and_again_after_a_reload(chrome, served):
    with window(chrome) as context:
        page = context.new_page()
        page.goto(served)
        assert "token" not in page.url
        with page.expect_response("**/mark"):
            card(page, 1).get_by_role("button", name="Drop").click()
        expect_mark(page, 1, "drop")
        playwright.expect(page.locator("#cost")).to_contain_text("23 of 24 filters")
        page.keyboard.press("j")  # from the clicked one to the next
        press(page, "1")
        expect_mark(page, 2, "keep")
        page.keyboard.press("j")
        page.keyboard.press("k")
        press(page, "3")
        expect_mark(page, 2, "unsure")
        press(page, "u")
        expect_mark(page, 2, "keep")
        page.reload()
        expect_mark(page, 1, "drop")
        expect_mark(page, 2, "keep")
        playwright.expect(page.locator('[data-layer="0"]')).to_have_text("2/4")
        press(page, "u")
        press(page, "u")
        press(page, "u")
        expect_mark(page, 1, "")


def test_sorting_filtering_and_looking(chrome, served):
    with window(chrome) as context:
        page = context.new_page()
        page.goto(served)
        page.goto(served.split("/?")[0] + "/layer/2")
        facts = page.evaluate("facts.ranks.taylor")
        page.select_option("#sort", "high taylor")
        shown = page.eval_on_selector_all(".filter", "cards => cards.map(card => Number(card.dataset.position))")
        assert [facts[position] for position in shown] == sorted(facts, reverse=True)
        page.select_option("#view", "overlay")
        assert "/overlay/" in page.locator(".maps").first.get_attribute("src")
        page.locator("summary").first.click()
        playwright.expect(page.locator("details dl dt")).to_have_count(2)
        page.get_by_role("link", name="Other images").click()
        assert page.url.endswith("/layer/2?images=1")
        playwright.expect(page.locator("#sort")).to_have_value("high taylor")  # kept in this tab
        page.wait_for_function("[...document.images].filter(i => i.complete && i.naturalWidth).length > 4")
        page.get_by_role("button", name="Estimate accuracy").click()
        playwright.expect(page.locator("#estimated")).to_contain_text("% by compensated, as marked")


def test_two_tabs_do_not_overwrite_each_other(chrome, served):
    with window(chrome) as context:
        one, other = context.new_page(), context.new_page()
        for page in (one, other):
            page.goto(served)
            page.goto(served.split("/?")[0] + "/layer/1")
        for page, number in ((one, 0), (other, 1), (one, 2)):
            with page.expect_response("**/mark"):
                card(page, number).get_by_role("button", name="Keep").click()
        expect_mark(one, 1, "keep")  # told with the answer to its own mark
        other.evaluate("window.dispatchEvent(new Event('focus'))")
        for number in range(3):
            expect_mark(other, number, "keep")
        for _ in range(3):
            press(one, "u")


def test_a_killed_server_loses_nothing_and_the_page_says_so(chrome, tmp_path):
    with window(chrome) as context:
        page = context.new_page()
        with serving(tmp_path) as (process, address):
            page.goto(address)
            with page.expect_response("**/mark"):
                card(page, 0).get_by_role("button", name="Unsure").click()
            process.send_signal(signal.SIGKILL)
            process.wait()
            card(page, 1).get_by_role("button", name="Drop").click()
            playwright.expect(page.locator("#trouble")).to_contain_text("nothing was saved")
            expect_mark(page, 1, "")  # what is not saved is not shown as if it were
        port = int(re.search(r":(\d+)/", address).group(1))
        with serving(tmp_path, "--resume", port=port) as (process, address):
            card(page, 1).get_by_role("button", name="Drop").click()
            playwright.expect(page.locator("#trouble")).to_contain_text("open the address it printed")
            page.goto(address)
            expect_mark(page, 0, "unsure")
            expect_mark(page, 1, "")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130


def test_the_loop_leads_from_layer_to_layer(chrome, tmp_path):
    with window(chrome) as context, serving(tmp_path, "--progressive") as (_, address):
        page = context.new_page()
        page.goto(address)
        for number in range(4):
            page.wait_for_url(f"**/layer/{number}")
            playwright.expect(page.locator("#loop")).to_contain_text("those marked drop last")
            page.get_by_role("button", name="Prune and retrain").click()
        playwright.expect(page.locator("#loop")).to_contain_text("of the test images right", timeout=60_000)
        assert (tmp_path / "run/network.safetensors").exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_phone_width_and_accessibility(chrome, served, width, scheme):
    with window(chrome, viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True) as context:
        page = context.new_page()
        page.goto(served)
        card(page, 0).get_by_role("button", name="Keep").click()
        expect_mark(page, 0, "keep")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.add_script_tag(path=str(AXE))
        found = page.evaluate("axe.run()")["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert not serious
        press(page, "u")


def test_axe_finds_what_is_wrong(chrome):
    """The check itself is checked."""
    with window(chrome) as context:
        page = context.new_page()
        page.set_content("<html><body><img src='x'></body></html>")
        page.add_script_tag(path=str(AXE))
        assert page.evaluate("axe.run()")["violations"]


def test_a_review_in_memory_is_served_as_the_command_does(inspector, structure, tmp_path):
    """`serve` gives the address once and answers on it."""
    import urllib.request

    from blendsearch.review.serving import serve

    marks = Marks(RunFolder(tmp_path), structure, "ann")
    review = Review(title="tiny", data="digits", whole=structure, static_inspector=inspector, marks=marks)
    addresses, ready = [], threading.Event()

    def note(address):
        addresses.append(address)
        ready.set()

    threading.Thread(target=serve, args=(review, 0, note), daemon=True).start()
    assert ready.wait(30)
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert b"blendsearch" in opener.open(addresses[0], timeout=30).read()
