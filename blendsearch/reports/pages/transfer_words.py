"""What a transfer came to, in sentences: where its blend is from, by which rule it fits, what it did in each space."""

from __future__ import annotations

from collections.abc import Sequence

from blendsearch.reports.after import After, after_steps
from blendsearch.results.paired import NOT_SHOWN
from blendsearch.results.records.provenance import Provenance
from blendsearch.results.records.transfer import SpaceRecord
from blendsearch.results.words import budget_words, verdict_sentence

WHO = "the transferred blend"
OUTCOMES = {
    "beats": "beats {}",
    "equal": "is equal to {} (within half a point)",
    "undecided": "is not told apart from {}",
    "no difference shown": "is not shown to differ from {}",
    "worse": "is worse than {}",
    "not tested (one seed)": "is not tested against {} (one seed)",
    "not tested (seeds alike)": "is not tested against {} (seeds alike)",
}
"""Verdict -> what the blend then does to another, in the order in which a headline counts them."""


def tell_origin(file: str, found_on: Provenance) -> str:
    """Return a sentence on where a blend was found, as far as its file says."""
    if found_on.model is None:
        return f"{file} does not say where its blend was found."
    budget = "".join(f", {budget_words(kind, ratio)}" for kind, ratio in found_on.budget.items())
    return f"Found on {found_on.model}, {found_on.data or 'unknown data'}{budget}."


def headline(spaces: Sequence[SpaceRecord]) -> str:
    """Return in how many spaces the blend beats the best criterion, and in how many it does not."""
    verdicts = [row.against_criterion.verdict for row in spaces]
    parts, other = [], "the best criterion"
    for verdict, words in OUTCOMES.items():
        if verdict in verdicts:
            parts.append(f"{words.format(other)} {_share(verdicts.count(verdict), spaces)}".strip())
            other = "it"
    where = spaces[0].space if len(spaces) == 1 else f"{len(spaces)} spaces"
    return f"Applied in {where}, the blend {', '.join(parts[:-1])}{' and ' if parts[1:] else ''}{parts[-1]}."


def after_all(spaces: Sequence[SpaceRecord]) -> After:
    """Return the words for networks after pruning: those of retraining, unless no space retrained anything."""
    found = [after_steps(row.transferred.steps) for row in spaces]
    return next((after for after in found if after.retrained), found[0])


def _share(count: int, spaces: Sequence[SpaceRecord]) -> str:
    if len(spaces) == 1:
        return ""
    everywhere = "in both" if len(spaces) == 2 else f"in all {count}"
    return everywhere if count == len(spaces) else f"in {count}"


def tell_verdicts(row: SpaceRecord) -> list[str]:
    """Return a sentence on the blend against the best criterion, one on the blend searched there, one on twins."""
    pairs = [(f"the best criterion ({row.best_criterion})", row.against_criterion)]
    if row.against_searched is not None:
        pairs.append(("the blend searched there", row.against_searched))
    said = [
        verdict_sentence(WHO, other, one.difference, one.interval, one.verdict, row.seeds, row.basis)
        for other, one in pairs
        if one.interval is not None or one.verdict not in NOT_SHOWN  # else they are twins, which is told below
    ]
    return [*said, *row.twins]


def tell_allocations(row: SpaceRecord) -> list[str]:
    """Return a sentence on criteria allocated otherwise than the blends, or nothing."""
    if all(one.allocation in (None, row.allocation) for one in row.criteria.values()):
        return []
    return [
        f"The {row.allocation} shares of the layers belong to a blend; each criterion has the allocation that the "
        "proxy preferred for it, in brackets."
    ]


def tell_rule(rule: str) -> str:
    """Return the rule by which a blend was adapted, as a sentence."""
    return f"{rule[0].upper()}{rule[1:]}."


def tell_setting(row: SpaceRecord) -> str:
    """Return for example 'conv4 (width 16) on negatives, 40 % of FLOPs'."""
    given = ", ".join(f"{name} {value}" for name, value in row.network_arguments.items())
    network = f"{row.network} ({given})" if given else row.network
    return f"{network} on {row.data}, {budget_words(row.budget.kind, row.budget.ratio)}"
