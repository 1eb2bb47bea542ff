"""Every page of every job shows every figure that is registered for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fake_run import make_run
from markupsafe import Markup
from page_reading import parsed, words

from blendsearch.reports.figures import SEARCH_FIGURES, FigureSet, NotDrawn
from blendsearch.reports.figures.style import Drawing, new_figure
from blendsearch.reports.report import PAGES, write_report
from blendsearch.results.run_folder import RunFolder

OLD = Path(__file__).parents[1] / "results" / "old_runs"
"""Run folders as an earlier version left them, one or more of each job."""


@pytest.fixture
def registered():
    """Return what registers a figure of a search for the time of a test."""
    names = []

    def register(name, **words):
        names.append(name)
        return SEARCH_FIGURES.register(name, **words)

    yield register
    for name in names:
        SEARCH_FIGURES.unregister(name)


def empty(run, theme):
    return Drawing(new_figure(2, 1), f"An empty figure of {run.summary.name}.")


def test_a_registered_figure_is_on_the_page_without_a_line_in_the_template(tmp_path, registered):
    registered("mine", title="My <own> figure", caption=lambda run: f"Drawn for {run.summary.name}.")(empty)
    page = write_report(make_run(tmp_path))
    parsed(page)
    text = page.read_text()
    assert "<h2>My &lt;own&gt; figure</h2>" in text
    assert 'alt="An empty figure of digits."' in text
    assert '<a href="figures/mine.png">' in text
    assert text.index("<h2>Time</h2>") < text.index("My &lt;own&gt; figure") < text.index("<h2>How to repeat this</h2>")
    assert "Drawn for digits. PNG SVG" in words(page)
    assert (tmp_path / "figures/mine.png").exists()


def test_a_figure_that_cannot_be_drawn_says_why_and_one_that_is_not_wanted_nothing(tmp_path, registered):
    def undrawn(run, theme):
        raise NotDrawn("there is nothing to see")

    registered("undrawn", title="Nothing", caption="Words.")(undrawn)
    registered("unwanted", title="Elsewhere", caption="Words.", wanted=lambda run: False)(empty)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/unwanted.png").touch()
    text = words(write_report(make_run(tmp_path)))
    assert "Not drawn: 1 figure Nothing: there is nothing to see" in text
    assert "Words." not in text
    assert text.index("Where the numbers come from") < text.index("Not drawn")
    assert "Elsewhere" not in text
    assert not (tmp_path / "figures/unwanted.png").exists()


def test_one_figure_is_drawn_for_each_part_of_a_run():
    figures = FigureSet()

    @figures.register_each("of", lambda run: run, title="That of {}", caption=lambda run, part: f"{part} in {run}")
    def draw(run, part, theme):
        return f"{part} of {run} in {theme}"

    one, other = figures.of(["a", "b"])
    assert (one.name, one.title, one.caption) == ("of_a", "That of a", "a in ['a', 'b']")
    assert other.draw(["a", "b"], "light") == "b of ['a', 'b'] in light"


def test_a_name_is_given_once(registered):
    with pytest.raises(ValueError, match="'time' is already registered"):
        SEARCH_FIGURES.register("time", title="Time", caption="")(empty)


@pytest.mark.parametrize("name", sorted(folder.name for folder in OLD.iterdir()))
def test_every_registered_figure_is_on_its_page_once_also_of_an_earlier_versions_run(tmp_path, name):
    folder = Path(shutil.copytree(OLD / name, tmp_path / name))
    page = PAGES[RunFolder(folder).job]
    figures = page.figures.of(page.read(folder))
    assert figures
    path = write_report(folder)
    parsed(path)
    text, told = path.read_text(), words(path)
    drawn = [figure for figure in figures if (folder / f"figures/{figure.name}.png").exists()]
    for figure in drawn:
        assert text.count(f'<a href="figures/{figure.name}.svg">') == 1, figure.name
    assert text.count("<picture>") == len(drawn)
    for figure in drawn:
        assert " ".join(Markup(figure.caption).striptags().split()) in told, figure.name
    left_out = told.partition("Not drawn: ")[2]
    assert bool(left_out) == (len(drawn) < len(figures))
    for figure in figures:
        assert (f"{figure.title}: " in left_out) == (figure not in drawn), figure.name


def test_every_job_that_writes_a_report_has_a_run_of_an_earlier_version():
    assert {RunFolder(folder).job for folder in OLD.iterdir()} == PAGES.keys()
