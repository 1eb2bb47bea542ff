"""Write the figures and the page of an audit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsearch.progress import Progress, silent
from blendsearch.reports.building import draw_all, fill, write_page
from blendsearch.reports.figures.audit import draw_estimates, draw_taus
from blendsearch.reports.pages.parts import KeyNumber
from blendsearch.reports.repeat_command import place_of
from blendsearch.results.records.audit import AuditRun, AuditSummary, ProxyRecord, read_audit
from blendsearch.results.words import DASH, duration, percent

AUDIT_FIGURES = {"taus": draw_taus, "estimates": draw_estimates}
SOURCES = {
    "summary.json": "every number of this page",
    "space.yaml": "every setting of the run, resolved",
    "records/plans.json": "the plans: which filters each keeps",
    "records/estimates": "one file a proxy: value, seconds and image passes for each plan",
    "records/retrained": "one file a retraining",
    "events.jsonl": "what happened when",
}


@dataclass(frozen=True)
class ProxyRow:
    """A proxy's line of the table, as text."""

    name: str
    kind: str
    tau: str
    interval: str
    of_ceiling: str
    seconds: str
    cost: str
    passes_cost: str
    regret: str


def build_audit_report(run_dir: Path, progress: Progress = silent) -> Path:
    """Write figures/*.png, figures/*.svg and report.html into the folder of an audit; return the page's path.

    Raises RunError when the folder or its summary is missing, a record is broken, or nothing can be written.
    """
    run = read_audit(Path(run_dir))
    figures = draw_all(AUDIT_FIGURES, run, progress)
    page = write_page(run.folder, AUDIT_FIGURES, figures, fill("audit.html.j2", figures, **tell_audit(run)))
    progress("report", len(AUDIT_FIGURES) + 1, len(AUDIT_FIGURES) + 1, page.name)
    return page


def tell_audit(run: AuditRun) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary = run.summary
    kinds: dict[str, int] = {}
    for plan in summary.plans:
        kinds[plan.kind] = kinds.get(plan.kind, 0) + 1
    return {
        "summary": summary,
        "sentence": sentence(summary, run),
        "numbers": _numbers(summary),
        "rows": [_row(name, proxy, number) for number, (name, proxy) in enumerate(run.summary.ranked)],
        "kinds": ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
        "plans": sorted(summary.plans, key=lambda plan: -plan.test_accuracy),
        "seeds": len(summary.plans[0].seeds),
        "sources": [(name, what, (run.folder / name).exists()) for name, what in SOURCES.items()],
        "seconds": duration(summary.seconds.get("total")),
        "space_text": run.space_text,
        "place": place_of([run.space]),
    }


def sentence(summary: AuditSummary, run: AuditRun) -> str:
    """Say which proxy orders the plans best, how well against what noise allows, and at what cost."""
    name, best = run.summary.ranked[0]
    if best.tau is None:
        return "No proxy orders these plans."
    ceiling = summary.ceiling.tau if summary.ceiling else None
    allowed = "" if ceiling is None else f"; two retrainings of the same plans agree by {ceiling:.2f}"
    cost = "" if best.cost is None else f" at {100 * best.cost:.1f} % of a retraining's cost"
    return f"Of {len(run.summary.ranked)} proxies {name} orders the plans best: Kendall's tau {best.tau:.2f}{cost}{allowed}."


def _numbers(summary: AuditSummary) -> list[KeyNumber]:
    ceiling = summary.ceiling
    known = ceiling is not None and ceiling.tau is not None
    tests = [plan.test_accuracy for plan in summary.plans]
    return [
        KeyNumber("Not pruned", percent(summary.unpruned.search_accuracy), "on the search split"),
        KeyNumber("Noise ceiling", f"{ceiling.tau:.2f}" if known and ceiling else DASH, "tau between two seeds"),
        KeyNumber("Plans", str(len(tests)), f"{percent(min(tests))} to {percent(max(tests))} after retraining"),
        KeyNumber("One retraining", duration(summary.retraining_seconds), "mean"),
    ]


def _row(name: str, proxy: ProxyRecord, number: int) -> ProxyRow:
    bounds = proxy.interval
    return ProxyRow(
        name=name,
        kind="best" if number == 0 else "criterion",
        tau=DASH if proxy.tau is None else f"{proxy.tau:.2f}".replace("-", "−"),
        interval=f"{bounds[0]:.2f} to {bounds[1]:.2f}".replace("-", "−") if bounds else DASH,
        of_ceiling=DASH if proxy.of_ceiling is None else f"{100 * proxy.of_ceiling:.0f} %",
        seconds=duration(proxy.seconds),
        cost=percent(proxy.cost, 1),
        passes_cost=percent(proxy.passes_cost, 1),
        regret=DASH if proxy.regret is None else f"{100 * proxy.regret:.2f}",
    )
