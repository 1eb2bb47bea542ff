"""A made-up leaderboard: as a record for its figures, and as a run folder for its page."""

from __future__ import annotations

import json
from pathlib import Path

from blendsearch.results.records.leaderboard import LeaderboardSummary
from blendsearch.results.runs import BoardRun


def made_up(count, budgets=(0.5, 0.3), test=True):
    """Return a board of so many criteria, the last of them a blend, in the order of their ranks."""
    names = [f"criterion_{place}" for place in range(count - 1)] + ["blend"]
    ranks = [1 + 0.9 * place for place in range(count)]

    def result(place, budget):
        mean = 0.9 - 0.01 * place - 0.1 * (1 - budget)
        return {
            "mean": mean, "interval": (mean - 0.01, mean + 0.01), "values": [mean, mean], "rank": ranks[place],
            "flops_ratio": budget - 0.01, "params_ratio": budget, "retraining_seconds": 1.0, "files": ["a", "b"],
        }  # fmt: skip

    columns = [
        {
            "network": "small", "allocation": "uniform", "budget_kind": "flops", "budget": budget, "min_keep": 0.1,
            "schedule": "one_shot", "unpruned": 0.95,
            "results": {name: result(place, budget) for place, name in enumerate(names)},
        }
        for budget in budgets
    ]  # fmt: skip
    identity = [[float(i == j) if i <= j else -0.2 for j in range(count)] for i in range(count)]
    criteria = [
        {"name": name, "kind": "blend" if name == "blend" else "criterion", "rank": ranks[place], "mean": 0.9,
         "loss": -0.05, "wins": 3, "ties": 1, "losses": 0, "columns": 2, "scoring_seconds": 0.1,
         "retraining_seconds": 1.0}
        for place, name in enumerate(names)
    ]  # fmt: skip
    friedman = {"statistic": 20.0, "p": 0.001, "alpha": 0.05, "critical_difference": 2.0, "cliques": [names[:2]]}
    record = {
        "name": "made_up", "seed": 0, "seeds": 2, "cells": 4 * count, "sentence": "So it is.", "criteria": criteria,
        "ranked": names, "ranks": ranks, "blocks": 4, "test": friedman if test else None, "columns": columns,
        "wins": [[4 * (i < j) for j in range(count)] for i in range(count)],
        "networks": [{"name": "small", "model": "conv4", "file": "f", "baseline": {"test_accuracy": 0.95}}],
        "agreement": {"small": {"criteria": names, "groups": {}, "mean": identity}},
    }  # fmt: skip
    return BoardRun(Path("nowhere"), LeaderboardSummary.model_validate(record), {}, "")


def make_board(folder: Path, count: int) -> Path:
    """Write a board of so many criteria into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "leaderboard.json").write_text(json.dumps(made_up(count).summary.to_dict()))
    (folder / "job.json").write_text(json.dumps({"job": "leaderboard"}))
    (folder / "board.yaml").write_text("name: made_up\nretraining: {epochs: 3}\n")
    return folder
