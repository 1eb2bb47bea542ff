"""What the records of several jobs have in common."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from blendsearch.plain import State


def _none_unless_finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[int | float | None, BeforeValidator(_none_unless_finite)]
"""A finite number, or None where there is none."""

Bounds = tuple[float, float]
"""Both ends of an interval."""


class _PlanGroup(BaseModel):
    width: Annotated[int, Field(strict=True)]
    keep: Annotated[list[Annotated[int, Field(strict=True)]], Field(min_length=1)]


class _Plan(BaseModel):
    schema_: Literal[1] = Field(alias="schema")
    groups: dict[str, _PlanGroup]


def _checked_plan(given: Any) -> Any:
    """Return a plan as it is where it has the form of one; `Plan` itself looks at what else must hold."""
    _Plan.model_validate(given)
    return given


PlanData = Annotated[dict[str, Any], BeforeValidator(_checked_plan)]
"""A plan as it stands in a file, see `blendsearch.structure.Plan`: group -> its width and the filters that stay."""


class Record(BaseModel):
    """Base of what a job returns, writes into its folder, and reports read; keys of later versions are passed over.

    Where a file's key has another name than the attribute, both are read and the file's is written.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, allow_inf_nan=False)

    def to_dict(self) -> State:
        """Return the record as it stands in its file: plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)


class JobRecord(Record):
    """job.json: which job works in a folder, where it was first started, and what else decides it.

    started_in: None in folders of earlier versions. by, files: of a pruning, its --by and the digests of the files that
    it reads. searches: of a transfer, whether a blend is searched in each space. given: of a search in Python, what its
    network and loaders are known by. mark: of code of nobody that is known, see `blendsearch.results.trust`. code: the
    digest of what builds a network of one's own. functions: name -> digest of the code of what was given in Python,
    such as train_fn. weights: the digest of the file that model.weights names, as the run began.
    """

    job: str
    started_in: str | None = None
    by: str | None = None
    files: dict[str, str] = Field(default_factory=dict)
    searches: bool = True
    given: dict[str, str] | None = None
    mark: str | None = None
    code: str | None = None
    functions: dict[str, str] = Field(default_factory=dict)
    weights: str | None = None


class BudgetRecord(Record):
    """Which cost was limited, and to which share of the unpruned network's."""

    kind: str
    ratio: float


class DataRecord(Record):
    """The data set, its fingerprint, and how many classes and images of each part it has.

    labels: whose labels all but the test part have: "given", or "predicted" by the unpruned network. search_from: the
    part that the search images were taken from. skipped: how many images were left out since they could not be read.
    """

    name: str = "?"
    fingerprint: str | None = None
    classes: int | list[str] | None = None
    train: int | None = None
    calibration: int | None = None
    search: int | None = None
    test: int | None = None
    labels: str = "given"
    search_from: str = "train"
    skipped: int = 0


class UnprunedRecord(Record):
    """The unpruned network: accuracies in [0, 1], cost, steps and seconds of its training, latency in milliseconds."""

    test_accuracy: Number = None
    search_accuracy: Number = None
    flops: Number = None
    params: Number = None
    latency_ms: Number = None
    seconds: Number = None
    steps: Number = None


class TrainedRecord(UnprunedRecord):
    """records/baseline.json: the network once it was trained; what a resumed run needs of it is there."""

    search_accuracy: float
    flops: int
    params: int
    seconds: float


class Averages(Record):
    """A pruned network's averages over the retraining seeds: accuracies and ratios in [0, 1], optimiser steps.

    test_accuracy_std: sample standard deviation over the seeds, None for one. steps: None in records of older versions.
    pruned_test_accuracy: before retraining; None where it is not known for all seeds, see `Retraining`.
    """

    search_accuracy: float
    test_accuracy: float
    flops_ratio: float
    params_ratio: float
    test_accuracy_std: Number = None
    steps: Number = None
    pruned_test_accuracy: Number = None


class Difference(Record):
    """A paired difference of test accuracies (in [0, 1]): mean over the seeds, 95 % interval, what that shows.

    interval: None for one seed, and where nothing varies. verdict: "beats", "worse", "equal" (the whole interval lies
    within half a point), "undecided", "not tested (one seed)" or "not tested (seeds alike)"; "no difference shown", for
    equal and undecided alike, or empty in records of older versions.
    """

    difference: float
    interval: Bounds | None = None
    verdict: str = ""
    sentence: str | None = None


class FidelityRecord(Record):
    """Kendall's tau between proxy and accuracy after retraining, with a 95 % interval over so many candidates."""

    tau: Number = None
    interval: Bounds | None = None
    candidates: int | None = None


class AgreementRecord(Record):
    """Spearman's rho between criteria, for each group and as mean over the groups."""

    criteria: list[str]
    groups: dict[str, list[list[Number]]]
    mean: list[list[Number]]


class LatencyRecord(Record):
    """What a latency budget came to: by the table and measured side by side, against the unpruned network."""

    images: int | None = None
    device: str | None = None
    estimated_ratio: Number = None
    measured_ratio: Number = None
    estimated_ms: Number = None
    measured_ms: Number = None
    unpruned_ms: Number = Field(None, alias="baseline_ms")


Seconds = dict[str, Number]
"""Stage -> its seconds, over all the times that the run was stopped and resumed."""
