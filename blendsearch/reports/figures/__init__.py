"""The figures of pages: pure functions of a run and a theme, each raising NotDrawn with the reason."""

from blendsearch.reports.figures import agreement, front, outcome, searching  # those of a search register themselves
from blendsearch.reports.figures.registry import SEARCH_FIGURES, FigureSet
from blendsearch.reports.figures.style import NotDrawn, Rendered, render

__all__ = [
    "SEARCH_FIGURES",
    "FigureSet",
    "NotDrawn",
    "Rendered",
    "agreement",
    "front",
    "outcome",
    "render",
    "searching",
]
