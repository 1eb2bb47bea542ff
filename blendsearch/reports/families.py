"""Families of criteria that rank filters alike: what is told of agreement where there are too many for every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from blendsearch.results.records.common import AgreementRecord, Number

MANY = 15
"""Criteria above which families are shown instead of every pair."""

MOST = 20
ALIKE = (0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
"""Mean rho that criteria of a family must reach: the first at which there are no more than MOST families."""


@dataclass(frozen=True)
class Family:
    """Criteria that rank alike, the most central first, which gives the name; within: mean rho of its pairs.

    nearest, nearest_rho: of the other families the one with the highest mean rho to it, None where there is no other.
    """

    members: tuple[str, ...]
    within: float | None
    nearest: str | None
    nearest_rho: float | None

    @property
    def name(self) -> str:
        """The most central criterion."""
        return self.members[0]

    @property
    def label(self) -> str:
        """The name, with how many there are where it is not alone."""
        return self.name if len(self.members) == 1 else f"{self.name} and {len(self.members) - 1} more"


@dataclass(frozen=True)
class Families:
    """All families in the order of their tree, the mean rho that made them, and the means between and within them.

    between: float [families, families], NaN where no rho is defined and on the diagonal of one that is alone.
    """

    alike: float
    all: tuple[Family, ...]
    between: np.ndarray


def rho_matrix(rows: Sequence[Sequence[Number]]) -> np.ndarray:
    """Return the matrix with NaN where a rho is undefined (a criterion that scores all filters alike)."""
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=float)


def tree_of(matrix: np.ndarray) -> np.ndarray:
    """Return scipy's linkage of 1 - rho by average linkage; an undefined rho counts as 0."""
    distance = 1 - np.nan_to_num((matrix + matrix.T) / 2)
    np.fill_diagonal(distance, 0)
    return linkage(squareform(distance.clip(0), checks=False), method="average")


def find_families(agreement: AgreementRecord) -> Families:
    """Return the families of what agrees: branches of the tree of mean rho, cut where they rank alike."""
    matrix = rho_matrix(agreement.mean)
    tree = tree_of(matrix)
    alike, labels = next((at, found) for at in ALIKE if len(set(found := _cut(tree, at))) <= MOST or at == ALIKE[-1])
    order = list(dict.fromkeys(int(labels[leaf]) for leaf in leaves_list(tree)))
    groups = [_by_centrality(np.flatnonzero(labels == label), matrix) for label in order]
    between = np.array([[_mean_rho(matrix, one, other) for other in groups] for one in groups])
    named = [tuple(agreement.criteria[index] for index in group) for group in groups]
    return Families(alike, tuple(_family(place, named, between) for place in range(len(named))), between)


def within_groups(agreement: AgreementRecord, family: Family) -> dict[str, float]:
    """Return group -> mean rho of a family's pairs there; NaN where none is defined."""
    members = [agreement.criteria.index(name) for name in family.members]
    return {name: _mean_rho(rho_matrix(rows), members, members) for name, rows in agreement.groups.items()}


def _cut(tree: np.ndarray, alike: float) -> np.ndarray:
    return fcluster(tree, 1 - alike, criterion="distance")


def _by_centrality(members: np.ndarray, matrix: np.ndarray) -> list[int]:
    """Return members by their mean rho to the others of the family, the highest first."""
    inside = np.nan_to_num(matrix[np.ix_(members, members)]).sum(axis=1).round(9)  # no order by rounding
    return [int(members[at]) for at in np.argsort(-inside, kind="stable")]


def _mean_rho(matrix: np.ndarray, one: Sequence[int], other: Sequence[int]) -> float:
    """Return the mean rho of pairs of different criteria; NaN where there is none."""
    pairs = [matrix[a, b] for a in one for b in other if a != b and np.isfinite(matrix[a, b])]
    return float(np.mean(pairs)) if pairs else float("nan")


def _family(place: int, named: Sequence[tuple[str, ...]], between: np.ndarray) -> Family:
    others = between[place].copy()
    within, others[place] = between[place, place], np.nan
    if not np.isfinite(others).any():
        return Family(named[place], _known(within), None, None)
    nearest = int(np.nanargmax(others))
    return Family(named[place], _known(within), named[nearest][0], float(others[nearest]))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
