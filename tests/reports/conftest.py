"""What tests of pages share."""

from __future__ import annotations

import dataclasses

import pytest
from short_cuts import draw_only

from blendsearch.reports import page
from blendsearch.reports.figures import SEARCH_FIGURES, NotDrawn


@pytest.fixture
def only_the_front_is_drawn(monkeypatch):
    """Leave out the other figures of a search: they have tests of their own, and would take most of the time."""

    def leave_out(run, theme):
        raise NotDrawn("left out")

    wanted = SEARCH_FIGURES.of

    def only_front(run):
        return [one if one.name == "front" else dataclasses.replace(one, draw=leave_out) for one in wanted(run)]

    monkeypatch.setattr(SEARCH_FIGURES, "of", only_front)


@pytest.fixture
def figures_are_not_saved(monkeypatch):
    """Draw every figure, but save none: that takes most of the time."""
    monkeypatch.setattr(page, "render", draw_only)
