"""Search algorithms, DEAP's and Optuna's beside each other."""

from blendsearch.evolution.algorithms import (  # noqa: F401  (registration)
    cma_es,
    generational,
    mu_plus_lambda,
    nsga2,
    sampling,
)
from blendsearch.evolution.algorithms.base import ALGORITHMS, SearchAlgorithm, Settings, register_algorithm
from blendsearch.evolution.algorithms.choice import (
    algorithm_class,
    algorithms_of,
    check_algorithm,
    make_algorithm,
    name_algorithm,
)

__all__ = [
    "ALGORITHMS",
    "SearchAlgorithm",
    "Settings",
    "algorithm_class",
    "algorithms_of",
    "check_algorithm",
    "make_algorithm",
    "name_algorithm",
    "register_algorithm",
]
