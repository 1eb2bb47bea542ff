"""Where figures stand: narrow ones together, wide ones alone, those that are not drawn nowhere."""

from __future__ import annotations

from blendsearch.reports.figures.style import Rendered
from blendsearch.reports.page import NARROW, TEMPLATES, Figures, ShownFigure
from blendsearch.reports.report import PAGES


def shown(name, width):
    picture = Rendered(b"", b"", b"", width, 300, "alt") if width else None
    return ShownFigure(name=name, title=name.title(), caption="", picture=picture, reason="" if width else "no records")


def test_narrow_figures_that_follow_each_other_share_a_row():
    figures = Figures([shown("a", NARROW), shown("b", 0), shown("c", 300), shown("wide", NARROW + 1), shown("d", 300)])
    rows = [[one.name for one in row] for row in figures.rows(["a", "b", "c", "wide", "d"])]
    assert rows == [["a", "c"], ["wide"], ["d"]]
    assert figures.left == []
    assert [(one.name, one.reason) for one in figures.undrawn] == [("b", "no records")]


def test_two_wide_figures_do_not_share_a_row():
    figures = Figures([shown("a", 900), shown("b", 900)])
    assert [len(row) for row in figures.rows(["a", "b"])] == [1, 1]


def test_every_scrolling_part_of_every_template_can_be_reached_by_keyboard():
    assert {page.template for page in PAGES.values()} < {file.name for file in TEMPLATES.iterdir()}
    for file in TEMPLATES.glob("*.j2"):
        text = file.read_text()
        for opened in text.split("<")[1:]:
            tag = opened.partition(">")[0]
            if 'class="' in tag and "scroll" in tag.partition('class="')[2].partition('"')[0].split():
                assert "tabindex" in tag, (file.name, tag)
                assert "aria-label" in tag, (file.name, tag)
        assert "<table" not in text or file.name == "parts.html.j2", file.name
