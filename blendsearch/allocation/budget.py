"""A budget: how much may be kept, of which costs, and what its groups keep whatever the budget is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from blendsearch.allocation.bounds import Bound, parse_bounds
from blendsearch.config import BUDGET_KINDS
from blendsearch.errors import BudgetError, quoted
from blendsearch.structure import CostModel

TOLERANCE = 0.01
LADDERS = ("geometric", "linear")


@dataclass(frozen=True)
class Budget:
    """How much of the unpruned network may be kept.

    kind: "flops" (multiply-accumulates), "params", "filters" or "latency" (by a measured table, which the cost
    model must have). ratio: kept share in (0, 1].
    min_keep: share of each group's filters that always stays (at least one filter does).
    also: further kinds with their ratios; all hold at once. round_to: kept counts are multiples of it, or whole
    groups. keep: bounds of the shares of single groups, which come before min_keep. loose: the shares alone are wanted,
    and nothing is exchanged to use up the budget.
    """

    kind: str = "flops"
    ratio: float = 0.5
    min_keep: float = 0.1
    also: tuple[tuple[str, float], ...] = ()
    round_to: int = 1
    keep: tuple[Bound, ...] = ()
    loose: bool = False

    def __post_init__(self) -> None:
        for kind, times in Counter([self.kind, *(kind for kind, _ in self.also)]).items():
            if times > 1:  # which of the two held would not be seen
                raise BudgetError(f"budget: {quoted(kind)} given twice, allowed: each kind once")
        for kind, ratio in self.ratios.items():
            if kind not in BUDGET_KINDS:
                raise BudgetError(f"budget: kind '{kind}' given, allowed: {', '.join(BUDGET_KINDS)}")
            if not 0 < ratio <= 1:
                raise BudgetError(f"budget: {kind} {ratio} given, allowed: more than 0, at most 1")
        if not 0 <= self.min_keep < 1:
            raise BudgetError(f"budget: min_keep {self.min_keep} given, allowed: 0 to below 1")
        if not isinstance(self.round_to, int) or isinstance(self.round_to, bool) or self.round_to < 1:
            raise BudgetError(f"budget: round_to {quoted(self.round_to)} given, allowed: a whole number of at least 1")

    @classmethod
    def parse(cls, given: Mapping[str, Any] | Budget) -> Budget:
        """Read `{"flops": 0.5}`, or several kinds, also as "also", optionally with "min_keep", "round_to" and "keep".

        Raises BudgetError when it is anything else.
        """
        if isinstance(given, Budget):
            return given
        if not isinstance(given, Mapping):
            raise BudgetError(
                f"budget: {quoted(given)} given, allowed: a Budget, or a mapping such as {{'flops': 0.5}}"
            )
        rest = dict(given)
        min_keep, round_to = rest.pop("min_keep", cls.min_keep), rest.pop("round_to", cls.round_to)
        keep = parse_bounds(rest.pop("keep", {}))
        others = rest.pop("also", None) or {}
        if not isinstance(others, Mapping):
            raise BudgetError(f"budget: also {quoted(others)} given, allowed: a mapping such as {{'params': 0.5}}")
        given_ratios = [*rest.items(), *others.items()]
        if not given_ratios:
            raise BudgetError(
                f"budget: {dict(given)} given, allowed: at least one of {', '.join(BUDGET_KINDS)}, such as flops: 0.5"
            )
        (kind, ratio), *also = ((kind, _number(kind, ratio)) for kind, ratio in given_ratios)
        return cls(kind, ratio, _number("min_keep", min_keep), tuple(also), round_to, keep)

    @property
    def ratios(self) -> dict[str, float]:
        """Every kind that is limited, the first one first, and its kept share."""
        return {self.kind: self.ratio, **dict(self.also)}

    def under(self, ratios: Mapping[str, float]) -> Budget:
        """Return the budget with other kept shares (and kinds), the first one first."""
        (kind, ratio), *also = ratios.items()
        return replace(self, kind=kind, ratio=ratio, also=tuple(also))

    @property
    def whole(self) -> Budget:
        """A budget that takes nothing, for plans that fill this one already."""
        return Budget(self.kind, 1.0, self.min_keep)

    def floors(self, widths: Mapping[str, int]) -> dict[str, int]:
        """Return the fewest filters each group keeps by `min_keep`."""
        # Rounded first: 0.07 of 100 filters is 7.000000000000001 in floating point, and 7 in words.
        return {group: max(1, math.ceil(round(self.min_keep * width, 9))) for group, width in widths.items()}

    def check_possible(self, floors: Mapping[str, int], cost: CostModel) -> None:
        """Raise BudgetError when even the floors cost more than the budget."""
        for kind, ratio in self.ratios.items():
            least = cost.ratio(kind, floors)
            if least > ratio:
                possible = math.ceil(least * 1e4) / 1e4  # up, so that the number can be given as it stands
                raise BudgetError(
                    f"budget: {kind} {ratio:g} cannot be met; at least {possible:.4f} of the {kind} stays "
                    f"when every group keeps its minimum ({self._minimum})"
                )

    @property
    def _minimum(self) -> str:
        """What the fewest filters of a group come from, in words."""
        rounded = [f"round_to {self.round_to}"] if self.round_to > 1 else []
        kept = [f"keep '{bound.pattern}' {bound}" for bound in self.keep]
        return ", ".join([f"min_keep {self.min_keep:g}", *rounded, *kept])

    def allows(self, counts: Mapping[str, int], cost: CostModel) -> bool:
        """Tell whether the counts cost no more than the budget, of every kind."""
        return all(cost.ratio(kind, counts) <= ratio for kind, ratio in self.ratios.items())

    def use(self, counts: Mapping[str, int], cost: CostModel) -> float:
        """Return how much of the budget the counts use, of the kind that binds: 1 for all of it."""
        return max(cost.ratio(kind, counts) / ratio for kind, ratio in self.ratios.items())

    def nearly_met(self, counts: Mapping[str, int], cost: CostModel) -> bool:
        """Tell whether the counts, which the budget allows, are within 1 % of it."""
        return any(cost.ratio(kind, counts) >= ratio * (1 - TOLERANCE) for kind, ratio in self.ratios.items())

    def of_rest(self, whole: CostModel, left: Mapping[str, int], rest: CostModel) -> Budget:
        """Return this budget of a whole network as one of what is left of it.

        left: the counts of all groups of the whole. rest: the costs of the network as it is now; groups of which one
        filter is left are no groups there any more, and what they hold of the budget stays.
        """
        ratios = {}
        for kind, ratio in self.ratios.items():
            amount = ratio * whole.measure(kind, whole.widths)
            here = rest.measure(kind, rest.widths)
            settled = whole.measure(kind, left) - here
            ratios[kind] = min(1.0, (amount - settled) / here)
        return self.under(ratios)


def rungs(budget: Budget, steps: int, form: str = "linear") -> list[Budget]:
    """Return the budgets of the steps down to a budget, which is the last one.

    form: "linear" takes the same amount of the unpruned cost in each step, "geometric" the same share of what is left.
    """

    def at(ratio: float, step: int) -> float:
        return 1 - (1 - ratio) * step / steps if form == "linear" else float(ratio ** (step / steps))

    between = [
        budget.under({kind: at(ratio, step) for kind, ratio in budget.ratios.items()}) for step in range(1, steps)
    ]
    return [*between, budget]


def _number(name: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, Real):
        raise BudgetError(f"budget: {name} {quoted(given)} given, allowed: a number")
    return float(given)
