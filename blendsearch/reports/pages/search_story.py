"""What the page tells: headline, key numbers, result table, gaps and sources, as words ready for the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from blendsearch.reports.pages.finals_table import finals_table
from blendsearch.reports.pages.front_table import front_table
from blendsearch.results.outcomes import BLEND, Result, best_criterion, differences, results
from blendsearch.results.records.search import FINALS, FRONT, Run
from blendsearch.results.words import DASH, count, duration, interval, percent, points

VERDICTS = {
    "beats": ("▲", "good"),
    "no difference shown": ("=", "even"),
    "worse": ("▼", "bad"),
    "not tested (one seed)": ("○", "open"),
}

SOURCES = {
    "summary.json": "headline, key numbers, proxies, Kendall's tau, seconds, versions",
    "space.yaml": "every setting of the campaign, resolved",
    "records/retrained.json": "one entry a retraining: test and search accuracy, ratios, losses",
    "records/evolution.json": "the evolution curve",
    "records/agreement.json": "Spearman's rho between the criteria, for each group and on average",
    "records/clusters.json": "which criteria rank alike in each unit",
    "records/groups.json": "filters kept in each group, by the blend and by each criterion",
    "blend.json": "the blend: calibration factors, ready to be applied to another network",
    "plan.json": "the kept filters of the blend, by index",
    "network.safetensors": "weights of the pruned and retrained network",
    "baseline.safetensors": "weights of the original network",
    "scores.safetensors": "the scores of every filter under every criterion",
    "trials.db": "every trial of the search (an Optuna storage)",
    "events.jsonl": "what happened when",
}

WITH_FINALS = {FINALS: "candidates of the finals: proxy, accuracy at each rung, why each stopped"}

WITH_FRONT = {
    FRONT: "proxy and kept shares of every trial, and the points of the front that were retrained",
    "blends": "the blends of those points, each ready to be applied at its budget",
}


@dataclass(frozen=True)
class KeyNumber:
    """A number at the head of the page, what it is, and a line about it."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Strip:
    """A mean, its spread and the single seeds as places in [0, 100] on one scale for all rows."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A line of the result table in words."""

    place: str
    name: str
    kind: str
    accuracy: str
    std: str
    strip: Strip | None
    seeds: str
    search: str
    proxy: str
    flops: str
    params: str
    latency: str


def tell(run: Run) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary = run.summary
    ranked = results(run)
    verdict = summary.comparison.verdict or "comparison not finished"
    symbol, tone = VERDICTS.get(verdict, ("○", "open"))
    return {
        "summary": summary,
        "best": best_criterion(run),
        "verdict": verdict,
        "symbol": symbol,
        "tone": tone,
        "control": summary.comparison.control.sentence if summary.comparison.control else "",
        "parts": " ".join(part.sentence for part in summary.ablation.values() if part.sentence),
        "own_allocations": own_allocations(run),
        "sentence": summary.comparison.sentence or _unfinished_sentence(ranked),
        "setting": _setting(run, ranked),
        "numbers": key_numbers(run, ranked),
        "rows": rows(run, ranked),
        "strip_range": _strip_range(ranked),
        "original": _original(run),
        "has_latency": any(item.latency_ms is not None for item in ranked),
        "gaps": gaps(run, ranked),
        "clusters": run.clusters,
        "blend": run.blend,
        "finals": finals_table(run),
        "front": front_table(run),
        "sources": [(name, what, (run.folder / name).exists()) for name, what in _sources(run).items()],
        "seconds": duration(summary.seconds.get("total")),
        "tau": _tau(run),
        "space_text": run.space_text,
        "classes": _classes(run),
    }


def key_numbers(run: Run, ranked: list[Result]) -> list[KeyNumber]:
    """Return the numbers at the head of the page."""
    summary, by_name, best = run.summary, {item.name: item for item in ranked}, best_criterion(run)
    blend = by_name[BLEND]
    spent = f"{duration(summary.seconds.get('search'))} of it for the search"
    size = f"{count(summary.baseline.flops)} FLOPs, {count(summary.baseline.params)} parameters"
    reached = f"blend reached {percent(blend.flops_ratio, 1)} FLOPs, {percent(blend.params_ratio, 1)} parameters"
    if summary.latency is not None:
        measured = percent(summary.latency.measured_ratio, 1)
        reached += f"; latency {percent(summary.latency.estimated_ratio, 1)} by the table, {measured} measured"
    return [
        KeyNumber("Original network", percent(summary.baseline.test_accuracy), size),
        KeyNumber("Blend, retrained", percent(blend.test_accuracy), _spread(blend)),
        _best_number(best, by_name),
        _difference_number(run),
        KeyNumber("Budget", f"{100 * summary.budget.ratio:.3g} % {_unit(summary.budget.kind)}", reached),
        KeyNumber("Time", duration(summary.seconds.get("total")), spent),
    ]


