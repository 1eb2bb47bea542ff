"""How many filters each group keeps, searched together with the blend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from blendsearch.allocation.base import ALLOCATIONS, Allocation, register_allocation
from blendsearch.allocation.budget import Budget
from blendsearch.allocation.filling import widest
from blendsearch.errors import BlendsearchError, ConfigError, unknown_name
from blendsearch.plain import State
from blendsearch.structure import Structure


@register_allocation
class Evolved(Allocation):
    """Keeps of each group in proportion to weights that a search finds together with the blend.

    start: allocations from which the search starts, each under every criterion; a criterion is compared with the
    blend under the one of these that suits it best. The budget is met by construction: the weights say which
    groups keep more than others, and a common scale what all keep. Without weights all groups keep equal shares.
    """

    name = "evolved"
    source = "Chin et al., LeGR, CVPR 2020 (evolving how layers share the budget); He et al., 2021 (the blend)"
    by_scores = False

    def __init__(self, start: Sequence[str] = ("uniform", "global_threshold")) -> None:
        others = [name for name in ALLOCATIONS.names() if name != self.name]
        unknown = [name for name in start if name not in others]
        if unknown:
            raise unknown_name("allocation", unknown[0], others, "allocation.start")
        if not start:
            raise ConfigError(f"allocation.start: [] given, at least one of {', '.join(others)} expected")
        self.start = {name: ALLOCATIONS.get(name)() for name in start}
        self.wish: dict[str, float] = {}

    def prepare(self, *given: Any, **named: Any) -> None:
        for allocation in self.start.values():
            allocation.prepare(*given, **named)

    def unmeasured(self, structure: Structure) -> bool:
        return any(allocation.unmeasured(structure) for allocation in self.start.values())

    def state_dict(self) -> State:
        return {name: allocation.state_dict() for name, allocation in self.start.items()}

    def load_state_dict(self, state: State) -> None:
        for name, allocation in self.start.items():
            allocation.load_state_dict(state[name])

    def of(self, keep: Mapping[str, float], structure: Structure) -> Evolved:
        """Return this allocation with the weights of a blend (group -> weight > 0) for an unpruned structure."""
        missing = [group for group in structure.widths if group not in keep]
        if missing:
            raise BlendsearchError(
                f"allocation 'evolved': the blend has no weight for group '{missing[0]}' (it was found on a network "
                f"with {', '.join(keep)}); choose another allocation"
            )
        own = Evolved(list(self.start))
        own.wish = {group: keep[group] * width for group, width in structure.widths.items()}
        return own

    def counts(
        self, structure: Structure, scores: Mapping[str, Tensor], budget: Budget, floors: Mapping[str, int]
    ) -> dict[str, int]:
        # The wish counts filters of the unpruned network, so that pruning in steps ends with the same shares.
        weights = {group: self.wish.get(group, float(width)) / width for group, width in structure.widths.items()}
        least = min(weights.values())

        def shares(width: float) -> dict[str, float]:
            return {group: width * weight / least for group, weight in weights.items()}

        return widest(shares, floors, budget, structure.cost)


def own_allocation(allocation: Allocation, keep: Mapping[str, float], structure: Structure) -> Allocation:
    """Return what shares out the budget of a blend with the weights `keep`: these, where the allocation is evolved."""
    return allocation.of(keep, structure) if keep and isinstance(allocation, Evolved) else allocation


def check_shares(allocation: Allocation, keep: Mapping[str, float]) -> None:
    """Raise ConfigError where an evolved allocation has no shares to go by: its own, or those of a blend."""
    if isinstance(allocation, Evolved) and not (keep or allocation.wish):
        raise ConfigError(
            "allocation: 'evolved' takes the layers' shares from a blend's file, and a criterion or a blend without "
            f"'keep' has none; choose another allocation (such as {', '.join(allocation.start)})"
        )


def weights_of(counts: Mapping[str, int], widths: Mapping[str, int]) -> dict[str, float]:
    """Return the weights that stand for given counts: kept shares over their geometric mean."""
    shares = {group: counts[group] / width for group, width in widths.items()}
    mean = math.exp(sum(math.log(share) for share in shares.values()) / len(shares))
    return {group: share / mean for group, share in shares.items()}
