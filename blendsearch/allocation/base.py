"""What an allocation is: how many filters each group keeps under a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from blendsearch.allocation.budget import Budget
from blendsearch.allocation.filling import within
from blendsearch.allocation.limits import Limits
from blendsearch.compute import Compute
from blendsearch.data.batches import Split
from blendsearch.plain import State
from blendsearch.progress import Progress, silent
from blendsearch.registry import Registry
from blendsearch.structure import Plan, Structure


class Allocation:
    """Says how many filters each group keeps; a criterion or blend says which.

    The options of an allocation are the keyword arguments of its class.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    by_scores: ClassVar[bool] = True
    """Whether the counts depend on the scores; where not, `counts` may be given none."""

    def prepare(
        self,
        network: nn.Module,
        structure: Structure,
        search: Split,
        *,
        compute: Compute,
        seed: int,
        progress: Progress = silent,
    ) -> None:
        """Measure once, on the unpruned network and the search split, what the counts depend on beside the scores."""

    def unmeasured(self, structure: Structure) -> bool:
        """Tell whether `prepare` has yet to be called before counts for this structure can be given."""
        return False

    def state_dict(self) -> State:
        """Return what `prepare` measured, as plain JSON."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Take up what `state_dict` returned, in place of `prepare`."""

    def allocate(
        self,
        structure: Structure,
        scores: Mapping[str, Tensor],
        budget: Budget,
        limits: Limits | Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """Return group -> kept filters, within the limits (default: the budget's; or floors) and the budget.

        Met within 1 % from below unless single filters, or the steps that the limits leave, are larger; upper bounds
        may leave more of it unused. Raises BudgetError when impossible.
        """
        limits = Limits.of(budget, structure) if limits is None else Limits.over(limits, structure.widths)
        floors, cost = limits.floors, structure.cost
        budget.check_possible(floors, cost)
        if limits.only_floors(structure.widths) and not budget.also:
            return self.counts(structure, scores, budget, floors)
        return within(lambda part: dict(self.counts(structure, scores, part, floors)), limits, budget, cost)

    def counts(
        self, structure: Structure, scores: Mapping[str, Tensor], budget: Budget, floors: Mapping[str, int]
    ) -> dict[str, int]:
        """Return the counts of at least `floors`; the budget is of one kind and known to be possible.

        What else limits the counts, `allocate` brings about.
        """
        raise NotImplementedError

    def plan(
        self,
        structure: Structure,
        scores: Mapping[str, Tensor],
        budget: Budget,
        limits: Limits | Mapping[str, int] | None = None,
    ) -> Plan:
        """Return the plan that keeps the highest scores of each group under this allocation."""
        return Plan.top(scores, self.allocate(structure, scores, budget, limits))


def plan_rest(
    allocation: Allocation,
    budget: Budget,
    limits: Limits,
    whole: Structure,
    left: Plan,
    rest: Structure,
    scores: Mapping[str, Tensor],
) -> Plan:
    """Return the plan for what is left of a network, in the indices of that, under a budget of the whole network.

    limits: of the whole network. left: what of it is left. rest: the structure of the network as it is now, and
    scores: its filters' scores. Raises BudgetError when the budget is impossible.
    """
    here = budget if rest is whole else budget.of_rest(whole.cost, left.counts, rest.cost)
    return allocation.plan(rest, scores, here, limits.of_rest(rest.widths))


ALLOCATIONS: Registry[type[Allocation]] = Registry("allocation", "allocations")


def register_allocation(allocation: type[Allocation]) -> type[Allocation]:
    """Register an allocation class under its `name`; usable as a decorator."""
    return ALLOCATIONS.register(allocation.name)(allocation)
