"""What a blend's file tells of where it was found, and what came of it there."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from blendsearch.errors import RunError
from blendsearch.plain import State, Unchecked
from blendsearch.results.reading import first_mistake
from blendsearch.results.records.common import Bounds, FidelityRecord, Number, Record


class GroupOrigin(Record):
    """A group of the network that a blend was found on, by which another network's groups are matched."""

    stage: str
    inner: bool
    width: int


class ProxyOrigin(Record):
    """The proxy that a blend was found by, and what it said of the blend."""

    name: str
    value: Number = None


class MeanAndDeviation(Record):
    """A test accuracy over the seeds; no deviation for one seed."""

    mean: float
    sd: Number = None


class BestCriterion(Record):
    """The best criterion of the campaign that found a blend."""

    name: str
    test_accuracy: MeanAndDeviation


class FoundResults(Record):
    """What a blend came to, after retraining, in the campaign that found it."""

    seeds: int | None = None
    unpruned: Number = Field(None, alias="baseline")
    test_accuracy: MeanAndDeviation
    best_criterion: BestCriterion
    difference: Number = None
    interval: Bounds | None = None
    verdict: str


class Provenance(Record):
    """Where a blend was found, as far as its file says; `groups` lets another network take it over.

    budget: kind -> ratio. criteria_code: criterion -> SHA-256 of its class's source, the first 12 digits.
    """

    name: str | None = None
    model: str | None = None
    model_arguments: dict[str, Any] = Field(default_factory=dict)
    data: str | None = None
    data_fingerprint: str | None = None
    groups: dict[str, GroupOrigin] = Field(default_factory=dict)
    budget: dict[str, Annotated[float, Field(strict=True)]] = Field(default_factory=dict)
    allocation: str | None = None
    proxy: ProxyOrigin | None = None
    criteria: list[str] = Field(default_factory=list)
    criteria_code: dict[str, str | None] = Field(default_factory=dict)
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    fidelity: FidelityRecord | None = None
    results: FoundResults | None = None

    def to_dict(self) -> State:
        """Return what is known as it stands in a blend's file."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def read_provenance(file: str, found_on: Unchecked) -> Provenance:
    """Return what a blend's file says of where it was found; RunError for what no page could tell."""
    try:
        return Provenance.model_validate(found_on)
    except ValidationError as error:
        raise RunError(f"{file}: found_on.{first_mistake(error)}; correct it or leave it out") from error