def rows(run: Run, ranked: list[Result]) -> list[Row]:
    """Return the result table's rows, best mean test accuracy first."""
    best, scale, own = best_criterion(run), _scale(ranked), own_allocations(run)
    return [_row(place, item, best, scale, own) for place, item in enumerate(ranked, start=1)]


def own_allocations(run: Run) -> bool:
    """Tell whether criteria were allocated otherwise than the blend, whose shares evolved."""
    given = {outcome.allocation for outcome in run.summary.criteria.values() if outcome.allocation}
    return bool(given - {part_name(run.summary.allocation)})


def gaps(run: Run, ranked: list[Result]) -> list[str]:
    """Return what this report cannot say, a sentence each."""
    found = [f"{name} is not there; what comes from it is left out." for name in run.absent]
    missing = [item.name for item in ranked if item.test_accuracy is None]
    if missing:
        found.append(f"Not retrained and tested yet: {', '.join(missing)}.")
    most = max((item.seeds for item in ranked), default=0)
    fewer = [f"{item.name} ({item.seeds})" for item in ranked if 0 < item.seeds < most]
    if fewer:
        found.append(f"Retrained with fewer seeds than the others ({most}): {', '.join(fewer)}.")
    if len({item.steps for item in ranked if item.steps is not None}) > 1:
        taken = ", ".join(f"{item.name} {item.steps:.0f}" for item in ranked if item.steps is not None)
        found.append(f"Retraining was not equally long; optimiser steps, as mean over the seeds: {taken}.")
    planned = run.summary.seeds or 0
    if 0 < most < planned:
        found.append(f"{planned} retraining seeds were planned, at most {most} are done.")
    if most == 1:
        found.append(
            "One retraining seed: the differences have no interval, and an order of single runs may be chance. "
            "Set retraining.seeds to 3 or more for a test."
        )
    if run.summary.fidelity.tau is None:
        found.append("The proxy's fidelity is not known: no Kendall's tau in summary.json.")
    return found


def _sources(run: Run) -> dict[str, str]:
    finals = {} if run.finals is None else WITH_FINALS
    front = {} if run.front is None else WITH_FRONT
    return {**SOURCES, **finals, **front}


def _setting(run: Run, ranked: list[Result]) -> dict[str, str]:
    """Return the parts of the sentence that says what was done."""
    summary = run.summary
    model = run.space.get("model")
    return {
        "model": str(model.get("name", "the network")) if isinstance(model, dict) else "the network",
        "data": summary.data.name,
        "criteria": str(len([item for item in ranked if item.is_criterion])),
        "budget": f"{100 * summary.budget.ratio:.3g} % {_unit(summary.budget.kind)}",
        "allocation": part_name(summary.allocation),
        "schedule": part_name(summary.schedule),
        "proxy": part_name(summary.proxy),
        "trials": count(summary.trials),
        "seeds": {None: "an unknown number of seeds", 1: "one seed"}.get(summary.seeds, f"{summary.seeds} seeds"),
    }


def part_name(part: object) -> str:
    """Return the name of an allocation, schedule or proxy given as name or as {name, options}."""
    if part is None:
        return DASH
    return str(part.get("name", DASH)) if isinstance(part, dict) else str(part)


def _unit(kind: str) -> str:
    return {"flops": "of FLOPs", "params": "of parameters"}.get(kind, f"of {kind}")


def _unfinished_sentence(ranked: list[Result]) -> str:
    tested = sum(item.test_accuracy is not None for item in ranked)
    return f"No verdict yet: {tested} of {len(ranked)} pruned networks are retrained and tested."


def _spread(item: Result) -> str:
    if item.test_accuracy is None:
        return "not retrained yet"
    if item.std is None:
        return "one seed" if item.seeds == 1 else f"{item.seeds} seeds"
    return f"± {100 * item.std:.2f} over {item.seeds} seeds"


