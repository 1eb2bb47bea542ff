"""Scores of every filter under many criteria, from statistics gathered once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.criteria.base import CRITERIA, Criterion, check_group_rule
from blendsearch.criteria.elimination import NEEDS as LOSS_NEEDS
from blendsearch.criteria.elimination import DropLoss, drop_losses
from blendsearch.criteria.parts import Parts, scale_of
from blendsearch.criteria.unchanged import Unchanged
from blendsearch.errors import BlendsearchError, blame
from blendsearch.progress import Progress, silent
from blendsearch.statistics import Batches, Ratings, Statistics, gather
from blendsearch.statistics.relevance import PER_CLASS
from blendsearch.statistics.task import Task
from blendsearch.structure import Group, Structure

Scores = dict[str, dict[str, Tensor]]
"""criterion -> group -> float32 [C], higher = more important; for users there is `blendsearch.Scores`."""


@dataclass(frozen=True)
class ScoringSetup:
    """On what terms filters are scored: where, from which seed, by whose ratings, coupled ones by which rule.

    relevance_per_class: images of each class that LRP relevance takes, the first that come; None: all.
    task: what the network is for, where batches are no images with labels of classes.
    """

    compute: Compute = field(default_factory=Compute)
    seed: int = 0
    ratings: Ratings | None = None
    group_rule: str = "mean_rank"
    relevance_per_class: int | None = PER_CLASS
    task: Task | None = None


@dataclass(frozen=True)
class ApplicableScores:
    """Scores under the criteria that apply to a network, why others do not, and how many images were looked at.

    parts: criterion -> group -> what its score was made of, without the groups that were scored as a whole.
    losses: group -> what dropping its filters costs, where that was asked for.
    """

    scores: Scores
    left_out: dict[str, str]
    samples: int
    group_rule: str = "mean_rank"
    parts: dict[str, dict[str, Parts]] = field(default_factory=dict)
    losses: dict[str, DropLoss] = field(default_factory=dict)

    @property
    def scales(self) -> dict[str, dict[str, str]]:
        """Criterion -> group -> which scale its score has, in words."""
        return {
            name: {group: scale_of(name, self.parts[name].get(group), self.group_rule) for group in groups}
            for name, groups in self.scores.items()
        }

    def complete(self) -> Scores:
        """Return the scores when every criterion applies; BlendsearchError for the first that does not."""
        for name, reason in self.left_out.items():
            raise BlendsearchError(f"criterion '{name}': {reason}")
        return self.scores


def score_network(
    network: nn.Module,
    structure: Structure,
    batches: Batches,
    criteria: Sequence[str],
    setup: ScoringSetup,
    progress: Progress = silent,
) -> Scores:
    """Score every group of a network under every criterion, from one set of passes over the batches.

    Raises BlendsearchError for a criterion that cannot score this network, DataError when data are needed and missing.
    """
    return score_applicable(network, structure, batches, criteria, setup, progress).complete()


def score_applicable(
    network: nn.Module,
    structure: Structure,
    batches: Batches,
    criteria: Sequence[str],
    setup: ScoringSetup,
    progress: Progress = silent,
    *,
    set_aware: bool = False,
) -> ApplicableScores:
    """Score a network as `score_network` does, without the criteria that cannot score it.

    set_aware: also return the drop losses that set-aware blends take.
    """
    gathered = gather(
        network,
        structure,
        batches,
        measures_of(criteria, setup.ratings).union(LOSS_NEEDS if set_aware else ()),
        compute=setup.compute,
        seed=setup.seed,
        ratings=setup.ratings,
        relevance_per_class=setup.relevance_per_class,
        progress=progress,
        task=setup.task,
    )
    left_out = applicable(criteria, structure, gathered)
    scores: Scores = {}
    parts: dict[str, dict[str, Parts]] = {}
    asked = _asked([name for name in criteria if name not in left_out], setup.group_rule)
    work = Work.of(asked.values(), structure, progress)
    for name, criterion in asked.items():
        scores[name], parts[name] = _score_groups(structure, gathered, criterion, work)
        reason = _not_finite(scores[name])
        if reason:
            left_out[name] = reason
            del scores[name], parts[name]
    losses = _losses(structure, gathered) if set_aware else {}
    return ApplicableScores(scores, left_out, gathered.samples, setup.group_rule, parts, losses)


@dataclass
class Work:
    """How far the scoring is: a step a criterion and group, and one a filter where a criterion drops one by one."""

    progress: Progress
    total: int
    done: int = 0

    @classmethod
    def of(cls, criteria: Iterable[Criterion], structure: Structure, progress: Progress) -> Work:
        """Return the work of scoring every group under every criterion."""
        return cls(progress, sum(_steps(criterion, group) for criterion in criteria for group in structure.groups))

    def begin(self, criterion: Criterion, group: Group) -> None:
        """Tell of a score that is about to be worked out, and let the criterion tell of its steps."""
        what = f"{criterion.name} of {group.name}"
        self.progress("scores", self.done, self.total, what)
        begun = self.done

        def report(task: str, done: int, total: int, detail: str = "") -> None:
            self.progress("scores", min(begun + done, self.total), self.total, what)

        criterion.progress = report

    def end(self, criterion: Criterion, group: Group) -> None:
        """Tell that it is there."""
        self.done += _steps(criterion, group)
        self.progress("scores", self.done, self.total)


def _steps(criterion: Criterion, group: Group) -> int:
    with _blamed(type(criterion), criterion.name):
        return max(1, criterion.steps(group))


def _asked(criteria: Iterable[str], group_rule: str) -> dict[str, Criterion]:
    """Return the criteria by name, each to be used once."""
    found = {}
    for name in criteria:
        found[name] = _made(name)
        found[name].group_rule = group_rule
    return found


def _made(name: str) -> Criterion:
    kind = CRITERIA.get(name, "criteria")
    with _blamed(kind, name):
        return kind()


@contextlib.contextmanager
def _blamed(kind: type[Criterion], what: str) -> Iterator[None]:
    """Name a criterion in what its code raises; what our own raise is a bug of ours, and stays as it is."""
    try:
        yield
    except Exception as error:
        if _is_ours(kind):
            raise
        told = str(error) if isinstance(error, BlendsearchError) else blame(error)
        raise BlendsearchError(f"criterion '{what}': {told}") from error


def _objection(criterion: Criterion, group: Group, statistics: Statistics) -> str:
    with _blamed(type(criterion), criterion.name):
        return criterion.objection(group, statistics)


def _is_ours(kind: type[Criterion]) -> bool:
    return kind.__module__.startswith("blendsearch.")


def _losses(structure: Structure, statistics: Statistics) -> dict[str, DropLoss]:
    for need in LOSS_NEEDS:
        if need in statistics.unavailable:
            raise BlendsearchError(f"set-aware blends: {statistics.unavailable[need]}")
    return drop_losses(structure, statistics)


def names() -> list[str]:
    """Return the names of all registered criteria."""
    return CRITERIA.names()


def measures_of(criteria: Iterable[str], ratings: Ratings | None = None) -> set[str]:
    """Return everything the criteria need; unknown names raise UnknownNameError with the nearest one.

    ratings: where some criterion reads them, what their fallback needs comes along.
    """
    needs = {need for name in criteria for need in CRITERIA.get(name, "criteria").needs}
    if ratings is not None and ratings.fallback is not None and "ratings" in needs:
        needs |= set(CRITERIA.get(ratings.fallback, "ratings.fallback").needs)
    return needs


def applicable(criteria: Sequence[str], structure: Structure, statistics: Statistics) -> dict[str, str]:
    """Return the criteria that cannot score some group of this network, each with the reason."""
    reasons = {}
    for name in criteria:
        criterion = _made(name)
        found = (_objection(criterion, group, statistics) for group in structure.groups)
        reason = next((text for text in found if text), "")
        if reason:
            reasons[name] = reason
    return reasons


def score_groups(
    structure: Structure, statistics: Statistics, criteria: Sequence[str], *, group_rule: str = "mean_rank"
) -> Scores:
    """Score every group under every criterion; raise BlendsearchError when a criterion breaks its contract.

    group_rule: how the scores of a group's coupled convolutions become one: "mean_rank", "mean", "sum" or "max".
    """
    check_group_rule(group_rule)
    scores: Scores = {}
    asked = _asked(criteria, group_rule)
    work = Work.of(asked.values(), structure, silent)
    for name, criterion in asked.items():
        scores[name], _ = _score_groups(structure, statistics, criterion, work)
        reason = _not_finite(scores[name])
        if reason:
            raise BlendsearchError(f"criterion '{name}': {reason}")
    return scores


def _score_groups(
    structure: Structure, statistics: Statistics, criterion: Criterion, work: Work
) -> tuple[dict[str, Tensor], dict[str, Parts]]:
    scores: dict[str, Tensor] = {}
    parts: dict[str, Parts] = {}
    shared = Unchanged(statistics, closely=not _is_ours(type(criterion)))
    for group in structure.groups:
        reason = _objection(criterion, group, statistics)
        if reason:
            raise BlendsearchError(f"criterion '{criterion.name}': {reason}")
        work.begin(criterion, group)
        criterion.parts = None
        with _blamed(type(criterion), f"{criterion.name}': group '{group.name}"):
            score = criterion.score(group, statistics)
        scores[group.name] = _checked(criterion, group.name, group.width, score)
        if criterion.parts is not None:
            parts[group.name] = criterion.parts
        work.end(criterion, group)
    shared.check(criterion.name)
    return scores, parts


def _checked(criterion: Criterion, group: str, width: int, score: Any) -> Tensor:
    """Return a criterion's answer as a score, whatever it may be; BlendsearchError where it is none."""
    told = f"criterion '{criterion.name}': group '{group}' got"
    if not isinstance(score, Tensor):
        raise BlendsearchError(f"{told} {type(score).__name__}, allowed: a torch tensor ({width},)")
    if tuple(score.shape) != (width,):
        raise BlendsearchError(f"{told} scores of shape {tuple(score.shape)}, allowed ({width},)")
    if score.is_complex():
        raise BlendsearchError(f"{told} complex scores ({score.dtype}), allowed: real numbers")
    return score.detach().float().cpu()


def _not_finite(scores: dict[str, Tensor]) -> str:
    broken = (group for group, score in scores.items() if not bool(torch.isfinite(score).all()))
    return next((f"group '{group}' got scores that are not finite" for group in broken), "")
