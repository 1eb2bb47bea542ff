"""The page of a scarce-data run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from blendsearch.reports.figures.curves import CURVES_FIGURES
from blendsearch.reports.page import Page
from blendsearch.reports.pages.parts import KeyNumber, list_sources, model_of
from blendsearch.reports.repeat_command import place_commands
from blendsearch.reports.selection import fold_of, select
from blendsearch.results.records.curves import Curve, FamilyComparison, FamilyRecord
from blendsearch.results.runs import CurvesRun, read_curves_run
from blendsearch.results.words import (
    DASH,
    cost_name,
    count,
    count_criteria,
    duration,
    in_percent,
    join_words,
    percent,
    percent_range,
    plural,
    points,
)

SOURCES = {
    "summary.json": "every curve, area and comparison of this page, seconds, versions",
    "space.yaml": "every setting of the run, resolved",
    "records/cells": "one file a draw: test accuracies of each criterion, one a share removed",
    "baseline.safetensors": "weights of the network that was pruned",
    "events.jsonl": "what happened when",
}
SOURCES_OF_BLENDS = {"records/blends.json": "the found blends: their files, and how they were adapted to this network"}
VERDICTS = {"ahead": "relevance ahead", "behind": "relevance behind", "open": "no clear difference"}


@dataclass(frozen=True)
class AreaRow:
    """A criterion's line of the table: its area at each number of images, as text with the draws' range.

    rest: hidden while the table is folded.
    """

    place: int
    criterion: str
    evidence: str
    kind: str
    rest: bool
    areas: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """Relevance against the rest at one number of images, in words."""

    samples: int
    best: str
    baseline: str
    difference: str
    range: str
    ahead: str
    verdict: str


def tell_curves(run: CurvesRun) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary = run.summary
    names, rows = {curve.criterion for curve in summary.curves}, area_rows(run)
    return {
        "summary": summary,
        "model": model_of(run.space),
        "unit": cost_name(summary.budget.kind),
        "last": f"{100 * summary.removed[-1]:g} %",
        "counts": join_words([str(count) for count in summary.samples_per_class]),
        "images": "image" if summary.samples_per_class == [1] else "images",
        "criteria": count_criteria(len(names - set(summary.blends))),
        "blends": plural(len(summary.blends), "found blend") if summary.blends else "",
        "numbers": key_numbers(run),
        "rows": rows,
        "ranges": any(range_ for row in rows for _, range_ in row.areas),
        "more": fold_of(len(rows), sum(not row.rest for row in rows), "criteria", "the best of relevance"),
        "compared": compared_rows(run),
        "families": family_rows(run),
        "sources": list_sources(run.folder, SOURCES | (SOURCES_OF_BLENDS if summary.blends else {})),
        "seconds": duration(summary.seconds.get("total")),
        "space_text": run.space_text,
        "place": place_commands([run.space], run.folder),
    }


def key_numbers(run: CurvesRun) -> list[KeyNumber]:
    """Return the numbers at the head of the page: the unpruned network, then one for each number of images."""
    summary = run.summary
    size = f"{count(summary.unpruned.flops)} FLOPs, {count(summary.unpruned.params)} parameters"
    first = KeyNumber("Not pruned", percent(summary.unpruned.test_accuracy, 1), size)
    return [first, *(_number(samples, run) for samples in summary.samples_per_class)]


def _number(samples: int, run: CurvesRun) -> KeyNumber:
    compared = run.summary.comparison.by_samples[str(samples)]
    label = f"{plural(samples, 'image')} per class"
    if compared.difference is None:
        names, keep = compared.keeping_most
        return KeyNumber(label, names, f"{keep} most accuracy")
    return KeyNumber(label, f"{points(compared.difference)} pp", f"{compared.best} − {compared.baseline}")


def area_rows(run: CurvesRun) -> list[AreaRow]:
    """Return the table of areas, best mean over the numbers of images first."""
    by_criterion = run.summary.curves_by_criterion()
    marked = {name for samples in run.summary.samples_per_class for name in run.highlighted(samples)}
    shown = select(list(by_criterion), {*marked, *run.summary.blends})
    return [
        AreaRow(
            place=place,
            criterion=name,
            rest=name not in shown,
            evidence=curves[0].evidence,
            kind="blend" if curves[0].is_relevance else "criterion",
            areas=[(in_percent(curve.area, 1), _range(curve)) for curve in curves],
        )
        for place, (name, curves) in enumerate(by_criterion.items(), start=1)
    ]


def compared_rows(run: CurvesRun) -> list[ComparedRow]:
    """Return relevance against the rest at each number of images; nothing where one side has no criterion."""
    by_samples = run.summary.comparison.by_samples
    rows = [(samples, by_samples[str(samples)]) for samples in run.summary.samples_per_class]
    return [_compared(samples, compared) for samples, compared in rows if compared.difference is not None]


def family_rows(run: CurvesRun) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what is looked at -> mean area of its criteria and the best of them, for each number of images."""
    columns = [run.summary.comparison.by_samples[str(samples)].families for samples in run.summary.samples_per_class]
    names = sorted(columns[0], key=lambda family: -sum(column[family].area for column in columns))
    return [(name, [_family_cell(column[name]) for column in columns]) for name in names]


def _family_cell(family: FamilyRecord) -> tuple[str, str]:
    return in_percent(family.area, 1), f"{family.best} {in_percent(family.best_area, 1)}"


def _range(curve: Curve) -> str:
    return "" if len(curve.areas) == 1 else percent_range((curve.area_low, curve.area_high), 1)


def _compared(samples: int, compared: FamilyComparison) -> ComparedRow:
    bounds = compared.range
    return ComparedRow(
        samples=samples,
        best=compared.best or DASH,
        baseline=compared.baseline,
        difference=points(compared.difference),
        range=f"{points(bounds[0])} to {points(bounds[1])}" if bounds else DASH,
        ahead=DASH if compared.ahead is None else f"{compared.ahead} of {compared.draws}",
        verdict=VERDICTS.get(compared.verdict or "", DASH),
    )


PAGE = Page(read=read_curves_run, figures=CURVES_FIGURES, template="curves.html.j2", words=tell_curves)
