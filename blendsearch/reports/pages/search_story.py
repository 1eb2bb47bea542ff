"""What the page of a campaign tells in words: what was done, the key numbers, and what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from blendsearch.reports.after import after_pruning
from blendsearch.reports.pages.parts import KeyNumber, model_of
from blendsearch.results.outcomes import Result
from blendsearch.results.records.retraining import BLEND
from blendsearch.results.records.search import Comparison
from blendsearch.results.runs import SearchRun
from blendsearch.results.verdicts import failed_trials, stopped_candidates
from blendsearch.results.words import (
    budget_words,
    count,
    duration,
    in_percent,
    interval,
    part_name,
    percent,
    plural,
    points,
)


def describe_setting(run: SearchRun, ranked: Sequence[Result]) -> dict[str, str]:
    """Return the parts of the sentence that says what was done."""
    summary = run.summary
    return {
        "model": model_of(run.space),
        "data": summary.data.name,
        "criteria": str(sum(item.is_criterion for item in ranked)),
        "budget": budget_words(summary.budget.kind, summary.budget.ratio),
        "allocation": part_name(summary.allocation),
        "schedule": part_name(summary.schedule),
        "proxy": part_name(summary.proxy),
        "trials": count(summary.trials),
        "seeds": "one seed" if summary.seeds == 1 else plural(summary.seeds, "seed"),
    }


def own_allocations(run: SearchRun) -> bool:
    """Tell whether criteria were allocated otherwise than the blend, whose shares evolved."""
    given = {outcome.allocation for outcome in run.summary.criteria.values() if outcome.allocation}
    return bool(given - {part_name(run.summary.allocation)})


def key_numbers(run: SearchRun, ranked: Sequence[Result]) -> list[KeyNumber]:
    """Return the numbers at the head of the page."""
    summary, comparison = run.summary, run.summary.comparison
    by_name = {item.name: item for item in ranked}
    blend, best = by_name[BLEND], by_name[comparison.best_criterion]
    bounds = interval(comparison.interval)
    return [
        KeyNumber(
            "Original network",
            percent(summary.unpruned.test_accuracy),
            f"{count(summary.unpruned.flops)} FLOPs, {count(summary.unpruned.params)} parameters",
        ),
        KeyNumber(
            f"Blend, {'retrained' if after_pruning(run.space).retrained else 'not retrained'}",
            percent(blend.test_accuracy),
            _spread(blend),
        ),
        KeyNumber("Best criterion", percent(best.test_accuracy), f"{best.name}, {_spread(best)}"),
        KeyNumber(
            "Blend − best criterion",
            f"{points(comparison.difference)} pp",
            _how_sure(comparison, bounds),
        ),
        KeyNumber("Budget", budget_words(summary.budget.kind, summary.budget.ratio), _reached(run, blend)),
        KeyNumber(
            "Time",
            duration(summary.seconds.get("total")),
            f"{duration(summary.seconds.get('search'))} of it for the search",
        ),
    ]


def find_gaps(run: SearchRun, ranked: Sequence[Result]) -> list[str]:
    """Return what the report cannot say, a sentence each."""
    found = [f"{name} is not there; what comes from it is left out." for name in run.absent]
    found += [*failed_trials(run.summary), *stopped_candidates(run.summary)]
    if run.summary.metric is not None:
        found.append(f"Accuracy, on this page, is the metric {run.summary.metric}: the mean over the images.")
    most = max(item.seeds for item in ranked)
    fewer = [f"{item.name} ({item.seeds})" for item in ranked if item.seeds < most]
    if fewer:
        found.append(f"Retrained with fewer seeds than the others ({most}): {', '.join(fewer)}.")
    if len({item.steps for item in ranked if item.steps is not None}) > 1:
        taken = ", ".join(f"{item.name} {item.steps:.0f}" for item in ranked if item.steps is not None)
        found.append(f"Retraining was not equally long; optimiser steps, as mean over the seeds: {taken}.")
    if most == 1 and run.summary.comparison.interval is None:
        found.append(
            "One retraining seed: the differences have no interval, and an order of single runs may be chance. "
            "Set retraining.seeds to 3 or more for a test."
        )
    if run.summary.fidelity is None or run.summary.fidelity.tau is None:
        found.append("The proxy's fidelity is not known: no Kendall's tau in summary.json.")
    return found


def _how_sure(comparison: Comparison, bounds: str) -> str:
    """Say the interval and what it allows for, or why there is none."""
    if not bounds:
        return "no interval: nothing varies" if comparison.basis else "no interval from one seed"
    return f"95 % interval {bounds}" + (f", best of {comparison.among}" if comparison.among else "")


def _reached(run: SearchRun, blend: Result) -> str:
    """Say what the blend keeps of each cost."""
    words = f"blend reached {percent(blend.flops_ratio, 1)} FLOPs, {percent(blend.params_ratio, 1)} parameters"
    latency = run.summary.latency
    if latency is None:
        return words
    measured = percent(latency.measured_ratio, 1)
    return f"{words}; latency {percent(latency.estimated_ratio, 1)} by the table, {measured} measured"


def _spread(item: Result) -> str:
    return "one seed" if item.std is None else f"± {in_percent(item.std)} over {item.seeds} seeds"
