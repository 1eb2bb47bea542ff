"""Spaces of campaigns that take seconds: a small network on few digits, few criteria, a search of few genomes."""

from __future__ import annotations

from blendsearch.validation.space import checked_from_dict

TINY = {
    "name": "tiny",
    "seed": 3,
    "data": {"name": "digits", "test": 200, "calibration": 100, "search": 150, "limit": 400},
    "model": {"name": "conv4", "arguments": {"width": 6}},
    "training": {"epochs": 2, "batch_size": 64, "lr": 0.1},
    "criteria": ["l1", "taylor", "random"],
    "budget": {"flops": 0.3},
    "clusters": {"count": 2},
    "blend": {"unit": "layer"},
    "proxy": {"name": "compensated", "images": 64, "positions": 1000},
    "search": {"population": 6, "generations": 1},
    "retraining": {"epochs": 1, "batch_size": 64, "lr": 0.05},
    "compute": {"device": "cpu", "workers": 1},
}

TINIER = {
    "name": "tiny",
    "seed": 3,
    "data": {"name": "digits", "test": 200, "calibration": 100, "search": 100, "limit": 300},
    "model": {"name": "conv4", "arguments": {"width": 8}},
    "training": {"epochs": 2, "batch_size": 64, "lr": 0.1},
    "criteria": ["l1", "taylor"],
    "budget": {"flops": 0.4},
    "blend": {"unit": "network"},
    "proxy": {"name": "compensated", "images": 64, "positions": 500},
    "search": {"population": 4, "generations": 1, "elite": 1},
    "retraining": {"epochs": 0.5, "batch_size": 64, "lr": 0.05},
    "compute": {"device": "cpu", "workers": 1},
}
"""Of two criteria, for jobs in which searches are not the matter."""


def tiny_space(search=None, **changes):
    """Return TINY with sections put in the place of its own, and keys put into that of the search."""
    return checked_from_dict({**TINY, "search": {**TINY["search"], **(search or {})}, **changes})
