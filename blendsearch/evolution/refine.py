"""From blends to genomes of another space: refined for finer units, averaged for coarser ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from blendsearch.blending import Blend, with_unit
from blendsearch.errors import BlendsearchError
from blendsearch.evolution.genome import GenomeSpace


@dataclass(frozen=True)
class Dropped:
    """A criterion that a genome had no room for: its unit and factor, and the one of its cluster that stayed."""

    unit: str
    criterion: str
    factor: float
    kept: str


def refine_blend(genomes: GenomeSpace, blend: Blend) -> tuple[np.ndarray, list[Dropped]]:
    """Return the genome that is nearest to a blend, and what had to be left out of it.

    A blend of a coarser unit is given to each finer unit (a stage's blend to its layers); one of a finer unit is
    averaged over the groups. Clusters are other ones in another unit: where two of the blend's criteria share a
    cluster there, the one with the larger factor stays (of equal ones the first in the cluster), since a genome
    holds one a cluster. Weights of groups (keep) travel unchanged. BlendsearchError for criteria in no cluster and
    for groups that the blend does not cover.
    """
    clusters = genomes.clusters
    refined = with_unit(blend, clusters.unit, clusters.groups)
    weights: dict[str, dict[str, float]] = {}
    dropped: list[Dropped] = []
    for unit, factors in refined.weights.items():
        weights[unit] = dict(factors)
        for members in clusters.members[unit]:
            sharing = [name for name in members if factors.get(name, 0.0) > 0]
            kept = max(sharing, key=lambda name: factors[name], default=None)
            for name in sharing:
                if kept is not None and name != kept:
                    dropped.append(Dropped(unit, name, weights[unit].pop(name), kept))
    return genomes.encode(replace(refined, weights=weights)), dropped


def check_known(blend: Blend, criteria: Iterable[str], where: str) -> None:
    """Raise BlendsearchError naming the terms of the blend that are not among the campaign's criteria and blends."""
    known = set(criteria)
    strange = [name for name in blend.terms if name not in known]
    inner = [name for name in strange if name in blend.members]
    if inner:
        raise BlendsearchError(
            f"{where}: the blend has {', '.join(inner)} as a member, not among the campaign's blends; add to blends a "
            "file with that name"
        )
    if strange:
        raise BlendsearchError(
            f"{where}: the blend uses {', '.join(strange)}, not among the campaign's criteria; add to criteria: "
            f"{', '.join(strange)}"
        )


def distinct(genomes: GenomeSpace, several: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Return the first of each set of genomes that decode alike, in order."""
    first: dict[tuple[object, ...], np.ndarray] = {}
    for genome in several:
        first.setdefault(genomes.signature(genome), genome)
    return list(first.values())
