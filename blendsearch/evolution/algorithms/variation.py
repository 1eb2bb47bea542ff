"""Crossover and mutation of genomes, for DEAP's toolbox; like DEAP's own they draw from Python's `random`."""

from __future__ import annotations

import random
from collections.abc import Iterable, MutableSequence

from deap import tools

from blendsearch.evolution.genome import GenomeSpace

Genes = MutableSequence[float]

STEP = 0.2
"""Standard deviation of a factor's step."""

KEPT_STEP = 0.1
"""Standard deviation of the step of a group's weight: about 0.4 octaves, a third more or less."""

ALPHA_STEP = 0.25
"""Standard deviation of an exponent's step."""

ALL_AT_ONCE = 0.3
"""Share of the mutations of exponents that set all of them."""

BUDGET_STEP = 0.15
"""Standard deviation of the budget's step, as a share of its range."""


def cross(first: Genes, second: Genes, *, space: GenomeSpace) -> tuple[Genes, Genes]:
    """Exchange parts of two genomes in place: whole units or single clusters, then mix factors they share.

    A cluster's member and factor travel together, for a factor means nothing without the criterion it weighs; a
    unit's exponent goes with the whole unit.
    """
    parts: Iterable[tuple[tuple[int, ...], int | None]]
    parts = (((number,), None) for number in range(len(space.cluster_genes)))
    if len(space.units) > 1 and random.random() < 0.5:
        parts = zip(space.units.values(), _exponents(space), strict=True)
    for numbers, exponent in parts:
        if random.random() < 0.5:
            _swap(first, second, numbers)
            if exponent is not None:
                first[exponent], second[exponent] = second[exponent], first[exponent]
    _mix_factors(first, second, space)
    _mix_exponents(first, second, space)
    _mix_kept(first, second, space)
    _mix_budgets(first, second, space)
    return first, second


def _swap(first: Genes, second: Genes, numbers: tuple[int, ...]) -> None:
    for number in numbers:
        genes = slice(2 * number, 2 * number + 2)
        first[genes], second[genes] = second[genes], first[genes]


def _mix_factors(first: Genes, second: Genes, space: GenomeSpace) -> None:
    """Apply blend crossover (Eshelman and Schaffer, 1993) to the factors of clusters with the same member."""
    for number, own in enumerate(space.cluster_genes):
        member, factor = 2 * number, 2 * number + 1
        if own.choose(first[member]) == own.choose(second[member]) and random.random() < 0.5:
            (low,), (high,) = tools.cxBlend([first[factor]], [second[factor]], alpha=0.25)
            first[factor], second[factor] = _bounded(low), _bounded(high)


def _exponents(space: GenomeSpace) -> list[int] | list[None]:
    """Return the place of each unit's exponent; None for each where there are none."""
    return list(range(*space.alpha_genes.indices(space.size))) if space.set_aware else [None] * len(space.units)


def _mix_exponents(first: Genes, second: Genes, space: GenomeSpace) -> None:
    """Apply blend crossover to about half of the exponents."""
    for place in _exponents(space):
        if place is not None and random.random() < 0.5:
            (low,), (high,) = tools.cxBlend([first[place]], [second[place]], alpha=0.25)
            first[place], second[place] = _bounded(low), _bounded(high)


def _mix_kept(first: Genes, second: Genes, space: GenomeSpace) -> None:
    """Mix the groups' weights of both, or leave each its own: shares of layers belong together."""
    if space.kept and random.random() < 0.5:
        genes = space.kept_genes
        mixed = tools.cxBlend(list(first[genes]), list(second[genes]), alpha=0.25)
        first[genes], second[genes] = ([_bounded(gene) for gene in part] for part in mixed)


def _mix_budgets(first: Genes, second: Genes, space: GenomeSpace) -> None:
    """Exchange the budgets of both or draw them from between and around the two, each in half of the cases."""
    if space.ratios is None:
        return
    if random.random() < 0.5:
        first[-1], second[-1] = second[-1], first[-1]
    else:
        (low,), (high,) = tools.cxBlend([first[-1]], [second[-1]], alpha=0.25)
        first[-1], second[-1] = _bounded(low), _bounded(high)


def mutate(genome: Genes, *, space: GenomeSpace) -> tuple[Genes]:
    """Change a genome in place: about one cluster or, where they are searched, one group's weight; at least one.

    Where budgets are searched, the budget in a third of the cases, and then nothing else. Where exponents are, one of
    them in a third of the cases that are left to clusters.
    """
    if space.ratios is not None and random.random() < 1 / 3:
        genome[-1] = _bounded(genome[-1] + random.gauss(0.0, BUDGET_STEP))
        return (genome,)
    if space.kept and random.random() < 0.5:
        return _mutate_kept(genome, space)
    if space.set_aware and random.random() < 1 / 3:
        return _mutate_exponent(genome, space)
    count = len(space.cluster_genes)
    numbers = [number for number in range(count) if random.random() < 1 / count]
    for number in numbers or [random.randrange(count)]:
        random.choice((_step, _step, _reset, _redraw))(genome, number, space)
    return (genome,)


def _mutate_exponent(genome: Genes, space: GenomeSpace) -> tuple[Genes]:
    """Move about one unit's exponent by a Gaussian step or to 0 or 1, whichever it is not; or set all of them to 1.

    All at once, and the factors halved: so a good blend without exponents comes to its set-aware kin in one step.
    """
    places = range(*space.alpha_genes.indices(space.size))
    if random.random() < ALL_AT_ONCE:
        for place in places:
            genome[place] = 1.0
        for number in range(len(space.cluster_genes)):
            genome[2 * number + 1] /= 2
        return (genome,)
    chosen = [place for place in places if random.random() < 1 / len(places)] or [random.choice(places)]
    for place in chosen:
        ends = [end for end in (0.0, 1.0) if end != genome[place]]
        stepped = _bounded(genome[place] + random.gauss(0.0, ALPHA_STEP))
        genome[place] = random.choice((stepped, random.choice(ends)))
    return (genome,)


def _mutate_kept(genome: Genes, space: GenomeSpace) -> tuple[Genes]:
    """Move the weights of about two groups by Gaussian steps: one gains what another gives."""
    places = range(space.kept_genes.start, space.kept_genes.stop)
    chosen = [place for place in places if random.random() < 2 / len(places)] or [random.choice(places)]
    for place in chosen:
        genome[place] = _bounded(genome[place] + random.gauss(0.0, KEPT_STEP))
    return (genome,)


def _step(genome: Genes, number: int, space: GenomeSpace) -> None:
    """Move the factor by a Gaussian step, stopped at 0 and 1."""
    factor = 2 * number + 1
    genome[factor] = _bounded(genome[factor] + random.gauss(0.0, STEP))


def _reset(genome: Genes, number: int, space: GenomeSpace) -> None:
    """Set the factor to 0 or 1, whichever it is not, so that sparse blends are within reach."""
    factor = 2 * number + 1
    genome[factor] = random.choice([end for end in (0.0, 1.0) if end != genome[factor]])


def _redraw(genome: Genes, number: int, space: GenomeSpace) -> None:
    """Choose another member; a cluster of one can only change its factor."""
    own = space.cluster_genes[number]
    others = [member for member in range(len(own.members)) if member != own.choose(genome[2 * number])]
    if others:
        genome[2 * number] = own.gene(random.choice(others))
    else:
        _step(genome, number, space)


def _bounded(value: float) -> float:
    return min(max(value, 0.0), 1.0)
