"""What the folder of a transfer says, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from blendsearch.errors import RunError
from blendsearch.results.records.search import Budget, Number, first_mistake, parse, read_text, read_yaml

SUMMARY = "transfer.json"


class Reached(BaseModel):
    """What a network came to, means over the seeds: accuracies and ratios in [0, 1]; no deviation for one seed.

    allocation: how its budget was shared out; None in a record of an older version.
    """

    proxy: Number = None
    allocation: str | None = None
    test_accuracy: float
    test_accuracy_std: Number = None
    flops_ratio: Number = None
    params_ratio: Number = None


class Against(BaseModel):
    """The transferred blend's test accuracy minus another's, paired over the seeds; no interval for one seed."""

    difference: float
    interval: tuple[float, float] | None = None
    verdict: str


class SpaceRecord(BaseModel):
    """What the transfer came to in one space; matched: layer here -> layer there, where these differ."""

    space: str
    network: str
    network_arguments: dict[str, Any] = Field(default_factory=dict)
    data: str
    budget: Budget
    allocation: str
    schedule: str
    seeds: int
    rule: str
    matched: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    baseline: float
    transferred: Reached
    searched: Reached | None = None
    criteria: dict[str, Reached]
    best_criterion: str
    against_criterion: Against
    against_searched: Against | None = None
    differences: dict[str, Against]
    same_filters: list[str] = Field(default_factory=list)

    @property
    def ranked(self) -> list[str]:
        """The criteria, highest mean test accuracy first."""
        return sorted(self.criteria, key=lambda name: (-self.criteria[name].test_accuracy, name))


class Mean(BaseModel):
    """A mean over seeds."""

    mean: float


class FoundBest(BaseModel):
    """The best criterion of the campaign that found a blend."""

    name: str
    test_accuracy: Mean


class FoundResults(BaseModel):
    """What a blend came to in the campaign that found it."""

    test_accuracy: Mean
    best_criterion: FoundBest
    verdict: str


class FoundOn(BaseModel):
    """Where a blend was found, as far as its file says; budget: kind -> ratio."""

    model: str | None = None
    data: str | None = None
    budget: dict[str, float] = Field(default_factory=dict)
    results: FoundResults | None = None


def read_found_on(file: str, found_on: Mapping[str, Any]) -> FoundOn:
    """Return what a blend's file says of where it was found; RunError for what the page could not tell."""
    try:
        return FoundOn.model_validate(found_on, strict=True)
    except ValidationError as error:
        raise RunError(f"{file}: found_on.{first_mistake(error)}; correct it or leave it out") from error


class BlendRecord(BaseModel):
    """The blend that was transferred: its file as it was given, and what it was found on, as far as known."""

    file: str
    criteria: list[str]
    unit: str
    found_on: FoundOn = FoundOn()


class TransferSummary(BaseModel):
    """transfer.json; searches: whether a blend was searched in each space too."""

    blend: BlendRecord
    searches: bool
    spaces: list[SpaceRecord] = Field(min_length=1)
    versions: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class TransferRun:
    """The files of one transfer."""

    folder: Path
    summary: TransferSummary


def read_transfer(folder: Path) -> TransferRun:
    """Read a run folder; raises RunError when it or its transfer.json is missing or broken, or it is of one space."""
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such run folder")
    if not (folder / SUMMARY).is_file() and (folder.parent / "job.json").is_file():
        raise RunError(f"{folder}: is one space of a transfer; the report is of the whole: {folder.resolve().parent}")
    return TransferRun(folder, parse(folder / SUMMARY, read_text(folder, SUMMARY), TransferSummary))


def read_spaces(run: TransferRun) -> list[dict[str, Any]]:
    """Return the settings of each space that the folder still has; RunError for a space.yaml that is broken."""
    folders = [run.folder / row.space for row in run.summary.spaces]
    return [
        read_yaml(folder / "space.yaml", read_text(folder, "space.yaml"))
        for folder in folders
        if (folder / "space.yaml").is_file()
    ]
