"""Ranks of filters within their group, and how far criteria agree on them."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsearch.criteria.ranking import rank
from blendsearch.criteria.scoring import Scores
from blendsearch.errors import BlendsearchError


def rank_all(scores: Scores) -> Scores:
    """Rank every criterion within every group; an error names the criterion and the group."""
    return {
        criterion: {group: _rank_named(criterion, group, values) for group, values in groups.items()}
        for criterion, groups in scores.items()
    }


def _rank_named(criterion: str, group: str, values: Tensor) -> Tensor:
    try:
        return rank(values)
    except BlendsearchError as error:
        raise BlendsearchError(f"criterion '{criterion}', group '{group}': {error}") from None


def standardised(ranks: Tensor) -> Tensor:
    """Return ranks [C] with mean 0 and standard deviation 1, so that a factor counts alike in every group; or zeros.

    float64, as the logarithms that they are added to.
    """
    centred = ranks.double() - ranks.double().mean()
    spread = centred.square().mean().sqrt()
    return centred / spread if spread > 1e-9 else torch.zeros_like(centred)


def spearman(ranks: Tensor) -> Tensor:
    """Return Spearman's rank correlation between the rows.

    ranks: [K, C], each row as `rank` returns it. Result: float64 [K, K], symmetric, ones on the diagonal. A
    constant row orders nothing: its correlation is 1 with itself and other constant rows and 0 with the rest.
    """
    centred = ranks.double() - ranks.double().mean(dim=1, keepdim=True)
    norms = centred.norm(dim=1)
    constant = norms < 1e-9
    unit = centred / norms.masked_fill(constant, 1.0).unsqueeze(1)
    unit[constant] = 0.0
    rho = (unit @ unit.T).clamp(-1.0, 1.0)
    rho[constant.unsqueeze(0) & constant.unsqueeze(1)] = 1.0
    return rho.fill_diagonal_(1.0)


def agreement(ranked: Scores) -> dict[str, Tensor]:
    """Return, for every group, the Spearman matrix [K, K] of the criteria in the order of `ranked`."""
    first = next(iter(ranked.values()), {})
    return {group: spearman(torch.stack([groups[group] for groups in ranked.values()])) for group in first}
