"""What a run folder says, read and checked: the one place of the reports that opens its files."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from blendsearch.errors import RunError

S = TypeVar("S", bound=BaseModel)


def _none_unless_finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_none_unless_finite)]


class Outcome(BaseModel):
    """What a pruned network reached: accuracies and ratios in [0, 1], latency in milliseconds, steps of retraining."""

    proxy: Number = None
    search_accuracy: Number = None
    test_accuracy: Number = None
    test_accuracy_std: Number = None
    flops_ratio: Number = None
    params_ratio: Number = None
    latency_ms: Number = None
    steps: Number = None
    allocation: str | None = None


class Baseline(BaseModel):
    """The original network."""

    test_accuracy: Number = None
    search_accuracy: Number = None
    flops: Number = None
    params: Number = None
    latency_ms: Number = None


class Budget(BaseModel):
    """Which cost was limited, and to which share of the original's."""

    kind: str
    ratio: float


class Control(BaseModel):
    """The blend against the best of a random search of equal cost."""

    verdict: str | None = None
    sentence: str | None = None


class Part(Outcome):
    """The blend without its shares, or its shares without the blend."""

    sentence: str | None = None


class Latency(BaseModel):
    """What a latency budget came to: shares of the original's, by the table and measured side by side."""

    estimated_ratio: Number = None
    measured_ratio: Number = None


class Comparison(BaseModel):
    """The blend against the best criterion over paired retraining seeds."""

    best_criterion: str | None = None
    difference: Number = None
    interval: tuple[float, float] | None = None
    verdict: str | None = None
    sentence: str | None = None
    control: Control | None = None


class Fidelity(BaseModel):
    """Kendall's tau between proxy and accuracy after retraining."""

    tau: Number = None
    interval: tuple[float, float] | None = None
    candidates: int | None = None


class DataRecord(BaseModel):
    """The data and how many images each part had."""

    name: str = "?"
    fingerprint: str | None = None
    classes: int | list[str] | None = None
    train: int | None = None
    calibration: int | None = None
    search: int | None = None
    test: int | None = None


class FrontSide(Outcome):
    """A network on the front; shares: what is kept, by kind of cost."""

    shares: dict[str, Number] = Field(default_factory=dict)


class FrontCriterion(FrontSide):
    """The criterion that the proxy puts first at a point's budget."""

    name: str


class FrontPoint(FrontSide):
    """A retrained point of the front; budget: the kept share it was pruned to."""

    place: int
    budget: float
    criterion: FrontCriterion
    difference: Number = None
    interval: tuple[float, float] | None = None
    same_filters: bool = False


class Summary(BaseModel):
    """summary.json."""

    name: str
    seed: int
    budget: Budget
    allocation: Any = None
    schedule: Any = None
    proxy: Any = None
    baseline: Baseline
    blend: Outcome = Outcome()
    latency: Latency | None = None
    criteria: dict[str, Outcome] = Field(default_factory=dict)
    control: Outcome | None = None
    ablation: dict[str, Part] = Field(default_factory=dict)
    front: list[FrontPoint] = Field(default_factory=list)
    seconds: dict[str, Number] = Field(default_factory=dict)
    trials: int | None = None
    seeds: int | None = None
    comparison: Comparison = Comparison()
    fidelity: Annotated[Fidelity, BeforeValidator(lambda given: given or {})] = Fidelity()
    versions: dict[str, Any] = Field(default_factory=dict)
    data: DataRecord = DataRecord()


class Agreement(BaseModel):
    """records/agreement.json: Spearman's rho between criteria, for each group and as mean over the groups."""

    criteria: list[str]
    groups: dict[str, list[list[Number]]]
    mean: list[list[Number]]


class Clusters(BaseModel):
    """records/clusters.json: which criteria rank alike in each unit."""

    unit: str
    groups: dict[str, list[str]]
    members: dict[str, list[list[str]]]


class Generation(BaseModel):
    """One entry of records/evolution.json."""

    generation: int
    evaluations: int
    distinct: int | None = None
    best: Number = None
    mean: Number = None
    worst: Number = None
    best_so_far: Number = None
    unit: str | None = None


class Retrained(BaseModel):
    """One entry of records/retrained.json: one network retrained with one seed."""

    name: str
    kind: str
    seed: int
    proxy: Number = None
    search_accuracy: Number = None
    test_accuracy: Number = None
    flops_ratio: Number = None
    params_ratio: Number = None
    seconds: Number = None
    steps: Number = None
    loss: list[Number] = Field(default_factory=list)


