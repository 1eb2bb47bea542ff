"""The sensitiveness of each layer to damage, as a job of its own: nothing is pruned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blendsearch.allocation.sensitivity import Sensitivity
from blendsearch.campaigns.single import opened
from blendsearch.compute import child_seed
from blendsearch.config import Space
from blendsearch.experiment.experiment import Experiment, train_unpruned
from blendsearch.files import atomic
from blendsearch.progress import Progress, silent
from blendsearch.reports.figures import render
from blendsearch.reports.figures.sensitivity import draw_sensitivity
from blendsearch.results.run_folder import RunFolder
from blendsearch.results.versions import versions


def run_sensitivity(
    space: Space, run_dir: Path | None = None, progress: Progress = silent, resume: bool = False
) -> dict[str, Any]:
    """Train (or load) the network, damage its groups one by one, and leave sensitivity.json and a figure.

    The options are those of the space's allocation where it is `sensitivity`, else the defaults. Keys: accuracy
    (undamaged, on the search split), strengths, groups (name, width, drops at each strength, sensitiveness, rank: 1
    for the most sensitive), seed, versions, run_dir.
    """
    with opened(space, run_dir, "sensitivity", progress, resume) as (experiment, folder):
        return _measured(experiment, folder)


def _measured(experiment: Experiment, folder: RunFolder) -> dict[str, Any]:
    space = experiment.space
    train_unpruned(experiment, folder)
    allocation = experiment.allocation if isinstance(experiment.allocation, Sensitivity) else Sensitivity()
    allocation.prepare(
        experiment.network, experiment.structure, experiment.splits.search, compute=experiment.compute,
        seed=child_seed(space.seed, "allocation"), progress=experiment.progress,
    )  # fmt: skip
    record = {
        "accuracy": allocation.accuracy,
        "strengths": list(allocation.strengths),
        "groups": rows(allocation, experiment.structure.widths),
        "seed": space.seed,
        "versions": versions(),
    }
    folder.write_json("sensitivity.json", record)
    with atomic(folder / "figures" / "sensitivity.png") as part:
        part.write_bytes(render(draw_sensitivity, record).png)
    return {**record, "run_dir": folder.path}


def rows(allocation: Sensitivity, widths: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return one row per group in forward order; groups of equal sensitiveness share the better rank."""
    measured = allocation.sensitiveness
    return [
        {
            "name": name,
            "width": width,
            "drops": allocation.drops[name],
            "sensitiveness": measured[name],
            "rank": 1 + sum(other > measured[name] for other in measured.values()),
        }
        for name, width in widths.items()
    ]
