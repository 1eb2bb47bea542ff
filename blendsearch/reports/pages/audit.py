"""The page of an audit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from blendsearch.reports.after import RETRAINED, After, after_pruning
from blendsearch.reports.figures.audit import AUDIT_FIGURES
from blendsearch.reports.page import Page
from blendsearch.reports.pages.parts import KeyNumber, list_sources
from blendsearch.reports.repeat_command import place_commands
from blendsearch.results.records.audit import COMBINED, AuditSummary, ProxyRecord
from blendsearch.results.runs import AuditRun, read_audit_run
from blendsearch.results.words import budget_words, decimal, decimal_range, duration, in_percent, percent, plural

SOURCES = {
    "summary.json": "every number of this page",
    "space.yaml": "every setting of the run, resolved",
    "records/plans.json": "the plans: which filters each keeps",
    "records/estimates": "one file a proxy: value, seconds and image passes for each plan",
    "records/retrained": "one file a plan and seed: what its network came to",
    "events.jsonl": "what happened when",
}


@dataclass(frozen=True, kw_only=True)
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


def tell_audit(run: AuditRun) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary = run.summary
    after = after_pruning(run.space)
    kinds = Counter(plan.kind for plan in summary.plans)
    return {
        "summary": summary,
        "after": after,
        "sentence": sentence(summary, after),
        "numbers": _numbers(summary, after),
        "rows": [_row(name, proxy, first=place == 0) for place, (name, proxy) in enumerate(summary.ranked)],
        "combined": COMBINED if COMBINED in summary.proxies else "",
        "budget": budget_words(summary.budget.kind, summary.budget.ratio),
        "kinds": ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
        "plans": sorted(summary.plans, key=lambda plan: -plan.test_accuracy),
        "seeds": plural(len(summary.plans[0].seeds), "seed"),
        "sources": list_sources(run.folder, SOURCES),
        "seconds": duration(summary.seconds.get("total")),
        "space_text": run.space_text,
        "place": place_commands([run.space], run.folder),
    }


def sentence(summary: AuditSummary, after: After = RETRAINED) -> str:
    """Say which proxy orders the plans best, and where they were retrained how well against what noise allows."""
    ranked = summary.ranked
    name, best = ranked[0]
    if best.tau is None:
        return "No proxy orders these plans."
    given = len(summary.proxies) - (COMBINED in summary.proxies)
    among = f"Of {given} proxies and the mean of their ranks" if COMBINED in summary.proxies else f"Of {given} proxies"
    order = f"{among} {name} orders the plans best:" if given > 1 else f"{name} orders the plans by"
    words = f"{order} Kendall's tau {decimal(best.tau)}"
    if not after.retrained:
        return f"{words} with their accuracy {after.when}."
    ceiling = summary.ceiling.tau if summary.ceiling else None
    allowed = "" if ceiling is None else f"; two retrainings of the same plans agree by {decimal(ceiling)}"
    cost = "" if best.cost is None else f" at {percent(best.cost, 1)} of a retraining's cost"
    return f"{words}{cost}{allowed}."


def _numbers(summary: AuditSummary, after: After) -> list[KeyNumber]:
    tests = [plan.test_accuracy for plan in summary.plans]
    ceiling = summary.ceiling.tau if summary.ceiling else None
    numbers = [
        KeyNumber("Not pruned", percent(summary.unpruned.search_accuracy), "on the search split"),
        KeyNumber("Plans", str(len(tests)), f"{percent(min(tests))} to {percent(max(tests))} {after.when}"),
    ]
    if not after.retrained:
        return numbers
    noise = [] if ceiling is None else [KeyNumber("Noise ceiling", decimal(ceiling), "tau between two seeds")]
    return [*numbers, *noise, KeyNumber("One retraining", duration(summary.retraining_seconds), "mean")]


def _row(name: str, proxy: ProxyRecord, *, first: bool) -> ProxyRow:
    return ProxyRow(
        name=name,
        kind="best" if first else "criterion",
        tau=decimal(proxy.tau),
        interval=decimal_range(proxy.interval),
        of_ceiling=percent(proxy.of_ceiling, 0),
        seconds=duration(proxy.seconds),
        cost=percent(proxy.cost, 1),
        passes_cost=percent(proxy.passes_cost, 1),
        regret=in_percent(proxy.regret),
    )


PAGE = Page(read=read_audit_run, figures=AUDIT_FIGURES, template="audit.html.j2", words=tell_audit)
