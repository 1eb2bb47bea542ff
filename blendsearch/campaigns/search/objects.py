"""The space of a campaign whose network and loaders are handed over in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blendsearch.allocation import Budget
from blendsearch.config import BUDGET_KINDS, Space
from blendsearch.errors import ConfigError, quoted
from blendsearch.experiment.given import Given
from blendsearch.models.loading import GIVEN
from blendsearch.validation.space import checked_from_dict

HALF = {"flops": 0.5}
OF_FILES = ("name", "root", "download", "image_size", "mean", "std", "augmentation", "in_memory", "workers")
"""Keys of the section data that are about files; loaders decode, normalise and augment by themselves."""


def space_of_objects(
    given: Given, budget: Mapping[str, Any] | Budget | None, settings: Mapping[str, Any], *, resumed: bool
) -> Space:
    """Return the space that settings make of what was given; ConfigError with every mistake.

    With a retraining of the user's own the space says one epoch, which nobody counts.
    """
    _refuse_sections(settings)
    nothing, own = {"epochs": 0}, {"epochs": 1}
    retraining = settings.get("retraining") or {}
    if given.train_fn is not None and set(retraining) - {"seeds"}:
        other = sorted(set(retraining) - {"seeds"})[0]
        raise ConfigError(f"retraining.{other}: given beside train_fn, which decides that; allowed: seeds")
    data = {
        "name": type(given.network).__name__.lower(),
        **settings,
        "data": {**(settings.get("data") or {}), "name": GIVEN},
        "model": {"name": given.name},
        "training": nothing,
        "budget": _budget(budget),
        "retraining": {**(nothing if given.train_fn is None else own), **retraining},
    }
    return checked_from_dict(data, resumed=resumed)


def refuse_beside_space(names: Sequence[str]) -> None:
    """Raise ConfigError for what was given beside a space, which says it itself."""
    if names:
        raise ConfigError(
            f"{names[0]}: given beside a space, which has it under a key of its own; set that key, or give a model in "
            "place of the space"
        )


def _refuse_sections(settings: Mapping[str, Any]) -> None:
    for key, instead in {"model": "the first argument", "training": "your own training, before"}.items():
        if key in settings:
            raise ConfigError(f"{key}: given beside a model, which is taken as it is; {instead} decides that")
    for key in ("data", "retraining"):
        if not isinstance(settings.get(key), Mapping | None):
            raise ConfigError(f"{key}: {quoted(settings[key])} given, allowed: a mapping of its keys")
    for key in settings.get("data") or ():
        if key in OF_FILES:
            raise ConfigError(f"data.{key}: given beside loaders, which decide that by themselves")


def _budget(budget: object) -> Any:
    if budget is None:
        return HALF
    if not isinstance(budget, Mapping):
        given = type(budget).__name__
        raise ConfigError(f"budget: {given} given, allowed here: a mapping such as {{'flops': 0.5, 'round_to': 8}}")
    found = dict(budget)
    also = found.get("also") or {}
    further = [kind for kind in found if kind in BUDGET_KINDS][1:]
    if further and isinstance(also, Mapping):  # as `prune` takes them; one that stands twice is left to be told
        found["also"] = {kind: found.pop(kind) for kind in further if kind not in also} | dict(also)
    return found
