"""What a criterion is, and how scores of several convolutions or feature maps become one score per filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from blendsearch.criteria.parts import CONVOLUTION, FEATURE_MAP, Parts, distinct
from blendsearch.criteria.ranking import rank
from blendsearch.errors import BlendsearchError, unknown_name
from blendsearch.progress import Progress, silent
from blendsearch.registry import Registry
from blendsearch.statistics import Statistics
from blendsearch.structure import Group

FAMILIES = ("weights", "batchnorm", "activations", "gradients", "relevance", "ratings")


class Criterion:
    """Gives every filter of a group a score; higher = more important.

    name: as in space files. needs: what `statistics` must hold, each "family" or "family.measure" with a family
    of FAMILIES. source: the paper. detects_dead: an all-zero filter never ranks above the median.
    greedy: drops filter after filter, so that which of two equally good ones goes first is a matter of rounding.
    parts: what the group scored last was made of; None where it was scored as a whole. progress: told how far a score
    is that takes long. A criterion never runs the network.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    source: ClassVar[str]
    detects_dead: ClassVar[bool] = True
    greedy: ClassVar[bool] = False
    seeded: ClassVar[bool] = False  # draws numbers instead of looking at the filter

    group_rule: str = "mean_rank"  # of GROUP_RULES: how scores of coupled convolutions become one
    parts: Parts | None = None
    progress: Progress = staticmethod(silent)

    @property
    def family(self) -> str:
        """The family of the first need."""
        return self.needs[0].split(".")[0] if self.needs else "none"

    def missing(self, group: Group, statistics: Statistics) -> str:
        """Return why this criterion cannot score the group, or an empty string.

        Asked twice: before any work, when `statistics` holds weights, norms, readers and ratings alone, so that what
        these show is told before hours of training; and once everything was gathered.
        """
        return ""

    def objection(self, group: Group, statistics: Statistics) -> str:
        """Return why the group cannot be scored, be it for want of a measure or `missing`; else an empty string."""
        lacking = (statistics.unavailable[need] for need in self.needs if need in statistics.unavailable)
        return next(lacking, "") or self.missing(group, statistics)

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        """Return float32 [C], finite, on the CPU."""
        raise NotImplementedError

    def combine(self, kind: str, scores: Mapping[str, Tensor]) -> Tensor:
        """Return the group's score from those of its parts, name -> [C], by the group rule; `parts` keeps these."""
        self.parts = Parts(kind, scores)
        return combine(list(scores.values()), self.group_rule)

    def steps(self, group: Group) -> int:
        """Return in how many steps `progress` is told of a group's score; 0: it is not."""
        return 0


class ConvolutionCriterion(Criterion):
    """A criterion that scores each convolution of a group by itself."""

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        """Return [C] for one convolution."""
        raise NotImplementedError

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        scores = {name: per_filter(self.convolution(name, statistics), group) for name in group.convolutions}
        return self.combine(CONVOLUTION, scores)


class FeatureMapCriterion(Criterion):
    """A criterion that scores the feature maps of each site of a group by themselves."""

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        """Return [C] from the measures (name -> [C, ...], mostly means over samples) of one site."""
        raise NotImplementedError

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        scores = [per_filter(self.maps(statistics.averages[site]), group) for site in group.sites]
        names = distinct(site.name for site in group.sites)
        return self.combine(FEATURE_MAP, dict(zip(names, scores, strict=True)))


def per_filter(scores: Tensor, group: Group) -> Tensor:
    """Return [width] from the scores of channels: their mean, where a group's filters are blocks of channels.

    Raises BlendsearchError for what is no tensor of one number a channel.
    """
    if not isinstance(scores, Tensor) or scores.dim() != 1 or not len(scores) or len(scores) % group.width:
        given = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"type {type(scores).__name__}"
        raise BlendsearchError(f"got scores of {given}, allowed: a torch tensor ({group.width},)")
    return scores if len(scores) == group.width else scores.unflatten(0, (group.width, -1)).mean(1)


GROUP_RULES: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "mean_rank": lambda scores: torch.stack([rank(score) for score in scores]).mean(0),
    "mean": lambda scores: torch.stack(scores).mean(0),
    "sum": lambda scores: torch.stack(scores).sum(0),
    "max": lambda scores: torch.stack(scores).amax(0),
}


def check_group_rule(rule: str) -> None:
    """Raise UnknownNameError for a rule that is not in GROUP_RULES."""
    if rule not in GROUP_RULES:
        raise unknown_name("group rule", rule, GROUP_RULES)


def combine(scores: list[Tensor], rule: str = "mean_rank") -> Tensor:
    """Aggregate the scores [C] of coupled convolutions or sites: one stays as it is, several follow the rule.

    rule: "mean_rank" by default, because convolutions of a residual stream differ in fan-in and scale and a sum
    would follow the largest one alone; "mean", "sum" or "max" of the scores themselves. Raises
    BlendsearchError for another. Scores that are not finite have no ranks: what comes of them is not finite either.
    """
    check_group_rule(rule)
    if len(scores) == 1:
        return scores[0].float()
    if not all(bool(torch.isfinite(score).all()) for score in scores):
        return torch.full_like(scores[0], torch.nan, dtype=torch.float)
    return GROUP_RULES[rule](scores).float()


CRITERIA: Registry[type[Criterion]] = Registry("criterion", "criteria")


def register_criterion(criterion: type[Criterion]) -> type[Criterion]:
    """Register a criterion class under its `name`; usable as a decorator.

    Raises BlendsearchError when name, needs or source is missing, a need is of no known family, or the name is
    taken.
    """
    for attribute in ("name", "needs", "source"):
        if not hasattr(criterion, attribute):
            raise BlendsearchError(f"criterion {criterion.__name__}: has no '{attribute}'")
    for need in criterion.needs:
        if need.split(".")[0] not in FAMILIES:
            raise BlendsearchError(
                f"criterion '{criterion.name}': needs '{need}'; allowed families: {', '.join(FAMILIES)}"
            )
    CRITERIA.register(criterion.name)(criterion)
    return criterion
