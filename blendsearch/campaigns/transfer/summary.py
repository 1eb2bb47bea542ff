"""What a transfer came to in a space, put into one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from blendsearch.campaigns.transfer.target import Target
from blendsearch.results.paired import Judge, average, same_filters
from blendsearch.results.records.common import Difference, Number
from blendsearch.results.records.retraining import BLEND, CRITERION, TRANSFERRED, RetrainingOutcome
from blendsearch.results.records.search import Outcome
from blendsearch.results.records.transfer import SpaceRecord


@dataclass(frozen=True)
class Planned:
    """How a contender was to be pruned: its proxy, and the name of what shares out its budget."""

    proxy: Number
    allocation: str | None


@dataclass(frozen=True)
class Retrained:
    """All retrainings in a space, and how each contender was planned, by name."""

    outcomes: Sequence[RetrainingOutcome]
    planned: Mapping[str, Planned]

    def outcome(self, name: str, kind: str) -> Outcome:
        """Return what a contender came to over the seeds."""
        planned = self.planned[name]
        return Outcome(
            **average(self.outcomes, name, kind).model_dump(), proxy=planned.proxy, allocation=planned.allocation
        )

    def difference(self, name: str, kind: str) -> Difference:
        """Return the transferred blend's test accuracy minus another's, paired over seeds and test images."""
        return self.judge.against(name, kind)

    @cached_property
    def judge(self) -> Judge:
        """What holds the transferred blend against the others."""
        return Judge.of_outcomes(self.outcomes, TRANSFERRED)


def summarise_space(target: Target, unpruned: float, retrained: Retrained, names: Sequence[str]) -> SpaceRecord:
    """Return the record of a space; unpruned: test accuracy. names: of its criteria."""
    experiment, space = target.experiment, target.experiment.space
    searched = any(one.kind == BLEND for one in retrained.outcomes)
    criteria = {name: retrained.outcome(name, CRITERION) for name in names}
    differences = {name: retrained.difference(name, CRITERION) for name in names}
    best = max(sorted(criteria), key=lambda name: criteria[name].test_accuracy)
    return SpaceRecord(
        space=space.name,
        network=space.model.name,
        network_arguments=dict(space.model.arguments),
        data=experiment.data_name,
        budget=experiment.budget_record,
        allocation=space.allocation.name,
        schedule=space.schedule.name,
        seeds=space.retraining.seeds,
        rule=target.adapted.rule,
        matched=target.adapted.matched,
        notes=target.notes,
        unpruned=unpruned,
        transferred=retrained.outcome(TRANSFERRED, TRANSFERRED),
        searched=retrained.outcome(BLEND, BLEND) if searched else None,
        criteria=criteria,
        best_criterion=best,
        basis=retrained.judge.basis,
        against_criterion=differences[best],
        against_searched=retrained.difference(BLEND, BLEND) if searched else None,
        differences=differences,
        same_filters=[
            *same_filters(retrained.outcomes, CRITERION, TRANSFERRED),
            *(["the blend searched there"] if same_filters(retrained.outcomes, BLEND, TRANSFERRED) else []),
        ],
    )
