"""Everything criteria need, gathered in one pass over the calibration data."""

from blendsearch.statistics.gather import Batches, gather
from blendsearch.statistics.measures import MEASURES, Measure, measure
from blendsearch.statistics.statistics import Norm, Statistics

__all__ = ["MEASURES", "Batches", "Measure", "Norm", "Statistics", "gather", "measure"]
