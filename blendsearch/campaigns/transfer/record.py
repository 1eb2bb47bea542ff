"""A space that a blend is applied to, and the record of what it came to there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blendsearch.allocation import Evolved
from blendsearch.blending import AdaptedBlend, Blend
from blendsearch.campaigns.single import SHARES_UNUSED, adapt_to_network
from blendsearch.config import Space
from blendsearch.criteria import CRITERIA, applicable
from blendsearch.errors import BlendsearchError
from blendsearch.experiment.experiment import Experiment, before_training, data_name
from blendsearch.progress import Progress
from blendsearch.results.paired import averages, paired, same_filters, tested
from blendsearch.validation.space import pruning_schedule

JOB = "transfer"
TRANSFERRED = "transferred"
"""Name and kind of the blend from the file, beside the kinds of a campaign."""

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Target:
    """A space that the blend is applied to; added: the blend's criteria that the space does not have itself."""

    experiment: Experiment
    fitted: AdaptedBlend
    added: tuple[str, ...]

    @classmethod
    def opened(cls, space: Space, blend: Blend, progress: Progress) -> Target:
        """Fit the blend to the space's network; BlendsearchError, naming the space, before any work is done."""
        try:
            pruning_schedule(space, JOB)
            experiment = Experiment(space, progress)
            fitted = adapt_to_network(experiment, blend)
            for name, reason in applicable(blend.criteria, experiment.structure, before_training(experiment)).items():
                raise BlendsearchError(f"the blend's criterion '{name}': {reason}")
        except BlendsearchError as error:
            raise type(error)(f"{space.name}: {error}") from None
        own = CRITERIA.names() if space.criteria == "all" else space.criteria
        return cls(experiment, fitted, tuple(name for name in blend.criteria if name not in own))


def record_of(
    target: Target,
    baseline: Mapping[str, Any],
    records: Records,
    planned: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
) -> dict[str, Any]:
    """Return the row of a space; accuracies in [0, 1]. planned: name -> proxy and allocation.

    Keys: space, network, network_arguments, data, budget, allocation, schedule, seeds, rule, matched (layer here ->
    layer there, where these differ), notes, baseline (test accuracy), transferred, searched (None without a search),
    criteria (each, as the two before, with proxy, allocation and averages over the seeds), best_criterion,
    against_criterion, against_searched (difference, interval, verdict), differences (against every criterion),
    same_filters.
    """
    experiment, space = target.experiment, target.experiment.space
    searched = any(record["kind"] == "blend" for record in records)
    criteria = {name: {**planned[name], **averages(records, name, "criterion")} for name in names}
    best = max(sorted(criteria), key=lambda name: criteria[name]["test_accuracy"])
    return {
        "space": space.name,
        "network": space.model.name,
        "network_arguments": dict(space.model.arguments),
        "data": data_name(experiment),
        "budget": {"kind": experiment.budget.kind, "ratio": experiment.budget.ratio},
        "allocation": space.allocation.name,
        "schedule": space.schedule.name,
        "seeds": space.retraining.seeds,
        "rule": target.fitted.rule,
        "matched": target.fitted.matched,
        "notes": notes_of(target),
        "baseline": baseline["test_accuracy"],
        TRANSFERRED: {**planned[TRANSFERRED], **averages(records, TRANSFERRED, TRANSFERRED)},
        "searched": {**planned["blend"], **averages(records, "blend", "blend")} if searched else None,
        "criteria": criteria,
        "best_criterion": best,
        "against_criterion": _against(records, best, "criterion"),
        "against_searched": _against(records, "blend", "blend") if searched else None,
        "differences": {name: _against(records, name, "criterion") for name in names},
        "same_filters": [
            *same_filters(records, "criterion", TRANSFERRED),
            *(["the blend searched there"] if same_filters(records, "blend", TRANSFERRED) else []),
        ],
    }


def _against(records: Records, name: str, kind: str) -> dict[str, Any]:
    """Return the transferred blend's test accuracy minus another's, paired over the seeds."""
    return tested(paired(records, name, kind, TRANSFERRED))


def notes_of(target: Target) -> list[str]:
    """Return what is to be known beside the numbers: criteria scored for the blend alone, shares not used."""
    notes = []
    if target.added:
        names, are = ", ".join(target.added), "is" if len(target.added) == 1 else "are"
        notes.append(f"{names} of the blend {are} not among the space's criteria and scored for the blend alone.")
    if target.fitted.blend.keep and not isinstance(target.experiment.allocation, Evolved):
        notes.append(SHARES_UNUSED)
    return notes
