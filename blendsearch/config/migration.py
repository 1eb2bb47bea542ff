"""Spaces in run folders of earlier versions, read as today's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blendsearch.config.reading import space_from_dict
from blendsearch.config.space import Space
from blendsearch.plain import Unchecked


def migrate_space(space: Unchecked) -> dict[str, Any]:
    """Return a space as an earlier version wrote it into space.json, with today's keys; today's stays as it is.

    Rungs before the deciding proxy are gone from the search. A space that had some keeps them, and is refused for it
    when it is read; where there were none, nothing is said of them.
    """
    search = space.get("search")
    if not isinstance(search, Mapping):
        return dict(space)
    migrated = {("random_search" if key == "control" else key): value for key, value in search.items()}
    if "sampler" in migrated:  # written beside algorithm, whichever of the two counted
        sampler, backend = migrated.pop("sampler"), migrated.get("backend", "deap")
        if backend != "deap":
            migrated["algorithm"] = sampler if backend == "optuna" else None
    if not migrated.get("rungs"):
        migrated.pop("rungs", None)
        migrated.pop("pruner", None)
    return {"compensation": None, **space, "search": migrated}  # of a time before there was any, it had none


def space_of_run(data: Unchecked) -> Space:
    """Return the space of a run folder with the algorithm named that its search means; ConfigError when it is none."""
    space = space_from_dict(migrate_space(data))
    chosen = space.search.chosen
    if chosen is None:
        return space
    search = space.search.model_copy(update={"backend": None, "algorithm": chosen})
    return space.model_copy(update={"search": search})
