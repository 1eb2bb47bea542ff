"""Scores of every filter under many criteria, from statistics gathered once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from blendsearch.criteria.base import CRITERIA, Criterion, check_group_rule
from blendsearch.errors import BlendsearchError
from blendsearch.statistics import Ratings, Statistics
from blendsearch.structure import Structure

Scores = dict[str, dict[str, Tensor]]
"""criterion -> group -> float32 [C], higher = more important."""


def names() -> list[str]:
    """Return the names of all registered criteria."""
    return CRITERIA.names()


def measures_of(criteria: Iterable[str], ratings: Ratings | None = None) -> set[str]:
    """Return everything the criteria need; unknown names raise UnknownNameError with the nearest one.

    ratings: where some criterion reads them, what their fallback needs comes along.
    """
    needs = {need for name in criteria for need in CRITERIA.get(name, "criteria").needs}
    if ratings is not None and ratings.fallback is not None and "ratings" in needs:
        needs |= set(CRITERIA.get(ratings.fallback, "ratings.fallback").needs)
    return needs


def applicable(criteria: Sequence[str], structure: Structure, statistics: Statistics) -> dict[str, str]:
    """Return the criteria that cannot score some group of this network, each with the reason."""
    reasons = {}
    for name in criteria:
        criterion = CRITERIA.get(name, "criteria")()
        found = (criterion.missing(group, statistics) for group in structure.groups)
        reason = next((text for text in found if text), "")
        if reason:
            reasons[name] = reason
    return reasons


def score_groups(
    structure: Structure, statistics: Statistics, criteria: Sequence[str], *, group_rule: str = "mean_rank"
) -> Scores:
    """Score every group under every criterion; raise BlendsearchError when a criterion breaks its contract.

    group_rule: how the scores of a group's coupled convolutions become one: "mean_rank", "mean", "sum" or "max".
    """
    check_group_rule(group_rule)
    scores: Scores = {}
    for name in criteria:
        criterion = CRITERIA.get(name, "criteria")()
        criterion.group_rule = group_rule
        scores[name] = {}
        for group in structure.groups:
            reason = criterion.missing(group, statistics)
            if reason:
                raise BlendsearchError(f"criterion '{name}': {reason}")
            scores[name][group.name] = _checked(criterion, group.name, group.width, criterion.score(group, statistics))
    return scores


def _checked(criterion: Criterion, group: str, width: int, score: Tensor) -> Tensor:
    if tuple(score.shape) != (width,):
        raise BlendsearchError(
            f"criterion '{criterion.name}': group '{group}' got scores of shape {tuple(score.shape)}, "
            f"allowed ({width},)"
        )
    if not bool(torch.isfinite(score).all()):
        raise BlendsearchError(f"criterion '{criterion.name}': group '{group}' got scores that are not finite")
    return score.detach().float().cpu()
