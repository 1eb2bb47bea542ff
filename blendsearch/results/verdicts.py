"""The verdicts of a campaign in one order, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from blendsearch.results.words import duration, part_name, plural

if TYPE_CHECKING:  # not loaded at run time, so that --help does not wait for them
    from blendsearch.results.records.search import ReallocationSummary, SearchSummary, SwapsSummary

NONE_ROSE = "none raised the proxy"


def against_no_search(summary: SearchSummary) -> list[str]:
    """Return what the blend is worth against what one would have had without a search, and against chance."""
    comparison = summary.comparison
    found = [comparison.without_search, comparison.random_search]
    return [one.sentence for one in found if one is not None and one.sentence]


def against_rivals(summary: SearchSummary) -> list[str]:
    """Return what the blend is worth against each fixed blend, and which fixed blends are not there or not whole."""
    said = [one.sentence for one in summary.comparison.rivals.values() if one.sentence]
    notes = [f"{name} is {one.note}." for name, one in summary.rivals.items() if one.note]
    return [*said, *notes, *(f"No {name}: {why}." for name, why in summary.rivals_left_out.items())]


def of_parts(summary: SearchSummary) -> list[str]:
    """Return what the blend is worth against each of its two parts."""
    return [part.sentence for part in summary.ablation.values() if part.sentence]


def difference_sentences(summary: SearchSummary) -> list[str]:
    """Return all sentences on differences: against the best in hindsight first."""
    best = [summary.comparison.sentence] if summary.comparison.sentence else []
    every = [*best, *against_no_search(summary), *against_rivals(summary), *of_parts(summary)]
    return [*every, *price_of_a_seed(summary, every)]


def price_of_a_seed(summary: SearchSummary, said: Sequence[str]) -> list[str]:
    """Return what another seed of all retrainings costs, where sentences recommend some.

    Apart from these, which are the same for every run of a space, while seconds are not.
    """
    seconds = summary.seconds.get("retrain")
    if not seconds or not any("retraining.seeds=" in sentence for sentence in said):
        return []
    return [f"Another seed of all retrainings takes about {duration(seconds / summary.seeds)}."]


def of_moves(summary: SearchSummary) -> list[str]:
    """Return what moving and exchanging filters of the search's best plan came to, where that was done."""
    return [*_of_reallocation(summary.reallocation), *_of_swaps(summary.swaps)]


def _of_reallocation(found: ReallocationSummary | None) -> list[str]:
    if found is None:
        return []
    judged = _judged(found.evaluations, "with other shares")
    if not found.made:
        return [f"After the search {judged} (search.reallocation): {NONE_ROSE}."]
    moved = f"{plural(found.moved, 'filter')} moved between layers in {plural(found.made, 'step')}"
    return [f"After the search {judged} and {moved} (search.reallocation): {_rise(found)}."]


def _of_swaps(found: SwapsSummary | None) -> list[str]:
    if found is None:
        return []
    judged = _judged(found.evaluations, "around its best one")
    made = f"{plural(found.made, 'swap')} of two filters made"
    rise = _rise(found) if found.made else NONE_ROSE
    return [f"After the search {judged} and {made} (search.swaps): {rise}."]


def _rise(found: ReallocationSummary | SwapsSummary) -> str:
    return f"the proxy rose from {found.start:.3f} to {found.proxy:.3f}"


def _judged(plans: int, which: str) -> str:
    return f"{plural(plans, 'plan')} {which} {'was' if plans == 1 else 'were'} judged"


def limits_of_search(summary: SearchSummary) -> list[str]:
    """Return what was not retrained, how far the search images flatter, and whether the proxy is blind."""
    found = [summary.choice, summary.optimism]
    return [*_not_retrained(summary), *(one.sentence for one in found if one is not None), *_blind_proxy(summary)]


def failed_trials(summary: SearchSummary) -> list[str]:
    """Return how many trials failed and why, what helps, and what is missing for it."""
    cost = summary.search
    if cost is None:
        return []
    drawn = sum(cost.failed_draws.values())
    found = []
    if cost.failed:
        found.append(f"{sum(cost.failed.values())} of {summary.trials} trials failed: {_reasons(cost.failed)}.")
    if drawn:
        found.append(f"Of the random search {plural(drawn, 'trial')} failed: {_reasons(cost.failed_draws)}.")
    slow = any(reason.startswith("took longer") for reason in {**cost.failed, **cost.failed_draws})
    if found:
        helps = "a higher compute.trial_seconds, or fewer workers" if slow else "fewer workers or smaller batches"
        found.append(f"What helps: {helps}.")
    return [*found, *(f"Left out: {name}: {why}." for name, why in summary.left_out.items() if "trial failed" in why)]


def stopped_candidates(summary: SearchSummary) -> list[str]:
    """Return how many candidates were read on a part of the search images, where they raced."""
    cost = summary.search
    if cost is None or not cost.stopped:
        return []
    of = f"{cost.stopped} of {plural(cost.evaluations, 'candidate')}"
    return [f"{of}, clearly worse than the best, were read on part of the search images (search.racing)."]


def _reasons(failed: Mapping[str, int]) -> str:
    """Return why worker processes were of no use, how often each where there are several reasons."""
    several = len(failed) > 1
    return ", ".join(f"a worker process {why}" + (f" ({count})" if several else "") for why, count in failed.items())


def _not_retrained(summary: SearchSummary) -> list[str]:
    """Return of how many criteria the best in hindsight is the best, where not all were retrained."""
    behind, there = len(summary.not_retrained), len(summary.criteria)
    if not behind:
        return []
    first = "the one that the proxy puts first was" if there == 1 else f"the {there} that the proxy puts first were"
    return [
        f"Of {behind + there} criteria {first} retrained (search.retrained_criteria); one of the others may be better "
        "than the best in hindsight."
    ]


def _blind_proxy(summary: SearchSummary) -> list[str]:
    """Return a sentence where the proxy is not shown to agree with what it stands for."""
    known = summary.fidelity
    if known is None or known.tau is None or known.interval is None or known.interval[0] > 0:
        return []
    low, high = known.interval
    return [
        f"The proxy '{part_name(summary.proxy)}' is not shown to put these {known.candidates} networks in the order in "
        f"which they end (Kendall's tau {known.tau:.2f}, 95 % interval {low:.2f} to {high:.2f}): what the search found "
        "by it may be chance; `blendsearch audit` measures which proxy does, and with search.finals short retrainings "
        "choose."
    ]
