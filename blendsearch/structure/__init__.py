"""Groups of coupled filters, slicing and cost."""

from blendsearch.structure.cost import CostModel, measure_latency
from blendsearch.structure.groups import Group
from blendsearch.structure.latency import LatencyTable, side_by_side
from blendsearch.structure.leaving import check_fits, check_modules, read_structure
from blendsearch.structure.plan import Plan
from blendsearch.structure.structure import Structure

__all__ = [
    "CostModel",
    "Group",
    "LatencyTable",
    "Plan",
    "Structure",
    "check_fits",
    "check_modules",
    "measure_latency",
    "read_structure",
    "side_by_side",
]
