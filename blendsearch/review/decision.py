"""What a finished campaign decided: which filters its blend kept, and how each criterion with a say voted."""

from __future__ import annotations

from dataclasses import dataclass

from blendsearch.blending import Blend
from blendsearch.blending.ranks import Scores
from blendsearch.structure import Plan


@dataclass(frozen=True)
class Vote:
    """One criterion's say in a group: its share, of 1 in all, and the filters that it would keep by itself."""

    name: str
    share: float
    keeps: frozenset[int]


@dataclass(frozen=True)
class Decision:
    """A blend and the plan that came of it.

    A criterion votes to keep a filter when it would keep it by itself: when the filter is among the best of the
    group by its scores, as many as the plan keeps there. The drop loss votes as an elimination without criteria would.
    """

    blend: Blend
    plan: Plan

    def kept(self, group: str) -> set[int]:
        """Return the filters of a group that stayed."""
        return set(self.plan.keep[group])

    def factors(self, group: str) -> dict[str, float]:
        """Return the criteria with a say in a group and their shares of it, which sum up to 1, the largest first.

        The drop loss is among them where the group's unit has an exponent, which is its factor.
        """
        weights = self.blend.says(group)
        total = sum(weights.values())
        return {name: weights[name] / total for name in sorted(weights, key=lambda name: -weights[name])}

    def votes(self, group: str, ranks: Scores) -> list[Vote]:
        """Return the vote of each criterion with a say, the largest share first."""
        count = len(self.plan.keep[group])
        return [
            Vote(name, share, frozenset(Plan.top({group: ranks[name][group]}, {group: count}).keep[group]))
            for name, share in self.factors(group).items()
        ]
