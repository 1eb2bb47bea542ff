"""Backends that propose genomes: DEAP's evolution and Optuna's samplers behind the same three calls."""

from blendsearch.search.backends.base import BACKENDS, Backend, Settings
from blendsearch.search.backends.evolution import Evolution
from blendsearch.search.backends.sampling import Sampling

__all__ = ["BACKENDS", "Backend", "Evolution", "Sampling", "Settings"]
