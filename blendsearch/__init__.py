"""Evolutionary search for blended filter-pruning criteria of convolutional networks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from blendsearch.version import __version__

if TYPE_CHECKING:
    from blendsearch import criteria as criteria
    from blendsearch.blending import Blend as Blend
    from blendsearch.campaigns.api import Pruned as Pruned
    from blendsearch.campaigns.api import prune as prune
    from blendsearch.campaigns.api import score as score
    from blendsearch.campaigns.api import search as search
    from blendsearch.campaigns.api import steps as steps
    from blendsearch.campaigns.benchmark import benchmark as benchmark
    from blendsearch.campaigns.export.run import export as export
    from blendsearch.campaigns.leaderboard.run import leaderboard as leaderboard
    from blendsearch.campaigns.scores import Scores as Scores
    from blendsearch.campaigns.transfer.run import transfer as transfer
    from blendsearch.criteria import Criterion as Criterion
    from blendsearch.criteria import register_criterion as register_criterion
    from blendsearch.experiment.loading import load as load
    from blendsearch.structure import Plan as Plan
    from blendsearch.structure import Structure as Structure

# Loaded when first used, so that `blendsearch --help` does not wait for torch.
_HOMES = {
    "Blend": "blendsearch.blending",
    "benchmark": "blendsearch.campaigns.benchmark",
    "Criterion": "blendsearch.criteria",
    "Plan": "blendsearch.structure",
    "Pruned": "blendsearch.campaigns.api",
    "Scores": "blendsearch.campaigns.scores",
    "Structure": "blendsearch.structure",
    "export": "blendsearch.campaigns.export.run",
    "leaderboard": "blendsearch.campaigns.leaderboard.run",
    "load": "blendsearch.experiment.loading",
    "prune": "blendsearch.campaigns.api",
    "register_criterion": "blendsearch.criteria",
    "score": "blendsearch.campaigns.api",
    "search": "blendsearch.campaigns.api",
    "steps": "blendsearch.campaigns.api",
    "transfer": "blendsearch.campaigns.transfer.run",
}

__all__ = ["__version__", "criteria", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "criteria":
        return importlib.import_module("blendsearch.criteria")
    raise AttributeError(f"module 'blendsearch' has no attribute '{name}'")
