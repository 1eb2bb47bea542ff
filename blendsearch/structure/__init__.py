"""Groups of coupled filters, slicing and cost."""

from blendsearch.structure.cost import CostModel, measure_latency
from blendsearch.structure.fitting import check_fits
from blendsearch.structure.groups import Group
from blendsearch.structure.latency import LatencyTable, side_by_side
from blendsearch.structure.plan import Plan
from blendsearch.structure.structure import Structure

__all__ = [
    "CostModel",
    "Group",
    "LatencyTable",
    "Plan",
    "Structure",
    "check_fits",
    "measure_latency",
    "side_by_side",
]
