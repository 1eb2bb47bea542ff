"""The page of a search campaign."""

from __future__ import annotations

import json
import re
from typing import Any

from blendsearch.reports.after import after_pruning
from blendsearch.reports.figures import SEARCH_FIGURES
from blendsearch.reports.page import Page
from blendsearch.reports.pages.families_table import families_table
from blendsearch.reports.pages.finals_table import finals_table
from blendsearch.reports.pages.front_table import front_table
from blendsearch.reports.pages.parts import HANDED_OVER, VERDICTS, list_sources
from blendsearch.reports.pages.results_table import results_table
from blendsearch.reports.pages.search_story import describe_setting, find_gaps, key_numbers, own_allocations
from blendsearch.reports.pages.shipping import decide
from blendsearch.reports.repeat_command import place_commands
from blendsearch.results.outcomes import results
from blendsearch.results.records.search import Comparison
from blendsearch.results.runs import FINALS, FRONT, SearchRun, read_search_run
from blendsearch.results.verdicts import against_rivals, limits_of_search, of_moves, of_parts
from blendsearch.results.words import verdict_words

SOURCES = {
    "summary.json": "headline, key numbers, proxies, Kendall's tau, seconds, versions",
    "space.yaml": "every setting of the campaign, resolved",
    "records/retrained.json": "one entry a network and seed: test and search accuracy, ratios, losses",
    "records/evolution.json": "the evolution curve",
    "records/agreement.json": "Spearman's rho between the criteria, for each group and on average",
    "records/clusters.json": "which criteria rank alike in each unit",
    "records/groups.json": "filters kept in each group, by the blend and by each criterion",
    "blend.json": "the blend: calibration factors, ready to be applied to another network",
    "plan.json": "the kept filters of the network to ship, by index",
    "network.safetensors": "weights of the network to ship",
    "networks": "weights of every contender's best network",
    "blend-plan.json": "the kept filters of the blend, by index",
    "baseline.safetensors": "weights of the original network",
    "scores.safetensors": "the scores of every filter under every criterion",
    "trials.db": "every trial of the search (an Optuna storage)",
    "events.jsonl": "what happened when",
}
SOURCES_OF_FINALS = {FINALS: "candidates of the finals: proxy, accuracy at each rung, why each stopped"}
SOURCES_OF_A_FRONT = {
    FRONT: "proxy and kept shares of every trial, and the points of the front that were read on the test set",
    "blends": "the blends of those points, each ready to be applied at its budget",
}


def tell_search(run: SearchRun) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary, ranked = run.summary, results(run)
    verdict = summary.comparison.verdict
    symbol, tone = VERDICTS.get(verdict, ("○", "open"))
    comparison = summary.comparison
    classes = summary.data.classes
    return {
        "summary": summary,
        "decision": decide(run),
        "ship_code": _ship_code(run),
        "verdict": verdict_words(verdict, comparison.interval),
        "symbol": symbol,
        "tone": tone,
        "sentence": comparison.sentence,
        "without_search": _without_search(comparison),
        "against_random": comparison.random_search.sentence if comparison.random_search else "",
        "rivals": " ".join(against_rivals(summary)),
        "parts": " ".join(of_parts(summary)),
        "moves": " ".join(of_moves(summary)),
        "limits": " ".join(limits_of_search(summary)),
        "setting": describe_setting(run, ranked),
        "own_allocations": own_allocations(run),
        "numbers": key_numbers(run, ranked),
        "gaps": find_gaps(run, ranked),
        "results": results_table(run, ranked),
        "finals": finals_table(run),
        "front": front_table(run),
        "after": after_pruning(run.space),
        "kin": families_table(run.agreement),
        "blend": run.blend,
        "clusters": run.clusters,
        "layers": 0 if run.agreement is None else len(run.agreement.groups),
        "classes": len(classes) if isinstance(classes, list) else classes,
        "place": place_commands([run.space], run.folder),
        "dashboard": _dashboard_command(run),
        "space_text": run.space_text,
        "sources": list_sources(run.folder, _sources(run)),
    }


def _without_search(comparison: Comparison) -> dict[str, str]:
    """Return the second verdict, against what one would have chosen without a search; empty in older records."""
    found = comparison.without_search
    if found is None:
        return {}
    symbol, tone = VERDICTS.get(found.verdict, ("○", "open"))
    return {
        "verdict": verdict_words(found.verdict, found.interval),
        "symbol": symbol,
        "tone": tone,
        "sentence": str(found.sentence),
    }


def _ship_code(run: SearchRun) -> str:
    """Return how the network is loaded and exported, as it is to be typed."""
    place = place_commands([run.space], run.folder)
    folder = json.dumps(place.folder, ensure_ascii=False)  # as Python reads it too
    own = str(run.space.get("model", {}).get("name", "")).startswith(HANDED_OVER)
    if own:
        return (
            f"network = blendsearch.load({folder}, model=model)  # model: yours, as it was searched\n"
            f'blendsearch.export({folder}, to="onnx", model=model)'
        )
    shell = f"{place.cd}blendsearch export {place.typed} --to onnx  # in a shell"
    return f"{shell}\nnetwork = blendsearch.load({folder})  # in Python"


def _sources(run: SearchRun) -> dict[str, str]:
    finals = {} if run.finals is None else SOURCES_OF_FINALS
    front = {} if run.front is None else SOURCES_OF_A_FRONT
    elsewhere = {"trials.db"} if run.space.get("ledger") else set()
    return {name: what for name, what in {**SOURCES, **finals, **front}.items() if name not in elsewhere}


def _dashboard_command(run: SearchRun) -> str:
    """Return how optuna-dashboard is started on the ledger: its password is the variable that the space names."""
    ledger = run.space.get("ledger")
    if ledger is None:
        return f"optuna-dashboard sqlite:///{place_commands([run.space], run.folder).path('trials.db')}"
    address = re.sub("^postgresql:", "postgresql+psycopg:", str(ledger))
    variable = re.search(r":\$\{(\w+)\}@", address)
    if variable is None:
        return f'optuna-dashboard "{address}"'
    return f'PGPASSWORD="${variable[1]}" optuna-dashboard "{address.replace(variable[0], "@")}"'


PAGE = Page(read=read_search_run, figures=SEARCH_FIGURES, template="search.html.j2", words=tell_search)
