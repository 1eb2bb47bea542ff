"""The figures of a report: pure functions of a run and a theme, each raising NotDrawn with the reason."""

from blendsearch.reports.figures.agreement import draw_agreement, draw_group_agreement
from blendsearch.reports.figures.front import draw_front
from blendsearch.reports.figures.outcome import draw_differences, draw_fidelity, draw_learning, draw_time
from blendsearch.reports.figures.searching import draw_evolution, draw_factors, draw_kept
from blendsearch.reports.figures.style import Draw, NotDrawn, Rendered, render

FIGURES: dict[str, Draw] = {
    "differences": draw_differences,
    "evolution": draw_evolution,
    "factors": draw_factors,
    "kept": draw_kept,
    "agreement": draw_agreement,
    "agreement_groups": draw_group_agreement,
    "fidelity": draw_fidelity,
    "learning": draw_learning,
    "time": draw_time,
}

OF_A_FRONT: dict[str, Draw] = {"front": draw_front}
"""Drawn where the search had several objectives."""

__all__ = ["FIGURES", "OF_A_FRONT", "Draw", "NotDrawn", "Rendered", "render"]