class Rung(BaseModel):
    """A rung of the finals: its share of the retraining, and that in epochs."""

    share: float
    epochs: float


class FinalCandidate(BaseModel):
    """A candidate of the finals: its trial, and its accuracy on the search split at each rung that it climbed."""

    trial: int
    proxy: Number = None
    accuracies: list[float] = Field(default_factory=list)
    seconds: Number = None
    stopped: str | None = None


class Finals(BaseModel):
    """records/finals.json: the short retrainings that chose the blend, candidates in the proxy's order."""

    rungs: list[Rung]
    seeds: int
    seconds: Number = None
    candidates: list[FinalCandidate]


class Front(BaseModel):
    """records/front.json: proxy and kept shares of every trial, and the numbers of those that no other dominates."""

    costs: Annotated[list[str], Field(min_length=1)]
    trials: Annotated[list[list[float]], Field(min_length=1)]
    front: list[int]


class GroupRecord(BaseModel):
    """One entry of records/groups.json: a group's width and how many filters each pruning kept."""

    name: str
    stage: str | None = None
    width: int
    kept: dict[str, int] = Field(default_factory=dict)


class BlendRecord(BaseModel):
    """blend.json: calibration factors for each unit."""

    unit: str
    weights: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Run:
    """The files of one run folder; a record that is not there is empty and its file is named in `absent`.

    finals, front: None where the space asked for none, which is nothing to be told as missing.
    """

    folder: Path
    summary: Summary
    space: dict[str, Any]
    space_text: str
    blend: BlendRecord | None
    agreement: Agreement | None
    clusters: Clusters | None
    evolution: list[Generation]
    retrained: list[Retrained]
    groups: list[GroupRecord]
    finals: Finals | None
    front: Front | None
    absent: tuple[str, ...]


OPTIONAL = {
    "blend.json": BlendRecord,
    "records/agreement.json": Agreement,
    "records/clusters.json": Clusters,
    "records/evolution.json": list[Generation],
    "records/retrained.json": list[Retrained],
    "records/groups.json": list[GroupRecord],
}

FINALS = "records/finals.json"
FRONT = "records/front.json"


def read_run(folder: Path) -> Run:
    """Read a run folder; raises RunError when it, its summary.json or space.yaml is missing, or a file is broken."""
    summary, space, space_text = read_finished(folder, Summary)
    found = {
        name: parse(folder / name, read_text(folder, name), kind)
        for name, kind in {**OPTIONAL, FINALS: Finals, FRONT: Front}.items()
        if (folder / name).is_file()
    }
    return Run(
        folder,
        summary,
        space,
        space_text,
        found.get("blend.json"),
        found.get("records/agreement.json"),
        found.get("records/clusters.json"),
        found.get("records/evolution.json", []),
        found.get("records/retrained.json", []),
        found.get("records/groups.json", []),
        found.get(FINALS),
        found.get(FRONT),
        tuple(name for name in OPTIONAL if name not in found),
    )


def read_finished(folder: Path, kind: type[S]) -> tuple[S, dict[str, Any], str]:
    """Return summary.json as an object of `kind`, and space.yaml as mapping and text; RunError for what is amiss."""
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such run folder")
    space_text = read_text(folder, "space.yaml")
    space = read_yaml(folder / "space.yaml", space_text)
    return parse(folder / "summary.json", read_text(folder, "summary.json"), kind), space, space_text


def read_text(folder: Path, name: str) -> str:
    """Return the text of a file that every finished run has; RunError when it is missing or cannot be read."""
    path = folder / name
    if not path.is_file():
        raise RunError(
            f"{folder}: {name} is missing, so the campaign has not finished; continue it with --resume, then report"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error


def read_yaml(path: Path, text: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds; RunError names the file."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RunError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a mapping of keys, got {type(content).__name__}")
    return content


def parse(path: Path, text: str, kind: Any) -> Any:
    """Return a JSON text as an object of `kind`; RunError names file, place and what was given."""
    try:
        return TypeAdapter(kind).validate_python(json.loads(text))
    except json.JSONDecodeError as error:
        raise RunError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    except ValidationError as error:
        raise RunError(f"{path}: {first_mistake(error)}") from error


def first_mistake(error: ValidationError) -> str:
    """Return the place of the first thing that is wrong, what is wrong with it, and what was given."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "top level"
    return f"{place}: {first['msg'].lower()} (given {first['input']!r:.60})"
