"""How many filters each group keeps under a budget."""

from blendsearch.allocation import global_threshold, layer_adaptive, sensitivity, uniform  # noqa: F401  (registration)
from blendsearch.allocation.base import ALLOCATIONS, Allocation, register_allocation
from blendsearch.allocation.budget import KINDS, Budget

__all__ = ["ALLOCATIONS", "KINDS", "Allocation", "Budget", "register_allocation"]
