"""Evolutionary search for blended filter-pruning criteria of convolutional networks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from blendsearch.version import __version__

if TYPE_CHECKING:
    from blendsearch import criteria as criteria
    from blendsearch.blending import Blend as Blend
    from blendsearch.campaigns.interface import Pruned as Pruned
    from blendsearch.campaigns.interface import prune as prune
    from blendsearch.campaigns.interface import score as score
    from blendsearch.campaigns.interface import search as search
    from blendsearch.campaigns.leaderboard import leaderboard as leaderboard
    from blendsearch.campaigns.transfer import transfer as transfer
    from blendsearch.criteria import Criterion as Criterion
    from blendsearch.criteria import register_criterion as register_criterion
    from blendsearch.structure import Plan as Plan

# Loaded when first used, so that `blendsearch --help` does not wait for torch.
_HOMES = {
    "Blend": "blendsearch.blending",
    "Criterion": "blendsearch.criteria",
    "Plan": "blendsearch.structure",
    "Pruned": "blendsearch.campaigns.interface",
    "leaderboard": "blendsearch.campaigns.leaderboard",
    "prune": "blendsearch.campaigns.interface",
    "register_criterion": "blendsearch.criteria",
    "score": "blendsearch.campaigns.interface",
    "transfer": "blendsearch.campaigns.transfer",
}

__all__ = ["__version__", "criteria", "search", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in ("criteria", "search"):  # modules; that of the search can be called
        return importlib.import_module(f"blendsearch.{name}")
    raise AttributeError(f"module 'blendsearch' has no attribute '{name}'")
