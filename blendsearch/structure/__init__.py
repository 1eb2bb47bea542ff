"""Groups of coupled filters, slicing and cost."""

from blendsearch.structure.cost import CostModel, measure_latency
from blendsearch.structure.groups import Group
from blendsearch.structure.plan import Plan
from blendsearch.structure.structure import Structure

__all__ = ["CostModel", "Group", "Plan", "Structure", "measure_latency"]
