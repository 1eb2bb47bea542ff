"""Jobs of every kind that take seconds, as command lines: what `kill_harness.py` kills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DATA = {"name": "digits", "test": 200, "calibration": 100, "search": 100, "limit": 800}
NETWORK: dict[str, object] = {
    "data": DATA,
    "model": {"name": "conv4", "arguments": {"width": 8}},
    "training": {"epochs": 40, "batch_size": 64, "lr": 0.1},
}
SPACE: dict[str, object] = {
    "name": "killed",
    "seed": 3,
    **NETWORK,
    "criteria": ["l1", "taylor", "random"],
    "budget": {"flops": 0.4},
    "clusters": {"count": 2},
    "blend": {"unit": "layer"},
    "proxy": {"name": "compensated_finetune", "steps": 10},
    "search": {"population": 8, "generations": 3},
    "retraining": {"epochs": 10, "batch_size": 64, "lr": 0.05, "seeds": 2},
    "audit": {"plans": 8, "proxies": ["zero_shot", "compensated", "compensated_finetune"]},
    "curves": {"samples_per_class": [1, 2, 5], "removed": [0.1, 0.3, 0.5], "draws": 12},
    "compute": {"device": "cpu", "workers": 1},
}
BOARD: dict[str, object] = {
    "name": "killed",
    "networks": [{"name": "small", **NETWORK}],
    "criteria": ["l1", "taylor", "random"],
    "budgets": [{"flops": 0.5}, {"flops": 0.3}],
    "retraining": {"epochs": 10, "batch_size": 64, "lr": 0.05, "seeds": 3},
    "compute": {"device": "cpu", "workers": 1},
}
FRONT = ["search.objectives=[flops]", "search.lowest=0.2", "search.front=3", "search.algorithm=nsga2"]
PHASES = ["blend.unit=[network, layer]", "search.choice={candidates: 3}", "search.swaps=6"]
REPR = "schedule={name: repr, cycles: 2, full: 8, sub: 4}"


@dataclass(frozen=True)
class Job:
    """A command line without its folder; `needs`: jobs whose finished folders stand in it as {NAME}.

    folder_option: how the folder is given. resumes: whether it goes on with --resume; else it is run again.
    """

    name: str
    words: Sequence[str]
    needs: Sequence[str] = ()
    folder_option: str = "--run-dir={}"
    resumes: bool = True


JOBS = {
    job.name: job
    for job in (
        Job("search", ["search", "space.yaml"]),
        Job("search-raced", ["search", "space.yaml", "search.racing={first: 50}", "search.algorithm=cma_es"]),
        Job("search-own-shares", ["search", "space.yaml", "allocation=evolved", "search.rivals=[own_shares]"]),
        Job("search-2-workers", ["search", "space.yaml", "compute.workers=2"]),
        Job("search-finals", ["search", "space.yaml", "search.finals={candidates: 4, rungs: [0.3, 1.0]}"]),
        Job("search-front", ["search", "space.yaml", *FRONT]),
        Job("search-phases", ["search", "space.yaml", *PHASES]),
        Job("leaderboard", ["leaderboard", "board.yaml"]),
        Job("leaderboard-2-workers", ["leaderboard", "board.yaml", "compute.workers=2"]),
        Job("audit", ["audit", "space.yaml"]),
        Job("audit-2-workers", ["audit", "space.yaml", "compute.workers=2"]),
        Job("curves", ["curves", "space.yaml", "retraining.epochs=0"]),
        Job("transfer", ["transfer", "{search}/blend.json", "space.yaml", "search.generations=1"], ["search"]),
        Job(
            "compare",
            ["compare", "{search}", "{search-finals}"],
            ["search", "search-finals"],
            folder_option="--page={}/page.html",
            resumes=False,
        ),
        Job("retraining", ["prune", "space.yaml", "--by=taylor", "retraining.epochs=80"]),
        Job(
            "progressive",
            ["prune", "space.yaml", "--by=taylor", "schedule=progressive", "retraining.epochs=80"],
        ),
        Job("repr", ["train", "space.yaml", REPR, "training.epochs=80"]),
    )
}
