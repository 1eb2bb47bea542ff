"""Recipes: settings that a space has for all keys that it does not give itself, for one kind of campaign."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from blendsearch.plain import Unchecked, name_of

POST_TRAINING: dict[str, Any] = {
    "criteria": [
        "l1", "l2", "fpgm", "next_layer", "bn_scale", "activation_std", "apoz", "taylor", "gradient_norm", "fisher",
        "lrp_epsilon_plus", "thinet", "obs", "obs_fisher",
    ],
    "allocation": {"name": "evolved"},
    "clusters": {"count": "each"},
    "blend": {"unit": "network", "set_aware": True},
    "proxy": {"name": "agreement", "images": 1000, "positions": 20_000},
    "search": {
        "algorithm": {"name": "cma_es", "sigma": 0.15},
        "population": 12,
        "generations": 60,
        "limit": {"evaluations": 60},
        "layer_by_layer": 5,
        "reallocation": 40,
        "swaps": 60,
        "random_search": False,
        "rivals": ["mean_of_ranks", "hesso", "elimination", "tilted"],
    },
    "retraining": {"epochs": 0},
}  # fmt: skip
"""Nothing is retrained: shares of the layers and one blend for the network are searched together by CMA-ES, judged by
how closely the refitted network follows the unpruned one; then filters move between layers, and are swapped in them, as
a forecast has it. How it was chosen: runs/reference/post_training_blends."""

PLANS = ("layer_by_layer", "reallocation", "swaps")
"""What a search does to plans that were chosen."""

RECIPES: dict[str, dict[str, Any]] = {"post_training": POST_TRAINING}


def filled(data: Unchecked) -> dict[str, Any]:
    """Return the data of a space with its recipe's settings for what it does not give; as they are without a recipe.

    Sections are filled key by key. One that names something else than the recipe does, with options of its own, and one
    that is null stay as they are; so does the algorithm of a search that names a backend. What means nothing beside
    the keys that are given is left out of the recipe, and its criteria read people's marks where there are some.
    """
    recipe = recipe_of(data)
    if recipe is None:
        return dict(data)
    fitting = _fitting(copy.deepcopy(recipe), data)
    return _over(fitting, data)


def recipe_of(data: Unchecked) -> dict[str, Any] | None:
    """Return the recipe that a space names; None where it names none, or one that there is not."""
    name = data.get("recipe")
    return RECIPES.get(name) if isinstance(name, str) else None


def _fitting(recipe: dict[str, Any], given: Unchecked) -> dict[str, Any]:
    """Return a recipe without what the given keys leave no room for."""
    search, own, blend = recipe["search"], given.get("search"), given.get("blend")
    own = own if isinstance(own, Mapping) else {}
    without: set[str] = set()
    if isinstance(blend, Mapping) and blend.get("set_aware") is False:
        without |= {"layer_by_layer", "elimination", "tilted"}
    if own.get("objectives"):
        without |= {"algorithm", "elimination", *PLANS}
    if own.get("layer_by_layer", 1) is None:
        without.add("elimination")
    if any(name_of(given.get(key)) not in (None, recipe[key]["name"]) for key in ("allocation", "proxy")):
        without.add("reallocation")
    if name_of(given.get("schedule")) not in (None, "one_shot"):
        without |= {"elimination", *PLANS}  # it decides anew
    if own.get("backend") is not None:
        without.add("algorithm")
    recipe["search"] = {key: value for key, value in search.items() if key not in without}
    recipe["search"]["rivals"] = [name for name in search["rivals"] if name not in without]
    if given.get("ratings") is not None:
        recipe["criteria"] = [*recipe["criteria"], "subjective"]
    return recipe


def _over(recipe: dict[str, Any], given: Unchecked) -> dict[str, Any]:
    """Return the recipe with everything that is given in its place."""
    merged = {**recipe, **given}
    for key, settings in recipe.items():
        own = given.get(key)
        if isinstance(settings, dict) and isinstance(own, Mapping):
            other = "name" in settings and own.get("name", settings["name"]) != settings["name"]
            limits = key == "limit"  # exactly one kind
            merged[key] = dict(own) if other or limits else _over(settings, own)
        elif isinstance(settings, dict) and own == settings.get("name") and own is not None:
            merged[key] = settings
    return merged
