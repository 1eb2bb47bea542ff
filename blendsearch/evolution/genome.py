"""Genomes: points of the unit cube that stand for blends over given clusters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from blendsearch.blending.blend import NETWORK, Blend
from blendsearch.blending.clusters import Clusters
from blendsearch.errors import BlendsearchError

OCTAVES = 2.0
"""A group's weight lies between 2 ** -OCTAVES and 2 ** OCTAVES: at most sixteen times another's."""

KEPT_SPREAD = 0.12
"""Standard deviation of a random group's weight gene: about half an octave."""

BUDGET = "budget"
"""Name of the gene that stands for the budget."""


@dataclass(frozen=True)
class ClusterGenes:
    """The two genes of one cluster of one unit: which member is chosen, and its calibration factor."""

    unit: str
    index: int
    members: tuple[str, ...]

    def choose(self, gene: float) -> int:
        """Return the member a gene in [0, 1] stands for; all members have equal shares of the interval."""
        return min(int(gene * len(self.members)), len(self.members) - 1)

    def gene(self, member: int) -> float:
        """Return the middle of a member's share."""
        return (member + 0.5) / len(self.members)


class GenomeSpace:
    """The blends over some clusters as vectors in [0, 1]^size, a member and a factor gene for each cluster.

    cluster_genes: of the clusters of all units, in order; genes 2i and 2i + 1 are the member and the factor of the ith.
    A unit whose factors are all 0 would order nothing; it stands for equal factors of 1.
    kept: groups whose weights are searched too (allocation "evolved"); their genes follow those of the clusters, 0.5
    for a weight of 1 and logarithmic to both sides, so that a gene's step is a ratio.
    set_aware: whether each unit has an exponent too, its own gene; these follow those of the clusters. A unit with an
    exponent whose factors are all 0 goes by the losses alone.
    ratios: the lowest and the highest budget, where that is searched too; its gene is the last, called "budget".
    """

    def __init__(
        self,
        clusters: Clusters,
        kept: Sequence[str] = (),
        ratios: tuple[float, float] | None = None,
        *,
        set_aware: bool = False,
    ) -> None:
        self.clusters = clusters
        self.cluster_genes = tuple(
            ClusterGenes(unit, index, members)
            for unit, parts in clusters.members.items()
            for index, members in enumerate(parts)
        )
        empty = [unit for unit, parts in clusters.members.items() if not parts or not all(parts)]
        if empty or not self.cluster_genes:
            names = ", ".join(empty) or "any unit"
            raise BlendsearchError(f"genome space: no criteria to choose from in {names}")
        self.kept, self.set_aware = tuple(kept), set_aware
        self.factor_size = 2 * len(self.cluster_genes)
        self.blend_size = self.factor_size + (len(clusters.members) if set_aware else 0)
        self.alpha_genes = slice(self.factor_size, self.blend_size)
        self.kept_genes = slice(self.blend_size, self.blend_size + len(self.kept))
        self.ratios = ratios
        self.size = self.kept_genes.stop + (ratios is not None)
        self.names = [
            f"{own.unit}/cluster{own.index}/{gene}" for own in self.cluster_genes for gene in ("member", "factor")
        ]
        self.names += [f"{unit}/alpha" for unit in clusters.members] if set_aware else []
        self.names += [f"{group}/keep" for group in self.kept]
        self.names += [BUDGET] if ratios is not None else []
        self.units = {
            unit: tuple(number for number, own in enumerate(self.cluster_genes) if own.unit == unit)
            for unit in clusters.members
        }

    def check(self, genome: np.ndarray) -> np.ndarray:
        """Return a float64 copy of a genome; BlendsearchError for another length or genes outside [0, 1]."""
        # Adding zero turns a negative zero into zero, so that equal genomes have equal bytes.
        copy = np.array(genome, dtype=np.float64) + 0.0
        if copy.shape != (self.size,):
            raise BlendsearchError(f"genome: shape {list(copy.shape)} given, [{self.size}] expected")
        if not ((copy >= 0) & (copy <= 1)).all():
            raise BlendsearchError("genome: genes outside [0, 1] given")
        return copy

    def decode(self, genome: np.ndarray) -> Blend:
        """Return the blend of a genome; members with a factor of 0 are left out of it."""
        weights: dict[str, dict[str, float]] = {unit: {} for unit in self.units}
        for own, (member, factor) in zip(self.cluster_genes, self._choices(genome), strict=True):
            if factor > 0:
                weights[own.unit][own.members[member]] = factor
        genes = self.check(genome)[self.kept_genes].tolist()
        keep = {group: 2.0 ** (OCTAVES * (2 * gene - 1)) for group, gene in zip(self.kept, genes, strict=True)}
        alpha = {unit: exponent for unit, exponent in self._exponents(genome).items() if exponent > 0}
        return Blend(self.clusters.unit, weights, dict(self.clusters.groups), keep=keep, alpha=alpha)

    def ratio(self, genome: np.ndarray) -> float | None:
        """Return the budget of a genome, a kept share; None where budgets are not searched."""
        if self.ratios is None:
            return None
        gene = float(self.check(genome)[-1])
        return self.ratios[0] * (1 - gene) + self.ratios[1] * gene

    def at_highest(self, genome: np.ndarray) -> np.ndarray:
        """Return the genome of the same blend at the highest of the budgets that are searched."""
        copy = self.check(genome)
        if self.ratios is not None:
            copy[-1] = 1.0
        return copy

    def params(self, genome: np.ndarray) -> dict[str, float]:
        """Return gene name -> value, as the ledger records it."""
        return dict(zip(self.names, self.check(genome).tolist(), strict=True))

    def signature(self, genome: np.ndarray) -> tuple[object, ...]:
        """Return what tells genomes apart: members, factors, kept weights, budget; equal ones decode alike."""
        chosen = tuple((member if factor > 0 else -1, factor) for member, factor in self._choices(genome))
        return (*chosen, *self.check(genome)[self.factor_size :].tolist())

    def _exponents(self, genome: np.ndarray) -> dict[str, float]:
        genes = self.check(genome)[self.alpha_genes].tolist()
        return dict(zip(self.units, genes, strict=True)) if self.set_aware else {}

    def _choices(self, genome: np.ndarray) -> list[tuple[int, float]]:
        pairs = zip(self.cluster_genes, self.check(genome)[: self.factor_size].reshape(-1, 2).tolist(), strict=True)
        chosen = [(own.choose(member), factor) for own, (member, factor) in pairs]
        exponents = self._exponents(genome)
        for unit, numbers in self.units.items():
            if exponents.get(unit, 0.0) == 0 and all(chosen[number][1] == 0 for number in numbers):
                for number in numbers:
                    chosen[number] = (chosen[number][0], 1.0)
        return chosen

    def encode(self, blend: Blend) -> np.ndarray:
        """Return the genome of a blend; where a factor is above 1, factors and exponents are divided by the greatest.

        A network-level blend is given to every unit; the budget is the highest. Raises BlendsearchError when the
        blend has other units, a criterion that is in no cluster, two criteria of one cluster with factors above 0, or
        exponents where none are searched.
        """
        if blend.set_aware and any(blend.alpha.values()) and not self.set_aware:
            raise BlendsearchError("blend: it is set-aware and this search is not; set blend.set_aware: true")
        genome = np.zeros(self.size)
        genome[0 : self.factor_size : 2] = [own.gene(0) for own in self.cluster_genes]
        for unit, numbers in self.units.items():
            for criterion, factor in self._factors(blend, unit).items():
                number = self._cluster_of(criterion, unit, numbers)
                if genome[2 * number + 1] > 0:
                    members = ", ".join(self.cluster_genes[number].members)
                    raise BlendsearchError(
                        f"blend: unit '{unit}': two criteria of one cluster ({members}), a genome holds one"
                    )
                own = self.cluster_genes[number]
                genome[2 * number] = own.gene(own.members.index(criterion))
                genome[2 * number + 1] = factor
        if self.set_aware:
            name = {unit: NETWORK if blend.unit == NETWORK else unit for unit in self.units}
            genome[self.alpha_genes] = [blend.alpha.get(name[unit], 0.0) for unit in self.units]
        factors = slice(1, self.factor_size, 2)
        greatest = max(1.0, genome[factors].max())
        genome[factors] /= greatest  # a common share of factors and exponents changes no order
        genome[self.alpha_genes] /= greatest
        genome[self.kept_genes] = [self._keep_gene(blend.keep.get(group, 1.0)) for group in self.kept]
        return self.at_highest(genome)

    @staticmethod
    def _keep_gene(weight: float) -> float:
        return min(1.0, max(0.0, 0.5 + math.log2(weight) / (2 * OCTAVES)))

    def _factors(self, blend: Blend, unit: str) -> dict[str, float]:
        name = NETWORK if blend.unit == NETWORK else unit
        if name not in blend.weights:
            raise BlendsearchError(f"blend: no factors for unit '{unit}' (given: {', '.join(blend.weights)})")
        return {criterion: factor for criterion, factor in blend.weights[name].items() if factor > 0}

    def _cluster_of(self, criterion: str, unit: str, numbers: tuple[int, ...]) -> int:
        for number in numbers:
            if criterion in self.cluster_genes[number].members:
                return number
        known = sorted(member for number in numbers for member in self.cluster_genes[number].members)
        raise BlendsearchError(
            f"blend: criterion '{criterion}' is in no cluster of unit '{unit}' (there: {', '.join(known)})"
        )

    def base(self, criterion: str, keep: Mapping[str, float] | None = None) -> np.ndarray:
        """Return the genome that ranks as one criterion: factor 1 for it in every unit, 0 for the rest.

        keep: weights of the groups, where those are searched (default equal).
        """
        return self.encode(replace(Blend.single(criterion), keep=dict(keep or {})))

    def alike(self, tilt: float | None = None) -> Blend:
        """Return the blend in which the first criterion of every cluster has the same factor, in all units.

        tilt: None for factors of 1 without exponents; else what the factors of a unit sum up to, beside an exponent
        of 1. Where that takes factors above 1, they are 1 and the exponent is as much smaller.
        """
        weights, alpha = {}, {}
        for unit, clusters in self.clusters.members.items():
            factor = 1.0 if tilt is None else tilt / len(clusters)
            weights[unit] = {members[0]: min(1.0, factor) for members in clusters}
            if tilt is not None:
                alpha[unit] = 1.0 / max(1.0, factor)
        return Blend(self.clusters.unit, weights, dict(self.clusters.groups), alpha=alpha)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Return a genome drawn evenly from the cube; weights of groups, of which few are of use, near to equal.

        Where exponents are searched, half of the units of a genome have one, evenly drawn; their factors are scaled
        by a common share, since the sum of many would drown the losses.
        """
        genome = rng.random(self.size)
        if self.set_aware:
            for gene, numbers in zip(range(*self.alpha_genes.indices(self.size)), self.units.values(), strict=True):
                if rng.random() < 0.5:
                    genome[gene] = 0.0
                    continue
                share = rng.random() ** 2
                for number in numbers:
                    genome[2 * number + 1] *= share
        genome[self.kept_genes] = np.clip(rng.normal(0.5, KEPT_SPREAD, len(self.kept)), 0, 1)
        return genome
