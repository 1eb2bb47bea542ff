"""What an allocation is: how many filters each group keeps under a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from blendsearch.allocation.budget import Budget
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
        floors: Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """Return group -> kept filters, at least `floors` (default: the budget's), within the budget.

        Met within 1 % from below unless single filters are larger steps. Raises BudgetError when impossible.
        """
        floors = dict(floors or budget.floors(structure.widths))
        budget.check_possible(floors, structure.cost)
        return self.counts(structure, scores, budget, floors)

    def counts(
        self, structure: Structure, scores: Mapping[str, Tensor], budget: Budget, floors: Mapping[str, int]
    ) -> dict[str, int]:
        """Return the counts; the budget is known to be possible."""
        raise NotImplementedError

    def plan(
        self,
        structure: Structure,
        scores: Mapping[str, Tensor],
        budget: Budget,
        floors: Mapping[str, int] | None = None,
    ) -> Plan:
        """Return the plan that keeps the highest scores of each group under this allocation."""
        return Plan.top(scores, self.allocate(structure, scores, budget, floors))


ALLOCATIONS: Registry[type[Allocation]] = Registry("allocation", "allocations")


def register_allocation(allocation: type[Allocation]) -> type[Allocation]:
    """Register an allocation class under its `name`; usable as a decorator."""
    return ALLOCATIONS.register(allocation.name)(allocation)
