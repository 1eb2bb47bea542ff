"""Backends that propose genomes: DEAP's algorithms and Optuna's samplers behind the same three calls."""

from blendsearch.evolution.algorithms.base import BACKENDS, Backend, Settings, backend_of
from blendsearch.evolution.algorithms.evolution import ALGORITHMS, Evolution
from blendsearch.evolution.algorithms.sampling import SAMPLERS, Sampling

__all__ = ["ALGORITHMS", "BACKENDS", "SAMPLERS", "Backend", "Evolution", "Sampling", "Settings", "backend_of"]
