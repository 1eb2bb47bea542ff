"""Backends that propose genomes: DEAP's algorithms and Optuna's samplers behind the same three calls."""

from blendsearch.search.backends.base import BACKENDS, Backend, Settings, backend_of
from blendsearch.search.backends.evolution import ALGORITHMS, Evolution
from blendsearch.search.backends.sampling import SAMPLERS, Sampling

__all__ = ["ALGORITHMS", "BACKENDS", "SAMPLERS", "Backend", "Evolution", "Sampling", "Settings", "backend_of"]
