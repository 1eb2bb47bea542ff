"""Write the figures and the page of a scarce-data run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsearch.progress import Progress, silent
from blendsearch.reports.building import draw_all, fill, write_page
from blendsearch.reports.figures.curves import UNITS, draw_areas, draw_curves
from blendsearch.reports.pages.parts import KeyNumber
from blendsearch.reports.repeat_command import place_of
from blendsearch.results.records.curves import Compared, Curve, CurvesRun, FamilyRecord, read_curves
from blendsearch.results.words import DASH, count, duration, percent, points

CURVE_FIGURES = {"curves": draw_curves, "areas": draw_areas}
SOURCES = {
    "summary.json": "every curve, area and comparison of this page, seconds, versions",
    "space.yaml": "every setting of the run, resolved",
    "records/cells": "one file a draw: test accuracies of each criterion, one a share removed",
    "baseline.safetensors": "weights of the network that was pruned",
    "events.jsonl": "what happened when",
}
VERDICTS = {"ahead": "relevance ahead", "behind": "relevance behind", "open": "no clear difference"}


@dataclass(frozen=True)
class AreaRow:
    """A criterion's line of the table: its area at each number of images, as text with the draws' range."""

    criterion: str
    evidence: str
    kind: str
    areas: list[tuple[str, str]]


@dataclass(frozen=True)
class ComparedRow:
    """Relevance against the rest at one number of images, in words."""

    samples: int
    best: str
    rival: str
    difference: str
    range: str
    ahead: str
    verdict: str


def build_curves_report(run_dir: Path, progress: Progress = silent) -> Path:
    """Write figures/*.png, figures/*.svg and report.html into the folder of a scarce-data run; return the page's path.

    Raises RunError when the folder or its summary is missing, a record is broken, or nothing can be written.
    """
    run = read_curves(Path(run_dir))
    figures = draw_all(CURVE_FIGURES, run, progress)
    page = write_page(run.folder, CURVE_FIGURES, figures, fill("curves.html.j2", figures, **tell_curves(run)))
    progress("report", len(CURVE_FIGURES) + 1, len(CURVE_FIGURES) + 1, page.name)
    return page


def tell_curves(run: CurvesRun) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary = run.summary
    model = run.space.get("model")
    return {
        "summary": summary,
        "model": model.get("name", "the network") if isinstance(model, dict) else "the network",
        "unit": UNITS[summary.budget.kind],
        "last": f"{100 * summary.removed[-1]:g} %",
        "counts": summary.samples_per_class,
        "criteria": len({curve.criterion for curve in summary.curves}),
        "numbers": key_numbers(run),
        "rows": area_rows(run),
        "compared": [_compared(n, summary.comparison.by_samples[str(n)]) for n in summary.samples_per_class],
        "families": family_rows(run),
        "sources": [(name, what, (run.folder / name).exists()) for name, what in SOURCES.items()],
        "seconds": duration(summary.seconds.get("total")),
        "space_text": run.space_text,
        "place": place_of([run.space]),
    }


def key_numbers(run: CurvesRun) -> list[KeyNumber]:
    """Return the numbers at the head of the page: the unpruned network, then one for each number of images."""
    summary = run.summary
    size = f"{count(summary.baseline.flops)} FLOPs, {count(summary.baseline.params)} parameters"
    first = KeyNumber("Not pruned", percent(summary.baseline.test_accuracy, 1), size)
    return [first, *(_number(samples, run) for samples in summary.samples_per_class)]


def _number(samples: int, run: CurvesRun) -> KeyNumber:
    compared = run.summary.comparison.by_samples[str(samples)]
    label = f"{samples} {'image' if samples == 1 else 'images'} per class"
    if compared.difference is None:
        return KeyNumber(label, compared.rival, "keeps most accuracy")
    return KeyNumber(label, f"{points(compared.difference)} pp", f"{compared.best} − {compared.rival}")


def area_rows(run: CurvesRun) -> list[AreaRow]:
    """Return the table of areas, best mean over the numbers of images first."""
    counts = run.summary.samples_per_class
    by_name: dict[str, list[Curve]] = {}
    for samples in counts:
        for curve in run.at(samples):
            by_name.setdefault(curve.criterion, []).append(curve)
    ranked = sorted(by_name.values(), key=lambda curves: -sum(curve.area for curve in curves))
    return [
        AreaRow(
            curves[0].criterion,
            curves[0].evidence,
            "blend" if curves[0].is_relevance else "criterion",
            [(f"{100 * curve.area:.1f}", _range(curve)) for curve in curves],
        )
        for curves in ranked
    ]


def family_rows(run: CurvesRun) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what is looked at -> mean area of its criteria and the best of them, for each number of images."""
    columns = [run.summary.comparison.by_samples[str(samples)].families for samples in run.summary.samples_per_class]
    names = sorted(columns[0], key=lambda family: -sum(column[family].area for column in columns))
    return [(name, [_family_cell(column[name]) for column in columns]) for name in names]


def _family_cell(family: FamilyRecord) -> tuple[str, str]:
    return f"{100 * family.area:.1f}", f"{family.best} {100 * family.best_area:.1f}"


def _range(curve: Curve) -> str:
    return "" if len(curve.areas) == 1 else f"{100 * curve.area_low:.1f} to {100 * curve.area_high:.1f}"


def _compared(samples: int, compared: Compared) -> ComparedRow:
    if compared.difference is None or compared.range is None:
        return ComparedRow(samples, DASH, compared.rival, DASH, DASH, DASH, DASH)
    return ComparedRow(
        samples=samples,
        best=compared.best or DASH,
        rival=compared.rival,
        difference=points(compared.difference),
        range=f"{points(compared.range[0])} to {points(compared.range[1])}",
        ahead=f"{compared.ahead} of {compared.draws}",
        verdict=VERDICTS.get(compared.verdict or "", DASH),
    )
