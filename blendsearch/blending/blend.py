"""A blend: how much each criterion's ranks count, for the network, a stage or a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blendsearch.blending import blend_record
from blendsearch.blending.ranks import Scores, rank_all
from blendsearch.errors import BlendsearchError

NETWORK = "network"


@dataclass(frozen=True)
class Blend:
    """A weighted sum of criteria's ranks, S = sum over criteria of factor * rank.

    unit: "network", "stage" or "layer". weights: unit name -> criterion -> calibration factor >= 0, at least
    one of them > 0. groups: unit name -> the groups it covers; a network-level blend (its one unit is called
    "network") applies to any groups and may leave this empty. found_on: where it was found, plain JSON.
    keep: group -> weight > 0, how much of its filters a group keeps relative to the others (allocation "evolved");
    empty when another allocation decides.
    Raises BlendsearchError when a part is of another form.
    Source: He et al., 2021 (arXiv 2107.05033), filters importance calibration.
    """

    unit: str
    weights: dict[str, dict[str, float]]
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    found_on: dict[str, Any] = field(default_factory=dict)
    keep: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        blend_record.check(self.to_dict(), where="blend")

    @classmethod
    def single(cls, criterion: str) -> Blend:
        """Return the network-level blend that ranks as the criterion alone does."""
        return cls(NETWORK, {NETWORK: {criterion: 1.0}})

    @property
    def criteria(self) -> list[str]:
        """Names of the criteria with a factor above zero, in alphabetical order."""
        return sorted({name for unit in self.weights.values() for name, factor in unit.items() if factor > 0})

    def score(self, scores: Scores) -> dict[str, Tensor]:
        """Blend raw scores: rank them within their groups, then sum the ranks by factor.

        scores: criterion -> group -> [C]; criteria without a factor above zero are not looked at.
        Result: group -> float32 [C], for all groups of `scores`.
        Raises BlendsearchError naming the criteria that are missing or the groups the blend does not cover.
        """
        return self.score_ranked(rank_all(self._used(scores)))

    def score_ranked(self, ranked: Scores) -> dict[str, Tensor]:
        """Do as `score` does with ranks from `rank_all`; saves ranking again in a search."""
        used = self._used(ranked)
        groups = list(next(iter(used.values())))
        unit_of = self._unit_of(groups)
        return {group: self._sum(self.weights[unit_of[group]], used, group) for group in groups}

    def _used(self, scores: Scores) -> Scores:
        missing = [name for name in self.criteria if name not in scores]
        if missing:
            raise BlendsearchError(
                f"blend: no scores for {', '.join(missing)} (given: {', '.join(sorted(scores)) or 'none'})"
            )
        used = {name: scores[name] for name in self.criteria}
        every = {group for groups in used.values() for group in groups}
        odd = sorted(group for group in every if any(group not in groups for groups in used.values()))
        if odd:
            raise BlendsearchError(f"blend: not every criterion has scores for {', '.join(odd)}")
        return used

    def check_covers(self, groups: list[str]) -> None:
        """Raise BlendsearchError naming the groups that the blend says nothing about."""
        self._unit_of(groups)

    def _unit_of(self, groups: list[str]) -> dict[str, str]:
        if self.unit == NETWORK:
            return dict.fromkeys(groups, NETWORK)
        unit_of = {group: unit for unit, members in self.groups.items() for group in members}
        strange = [group for group in groups if group not in unit_of]
        if strange:
            raise BlendsearchError(
                f"blend: this {self.unit}-level blend does not cover {', '.join(strange)}"
                f" (covered: {', '.join(unit_of)})"
            )
        return unit_of

    @staticmethod
    def _sum(factors: Mapping[str, float], ranked: Scores, group: str) -> Tensor:
        terms = [factor * ranked[name][group] for name, factor in sorted(factors.items()) if factor > 0]
        return torch.stack(terms).sum(dim=0)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON record, with the schema's version."""
        return {
            "schema": blend_record.SCHEMA,
            "unit": self.unit,
            "groups": {unit: list(groups) for unit, groups in self.groups.items()},
            "weights": {unit: dict(factors) for unit, factors in self.weights.items()},
            "keep": dict(self.keep),
            "found_on": dict(self.found_on),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "blend") -> Blend:
        """Read a JSON record; errors begin with `where`."""
        blend_record.check(data, where)
        return cls(
            unit=data["unit"],
            weights={
                unit: {name: float(factor) for name, factor in factors.items()}
                for unit, factors in data["weights"].items()
            },
            groups={unit: tuple(groups) for unit, groups in data["groups"].items()},
            found_on=dict(data["found_on"]),
            keep={group: float(weight) for group, weight in data.get("keep", {}).items()},
        )

    def save(self, path: str | Path) -> None:
        """Write the blend as JSON, whole or not at all."""
        blend_record.write(self.to_dict(), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Blend:
        """Read a blend file; raises BlendsearchError with one line naming the file and the mistake."""
        return cls.from_dict(blend_record.read(Path(path)), where=str(path))
