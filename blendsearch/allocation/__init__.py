"""How many filters each group keeps under a budget."""

from blendsearch.allocation import (  # noqa: F401  (registration)
    evolved,
    global_threshold,
    layer_adaptive,
    sensitivity,
    uniform,
)
from blendsearch.allocation.base import ALLOCATIONS, Allocation, register_allocation
from blendsearch.allocation.budget import Budget
from blendsearch.allocation.evolved import Evolved, check_shares, own_allocation, weights_of

__all__ = [
    "ALLOCATIONS",
    "Allocation",
    "Budget",
    "Evolved",
    "check_shares",
    "own_allocation",
    "register_allocation",
    "weights_of",
]
