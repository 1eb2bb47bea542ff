"""Steps by which kept counts approach a budget: additions, and exchanges of filters between groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

from blendsearch.allocation.budget import TOLERANCE, Budget
from blendsearch.allocation.limits import Limits
from blendsearch.structure import CostModel

FEW = 12
"""Up to so many groups an exchange may also give up two steps for one: the trials grow with the cube of this."""

Counts = dict[str, int]


@dataclass(frozen=True)
class Moves:
    """Moves under a budget, from allowed counts to allowed counts.

    ideal: the filters meant for each group, above its width for one that comes before others that are full.
    reach: how many steps counts may be off their ideals; None for any. ordered: a group that is meant to keep a
    smaller share than another must not overtake it by a step, nor catch up with it where the shares are a step apart.
    """

    limits: Limits
    budget: Budget
    cost: CostModel
    ideal: Mapping[str, float]
    reach: int | None = None
    ordered: bool = False

    def add(self, counts: Counts, wish: Iterable[str]) -> Counts:
        """Return the counts with one step more for each group of `wish`, in that order, as far as the budget goes."""
        for group in wish:
            more = self.limits.above(group, counts[group])
            if more is not None and self.budget.allows({**counts, group: more}, self.cost):
                trial = {**counts, group: more}
                counts = trial if self._in_order(trial, group) else counts
        return counts

    def add_all(self, counts: Counts) -> Counts:
        """Return the counts with steps added, where most is lacking first, until not one more fits."""
        while (more := self.add(counts, self.shortest_first(counts))) != counts:
            counts = more
        return counts

    def shortest_first(self, counts: Mapping[str, int]) -> list[str]:
        """Return the groups by how much of its filters each lacks of its ideal, the most first."""
        widths = self.cost.widths
        return sorted(widths, key=lambda group: (counts[group] - self._meant(group)) / widths[group])

    def approach(self, counts: Counts) -> Counts:
        """Return the counts after exchanges, each that which comes closest to the budget, until it is nearly met.

        Two steps are given up for one only where no exchange of single ones helps.
        """
        while not self.budget.nearly_met(counts, self.cost):
            better = self._best(counts, 1)
            if better is None and len(counts) <= FEW:
                better = self._best(counts, 2)
            if better is None:
                break
            counts = better
        return counts

    def finer_than_tolerance(self, counts: Mapping[str, int]) -> bool:
        """Tell whether some step up is smaller than the part of the budget that may stay unused."""
        before = self.budget.use(counts, self.cost)
        above = ((group, self.limits.above(group, count)) for group, count in counts.items())
        uses = (self.budget.use({**counts, group: more}, self.cost) for group, more in above if more is not None)
        return any(use - before < TOLERANCE for use in uses)

    def _best(self, counts: Counts, losses: int) -> Counts | None:
        """Return the counts after a step up for `losses` down (or none, for one) that come closest to the budget."""
        best, best_use = None, self.budget.use(counts, self.cost)
        for trial in self._trials(counts, losses):
            if self.budget.allows(trial, self.cost) and (use := self.budget.use(trial, self.cost)) > best_use:
                best, best_use = trial, use
        return best

    def _trials(self, counts: Counts, losses: int) -> Iterator[Counts]:
        for gain in counts:
            more = self.limits.above(gain, counts[gain])
            if more is None or not self._near(gain, more):
                continue
            others = [group for group in counts if group != gain]
            exchanges = combinations_with_replacement(others, losses)
            for lost in [(), *exchanges] if losses == 1 else exchanges:
                trial = self._lowered({**counts, gain: more}, lost)
                if trial is not None and all(self._in_order(trial, group) for group in {gain, *lost}):
                    yield trial

    def _lowered(self, counts: Counts, lost: Iterable[str]) -> Counts | None:
        for group in lost:
            less = self.limits.below(group, counts[group])
            if less is None or not self._near(group, less):
                return None
            counts[group] = less
        return counts

    def _meant(self, group: str) -> float:
        return min(self.ideal[group], self.cost.widths[group])

    def _near(self, group: str, count: int) -> bool:
        return self.reach is None or abs(count - self._meant(group)) <= self.reach * self.limits.step

    def _in_order(self, counts: Counts, group: str) -> bool:
        """Tell whether a group stands where it should among the others, by the shares that they keep."""
        if not self.ordered:
            return True
        widths, step = self.cost.widths, self.limits.step
        share, meant = counts[group] / widths[group], self.ideal[group] / widths[group]
        for other, count in counts.items():
            unit = min(widths[group], widths[other])
            apart = (self.ideal[other] / widths[other] - meant) * unit
            ahead = (count / widths[other] - share) * unit
            if (apart * ahead < 0 and abs(ahead) >= step) or (apart * ahead <= 0 and abs(apart) >= step):
                return False
        return True
