"""What all figures have in common."""

from __future__ import annotations

import pytest

from blendsearch.reports.figures.style import Drawing, bare, draw_light, new_figure, placed_axes, render

NAMES = ["under $5", "$5 or more, under $10", r"$\frac{", "50 % \\ 2^3_x"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_with_signs_of_formulas_is_written_as_it_is(name):
    def draw(facts, theme):
        figure = new_figure(3, 1)
        axes = placed_axes(figure, 0.1, 0.1, 0.1, 0.1)
        bare(axes)
        axes.text(0.5, 0.5, facts, color=theme.ink)
        return Drawing(figure, "alt")

    assert not draw_light(draw, name).axes[0].texts[0].get_parse_math()
    rendered = render(draw, name)
    assert rendered.png.startswith(b"\x89PNG")
    assert rendered.svg != render(draw, name.replace("$", "")).svg or "$" not in name
