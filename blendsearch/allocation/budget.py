"""A budget, and how kept counts are brought up to it from below."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from blendsearch.config import BUDGET_KINDS
from blendsearch.errors import BudgetError
from blendsearch.structure import CostModel

TOLERANCE = 0.01


@dataclass(frozen=True)
class Budget:
    """How much of the unpruned network may be kept.

    kind: "flops" (multiply-accumulates), "params", "filters" or "latency" (by a measured table, which the cost
    model must have). ratio: kept share in (0, 1].
    min_keep: share of each group's filters that always stays (at least one filter does).
    """

    kind: str = "flops"
    ratio: float = 0.5
    min_keep: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in BUDGET_KINDS:
            raise BudgetError(f"budget: kind '{self.kind}' given, allowed: {', '.join(BUDGET_KINDS)}")
        if not 0 < self.ratio <= 1:
            raise BudgetError(f"budget: {self.kind} {self.ratio} given, allowed: more than 0, at most 1")
        if not 0 <= self.min_keep < 1:
            raise BudgetError(f"budget: min_keep {self.min_keep} given, allowed: 0 to below 1")

    @classmethod
    def parse(cls, given: Mapping[str, float] | Budget) -> Budget:
        """Read `{"flops": 0.5}`, optionally with "min_keep"; raise BudgetError when it is anything else."""
        if isinstance(given, Budget):
            return given
        if not isinstance(given, Mapping):
            raise BudgetError(f"budget: {given!r} given, allowed: a Budget, or a mapping such as {{'flops': 0.5}}")
        rest = dict(given)
        min_keep = rest.pop("min_keep", cls.min_keep)
        if len(rest) != 1:
            raise BudgetError(
                f"budget: {dict(given)} given, allowed: exactly one of {', '.join(BUDGET_KINDS)}, such as flops: 0.5"
            )
        ((kind, ratio),) = rest.items()
        return cls(kind, float(ratio), float(min_keep))

    def floors(self, widths: Mapping[str, int]) -> dict[str, int]:
        """Return the fewest filters each group keeps."""
        # Rounded first: 0.07 of 100 filters is 7.000000000000001 in floating point, and 7 in words.
        return {group: max(1, math.ceil(round(self.min_keep * width, 9))) for group, width in widths.items()}

    def check_possible(self, floors: Mapping[str, int], cost: CostModel) -> None:
        """Raise BudgetError when even the floors cost more than the budget."""
        least = cost.ratio(self.kind, floors)
        if least > self.ratio:
            possible = math.ceil(least * 1e4) / 1e4  # up, so that the number can be given as it stands
            raise BudgetError(
                f"budget: {self.kind} {self.ratio:g} cannot be met; at least {possible:.4f} of the {self.kind} stays "
                f"when every group keeps its minimum (min_keep {self.min_keep:g})"
            )

    def allows(self, counts: Mapping[str, int], cost: CostModel) -> bool:
        """Tell whether the counts cost no more than the budget."""
        return cost.ratio(self.kind, counts) <= self.ratio


def widest(
    shares: Callable[[float], Mapping[str, float]], floors: Mapping[str, int], budget: Budget, cost: CostModel
) -> dict[str, int]:
    """Return the largest counts of a family of kept shares that the budget allows, filled up to it.

    shares: width of the network in [0, 1] -> group -> kept share in [0, 1], not decreasing; 1 keeps everything.
    """
    widths, low, high = cost.widths, 0.0, 1.0

    def at(width: float) -> dict[str, int]:
        return {group: max(floors[group], int(share * widths[group])) for group, share in shares(width).items()}

    if budget.allows(at(1.0), cost):
        return at(1.0)
    for _ in range(40):
        middle = (low + high) / 2
        if budget.allows(at(middle), cost):
            low = middle
        else:
            high = middle
    counts = at(low)
    # Rounding left some groups short of their share; the shortest get theirs first.
    missing = {group: (share * widths[group] - counts[group]) / widths[group] for group, share in shares(high).items()}
    return fill(counts, sorted(widths, key=lambda group: -missing[group]), floors, budget, cost)


def fill(
    counts: Mapping[str, int], wish: Iterable[str], floors: Mapping[str, int], budget: Budget, cost: CostModel
) -> dict[str, int]:
    """Add filters in the order of `wish` as long as they fit, then exchange single filters to come closer still.

    wish: group names, repeated as often as filters could be added, most wanted first. The result stays within
    the budget; it is within 1 % of it unless the network is so small that single filters are larger steps.
    """
    result = dict(counts)
    for group in wish:
        if result[group] < cost.widths[group]:
            result[group] += 1
            if not budget.allows(result, cost):
                result[group] -= 1
    while cost.ratio(budget.kind, result) < budget.ratio * (1 - TOLERANCE):
        better = _best_exchange(result, floors, budget, cost)
        if better is None:
            break
        result = better
    return result


def _best_exchange(
    counts: dict[str, int], floors: Mapping[str, int], budget: Budget, cost: CostModel
) -> dict[str, int] | None:
    """Return the counts after the one-filter addition or exchange that comes closest to the budget from below."""
    best, best_ratio = None, cost.ratio(budget.kind, counts)
    for gain in counts:
        if counts[gain] == cost.widths[gain]:
            continue
        for loss in (None, *counts):
            if loss == gain or (loss is not None and counts[loss] <= floors[loss]):
                continue
            trial = dict(counts)
            trial[gain] += 1
            if loss is not None:
                trial[loss] -= 1
            ratio = cost.ratio(budget.kind, trial)
            if best_ratio < ratio <= budget.ratio:
                best, best_ratio = trial, ratio
    return best
