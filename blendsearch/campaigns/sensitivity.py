"""The sensitiveness of each layer to damage, as a job of its own: nothing is pruned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from blendsearch.allocation.sensitivity import Sensitivity
from blendsearch.campaigns.single import JobResult, open_job
from blendsearch.config import Space
from blendsearch.experiment import Experiment
from blendsearch.experiment.unpruned import measure_allocation, train_unpruned
from blendsearch.files import atomic
from blendsearch.progress import Progress, silent
from blendsearch.reports.figures import render
from blendsearch.reports.figures.sensitivity import draw_sensitivity
from blendsearch.results.rank_ranges import RankRanges, rank_ranges
from blendsearch.results.records.single import GroupSensitivity, SensitivityRecord
from blendsearch.results.run_folder import versions
from blendsearch.results.words import plural


def run_sensitivity(
    space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent
) -> JobResult[SensitivityRecord]:
    """Train (or load) the network, damage its groups one by one, and leave sensitivity.json and a figure.

    The options are those of the space's allocation where it is `sensitivity`, else the defaults.
    """
    with open_job(Experiment(space, progress), "sensitivity", run_dir=run_dir, resume=resume) as experiment:
        train_unpruned(experiment)
        allocation = experiment.allocation if isinstance(experiment.allocation, Sensitivity) else Sensitivity()
        measure_allocation(experiment, allocation)
        experiment.progress("intervals", 0, 1)
        ranges = rank_ranges(allocation.lost)
        experiment.progress("intervals", 1, 1)
        images = next(iter(allocation.lost.values())).shape[1]
        record = SensitivityRecord(
            accuracy=allocation.accuracy,
            strengths=list(allocation.strengths),
            groups=rank_groups(allocation, experiment.structure.widths, ranges),
            images=images,
            draws=allocation.draws,
            note=tell_resolution(ranges, images, allocation.draws),
            seed=space.seed,
            versions=versions(),
        )
        experiment.folder.write_record("sensitivity.json", record)
        with atomic(experiment.folder / "figures" / "sensitivity.png") as part:
            part.write_bytes(render(draw_sensitivity, record).png)
        return JobResult(experiment.folder.path, record)


def tell_resolution(ranges: RankRanges, images: int, draws: int) -> str:
    """Return how many pairs of layers can be told apart, and what there is too little of where it is not all."""
    if not ranges.pairs:
        return ""
    seen = f"{plural(images, 'image')} and {plural(draws, 'draw')} of the damage"
    alone = " Of what another draw would do one draw shows nothing (allocation.draws)." if draws == 1 else ""
    if ranges.apart == ranges.pairs:
        return f"{seen} tell all layers apart.{alone}"
    few, keys = ("images", "data.search, allocation.images") if ranges.images_decide else ("draws", "allocation.draws")
    some = f"{seen} tell {ranges.apart} of {plural(ranges.pairs, 'pair')} of layers apart"
    if 2 * ranges.apart < ranges.pairs:
        return f"Too few {few}: {some}; more of them ({keys}) tell more.{alone}"
    return f"{some}; too few {few} for the others ({keys}).{alone}"


def rank_groups(allocation: Sensitivity, widths: Mapping[str, int], ranges: RankRanges) -> list[GroupSensitivity]:
    """Return the groups as measured, in forward order; groups of equal sensitiveness share the better rank."""
    measured = allocation.sensitiveness
    return [
        GroupSensitivity(
            name=name,
            width=width,
            drops=allocation.drops[name],
            sensitiveness=measured[name],
            rank=1 + sum(other > measured[name] for other in measured.values()),
            interval=ranges.intervals[name],
            ranks=ranges.ranges[name],
        )
        for name, width in widths.items()
    ]
