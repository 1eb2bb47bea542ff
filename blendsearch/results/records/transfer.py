"""The records of a transfer, from one space to transfer.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_serializer

from blendsearch.results.records.common import BudgetRecord, Difference, Record
from blendsearch.results.records.provenance import Provenance
from blendsearch.results.records.search import Outcome

SUMMARY = "transfer.json"


class SpaceRecord(Record):
    """What a transfer came to in one space: means over the seeds, accuracies and ratios in [0, 1].

    rule: by which the blend was adapted. matched: layer here -> layer there, where these differ. unpruned: test
    accuracy. searched, against_searched: None without a search. Differences are the transferred blend minus the other,
    with intervals from what `basis` says in words. same_filters: what keeps exactly its filters.
    """

    space: str
    network: str
    network_arguments: dict[str, Any] = Field(default_factory=dict)
    data: str
    budget: BudgetRecord
    allocation: str
    schedule: str
    seeds: int
    rule: str
    matched: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    unpruned: float = Field(alias="baseline")
    transferred: Outcome
    searched: Outcome | None = None
    criteria: dict[str, Outcome]
    best_criterion: str
    basis: str | None = None
    against_criterion: Difference
    against_searched: Difference | None = None
    differences: dict[str, Difference]
    same_filters: list[str] = Field(default_factory=list)

    @property
    def ranked(self) -> list[str]:
        """The criteria, highest mean test accuracy first."""
        return sorted(self.criteria, key=lambda name: (-self.criteria[name].test_accuracy, name))

    def label_of(self, criterion: str) -> str:
        """Return a criterion's name, with its allocation in brackets where it is known and not that of the space."""
        allocation = self.criteria[criterion].allocation
        return criterion if allocation in (None, self.allocation) else f"{criterion} ({allocation})"

    @property
    def twins(self) -> list[str]:
        """A sentence on what keeps the same filters as the transferred blend, or nothing."""
        same = self.same_filters
        return [f"The transferred blend keeps the same filters as {' and '.join(same)}."] if same else []


class BlendRecord(Record):
    """The blend that was transferred: its file as it was given, or that in the folder of the transfer; its origin."""

    file: str
    criteria: list[str]
    unit: str
    found_on: Provenance = Provenance()

    @field_serializer("found_on")
    def _as_in_its_file(self, found_on: Provenance) -> dict[str, Any]:
        return found_on.to_dict()


class TransferSummary(Record):
    """transfer.json; searches: whether a blend was searched in each space too."""

    job: Literal["transfer"] = "transfer"
    blend: BlendRecord
    searches: bool
    spaces: list[SpaceRecord] = Field(min_length=1)
    versions: dict[str, str] = Field(default_factory=dict)
