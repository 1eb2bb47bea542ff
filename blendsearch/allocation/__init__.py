"""How many filters each group keeps under a budget."""

from blendsearch.allocation import (  # noqa: F401  (registration)
    evolved,
    global_threshold,
    layer_adaptive,
    sensitivity,
    uniform,
)
from blendsearch.allocation.base import ALLOCATIONS, Allocation, plan_rest, register_allocation
from blendsearch.allocation.bounds import Bound, parse_bounds
from blendsearch.allocation.budget import LADDERS, Budget, rungs
from blendsearch.allocation.evolved import Evolved, check_shares, own_allocation, weights_of
from blendsearch.allocation.limits import Limits

__all__ = [
    "ALLOCATIONS",
    "LADDERS",
    "Allocation",
    "Bound",
    "Budget",
    "Evolved",
    "Limits",
    "check_shares",
    "rungs",
    "own_allocation",
    "parse_bounds",
    "plan_rest",
    "register_allocation",
    "weights_of",
]