def _best_number(best: str | None, by_name: dict[str, Result]) -> KeyNumber:
    if best is None or best not in by_name:
        return KeyNumber("Best criterion", DASH, "none is tested yet")
    return KeyNumber("Best criterion", percent(by_name[best].test_accuracy), f"{best}, {_spread(by_name[best])}")


def _difference_number(run: Run) -> KeyNumber:
    comparison = run.summary.comparison
    if comparison.difference is None:
        return KeyNumber("Blend − best criterion", DASH, "not known yet")
    bounds = interval(comparison.interval)
    detail = f"95 % interval {bounds}" if bounds else "no interval from one seed"
    return KeyNumber("Blend − best criterion", f"{points(comparison.difference)} pp", detail)


def _row(place: int, item: Result, best: str | None, scale: tuple[float, float] | None, own_allocation: bool) -> Row:
    tested = item.test_accuracy is not None
    return Row(
        place=str(place) if tested else DASH,
        name=f"{item.name} ({item.allocation})" if item.allocation and own_allocation else item.name,
        kind=BLEND if item.is_blend else "best" if item.name == best else "criterion",
        accuracy=percent(item.test_accuracy),
        std=DASH if item.std is None else f"{100 * item.std:.2f}",
        strip=_strip(item, scale),
        seeds=str(item.seeds),
        search=percent(item.search_accuracy),
        proxy=DASH if item.proxy is None else f"{item.proxy:.4f}",
        flops=percent(item.flops_ratio, 1),
        params=percent(item.params_ratio, 1),
        latency=DASH if item.latency_ms is None else f"{item.latency_ms:.2f} ms",
    )


def _scale(ranked: list[Result]) -> tuple[float, float] | None:
    """Return the least and greatest accuracy that the strips show, or None with nothing tested."""
    values = [value for item in ranked for value in item.accuracies.values()]
    for item in ranked:
        if item.test_accuracy is not None:
            values += [item.test_accuracy - (item.std or 0), item.test_accuracy + (item.std or 0)]
    return (min(values), max(values)) if values else None


def _strip_range(ranked: list[Result]) -> str:
    scale = _scale(ranked)
    return f"{100 * scale[0]:.1f} to {100 * scale[1]:.1f} %" if scale else DASH


def _strip(item: Result, scale: tuple[float, float] | None) -> Strip | None:
    if item.test_accuracy is None or scale is None:
        return None
    low, width = scale[0], max(scale[1] - scale[0], 1e-9)

    def at(value: float) -> float:
        return round(100 * (value - low) / width, 1)

    std = item.std or 0
    mean = item.test_accuracy
    return Strip(at(mean), at(mean - std), at(mean + std), tuple(at(value) for value in item.accuracies.values()))


def _original(run: Run) -> dict[str, str]:
    baseline = run.summary.baseline
    return {
        "accuracy": percent(baseline.test_accuracy),
        "search": percent(baseline.search_accuracy),
        "latency": DASH if baseline.latency_ms is None else f"{baseline.latency_ms:.2f} ms",
    }


def _tau(run: Run) -> dict[str, str] | None:
    fidelity = run.summary.fidelity
    if fidelity.tau is None:
        return None
    bounds = fidelity.interval
    return {
        "value": f"{fidelity.tau:.2f}".replace("-", "−"),
        "interval": f"{bounds[0]:.2f} to {bounds[1]:.2f}".replace("-", "−") if bounds else "",
        "candidates": count(fidelity.candidates),
        "reading": _reading(fidelity.tau, bounds),
    }


def _reading(tau: float, bounds: tuple[float, float] | None) -> str:
    """Say in words what the data show about the proxy."""
    if bounds is None:
        return "There is no interval, so how sure this is remains open."
    if bounds[0] > 0:
        return "The interval lies above 0: on these candidates a higher proxy went with a higher accuracy."
    if bounds[1] < 0:
        return "The interval lies below 0: on these candidates the proxy misled the search."
    return "The interval holds 0: these candidates do not show that the proxy orders them as retraining does."


def _classes(run: Run) -> str:
    classes = run.summary.data.classes
    return DASH if classes is None else str(len(classes) if isinstance(classes, list) else classes)


def paired_seeds(run: Run) -> int:
    """Return the least number of seeds that a paired difference rests on, 0 without any."""
    return min((len(difference.single) for difference in differences(run)), default=0)
