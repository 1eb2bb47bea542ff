"""What a blend's file tells of where it was found: network, data, criteria, budget, and what came of it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blendsearch.blending import Blend
from blendsearch.criteria import CRITERIA
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.records.common import Averages
from blendsearch.results.records.provenance import (
    BestCriterion,
    FoundResults,
    GroupOrigin,
    MeanAndDeviation,
    Provenance,
    ProxyOrigin,
)
from blendsearch.results.records.search import SearchSummary
from blendsearch.results.run_folder import versions


def describe_provenance(experiment: Experiment, proxy: float, criteria: Sequence[str]) -> Provenance:
    """Return what a blend was found on, with what the space's proxy says of it."""
    space = experiment.space
    return Provenance(
        name=space.name,
        model=space.model.name,
        model_arguments=dict(space.model.arguments),
        data=experiment.data_name,
        data_fingerprint=experiment.splits.fingerprint,
        groups={
            group.name: GroupOrigin(stage=group.stage, inner=group.inner, width=group.width)
            for group in experiment.structure.groups
        },
        budget={experiment.budget.kind: experiment.budget.ratio},
        allocation=space.allocation.name,
        proxy=ProxyOrigin(name=space.proxy.name, value=proxy),
        criteria=list(criteria),
        criteria_code={name: _digest(CRITERIA.get(name)) for name in criteria if name in CRITERIA},
        seed=space.seed,
        versions=versions(),
    )


def _digest(kind: type) -> str | None:
    """Return a short hash of a class's source; None where Python does not have it, as for one typed at a prompt."""
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:12]
    except (OSError, TypeError):
        return None


def add_results(path: Path, summary: SearchSummary) -> None:
    """Add to a blend's file what retraining showed: the proxy's fidelity, and the accuracy against the criteria."""
    blend, comparison = Blend.load(path), summary.comparison
    best = comparison.best_criterion
    results = FoundResults(
        seeds=summary.seeds,
        unpruned=summary.unpruned.test_accuracy,
        test_accuracy=_accuracy(summary.blend),
        best_criterion=BestCriterion(name=best, test_accuracy=_accuracy(summary.criteria[best])),
        difference=comparison.difference,
        interval=comparison.interval,
        verdict=comparison.verdict,
    )
    fidelity = summary.fidelity.to_dict() if summary.fidelity else None
    noted = {**blend.found_on, "fidelity": fidelity, "results": results.to_dict()}
    replace(blend, found_on=noted).save(path)


def _accuracy(averages: Averages) -> MeanAndDeviation:
    return MeanAndDeviation(mean=averages.test_accuracy, sd=averages.test_accuracy_std)
