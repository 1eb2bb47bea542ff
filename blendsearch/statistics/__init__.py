"""Everything criteria need, gathered in one pass over the calibration data."""

from blendsearch.statistics.accumulators import Accumulator
from blendsearch.statistics.gather import Batches, gather
from blendsearch.statistics.layers import LayerMeasure, Recorder, recorded
from blendsearch.statistics.measures import MEASURES, Measure, accumulated, measure
from blendsearch.statistics.passes import Pass, own_pass
from blendsearch.statistics.ratings import Ratings
from blendsearch.statistics.readers import ReaderGram, ReaderOutputGradient
from blendsearch.statistics.statistics import Norm, Statistics

__all__ = [
    "MEASURES",
    "Accumulator",
    "Batches",
    "LayerMeasure",
    "Measure",
    "Norm",
    "Pass",
    "Ratings",
    "ReaderGram",
    "ReaderOutputGradient",
    "Recorder",
    "Statistics",
    "accumulated",
    "gather",
    "measure",
    "own_pass",
    "recorded",
]
