"""Which algorithm the search section of a space means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blendsearch.blending import Clusters
from blendsearch.config import SearchConfig
from blendsearch.errors import BlendsearchError, unknown_name
from blendsearch.evolution.algorithms.base import ALGORITHMS, SearchAlgorithm, Settings, only_one_objective
from blendsearch.evolution.genome import GenomeSpace

SMALL = GenomeSpace(Clusters("network", {"network": ("any",)}, {"network": (("l1", "l2"), ("taylor",))}))


def algorithms_of(backend: str) -> list[type[SearchAlgorithm]]:
    """Return a backend's algorithms by name; UnknownNameError when none is of it."""
    everyone = [ALGORITHMS.get(name) for name in ALGORITHMS.names()]
    own = [algorithm for algorithm in everyone if algorithm.backend == backend]
    if not own:
        raise unknown_name("backend", backend, {algorithm.backend for algorithm in everyone})
    return own


def algorithm_class(search: SearchConfig) -> type[SearchAlgorithm]:
    """Return the algorithm that a search section names, or the one that stands for its backend.

    That is what the section says itself for deap and optuna, for others the first by name that has as many objectives.
    Raises BlendsearchError for unknown names, an algorithm of another backend than the one given, and objectives
    where the backend has no algorithm that knows several.
    """
    if search.chosen is None:
        assert search.backend is not None
        return _first_of(search.backend, search.objectives)
    chosen = ALGORITHMS.get(search.chosen.name)
    if search.backend not in (None, chosen.backend):
        own = ", ".join(algorithm.name for algorithm in algorithms_of(search.backend))
        raise BlendsearchError(
            f"'{chosen.name}' is of backend {chosen.backend}, and backend {search.backend} is given; leave one of them "
            f"out, or name one of {search.backend}'s: {own}"
        )
    return chosen


def _first_of(backend: str, objectives: Sequence[str]) -> type[SearchAlgorithm]:
    fitting = [algorithm for algorithm in algorithms_of(backend) if algorithm.several_objectives or not objectives]
    if not fitting:
        raise only_one_objective(objectives, f"backend '{backend}'")
    return fitting[0]


def make_algorithm(
    search: SearchConfig, space: GenomeSpace, *, seed: int, initial: Sequence[np.ndarray] = ()
) -> SearchAlgorithm:
    """Return the algorithm of a search section, with the settings and options given there.

    Raises BlendsearchError for a window where the algorithm learns from whole generations alone.
    """
    chosen = algorithm_class(search)
    if search.window is not None and not chosen.in_window:
        able = ", ".join(name for name in ALGORITHMS.names() if ALGORITHMS.get(name).in_window)
        raise BlendsearchError(
            f"search.window: {search.window} given, algorithm '{chosen.name}' learns from whole generations; set "
            f"window: null, or name one of {able}"
        )
    options = {} if search.algorithm is None else search.algorithm.options
    return chosen(space, seed=seed, initial=initial, settings=Settings.of(search), **options)


def name_algorithm(search: SearchConfig) -> str:
    """Return whose algorithm a section means, and which ("optuna, tpe"); of one that is not here what it says."""
    try:
        chosen = algorithm_class(search)
    except BlendsearchError:
        return search.chosen.name if search.chosen is not None else str(search.backend)
    return f"{chosen.backend}, {chosen.name}"


def check_algorithm(search: SearchConfig) -> None:
    """Raise BlendsearchError for a search section whose algorithm cannot be made, by making it for a small space."""
    make_algorithm(search, SMALL, seed=0)
