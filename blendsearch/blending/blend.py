"""A blend: how much each criterion's ranks count, for the network, a stage or a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blendsearch.blending import blend_record
from blendsearch.blending.ranks import Scores, rank_all, standardised
from blendsearch.criteria.elimination import DropLosses
from blendsearch.errors import BlendsearchError
from blendsearch.plain import State, Unchecked
from blendsearch.results.words import DROP_LOSS

NETWORK = "network"
NO_LOSSES: DropLosses = {}


@dataclass(frozen=True)
class Wish:
    """By what an elimination goes: alpha * log(loss) + tilt, the tilt [C] or None for none."""

    alpha: float
    tilt: Tensor | None


@dataclass(frozen=True)
class Blend:
    """A weighted sum of ranks, S = sum over terms of factor * rank, and how much it heeds what is gone already.

    A term is a criterion or a member blend.
    unit: "network", "stage" or "layer". weights: unit name -> criterion -> calibration factor >= 0, at least
    one of them > 0 where the unit has no exponent. groups: unit name -> the groups it covers; a network-level blend
    (its one unit is called "network") applies to any groups and may leave this empty. found_on: where it was found,
    plain JSON.
    keep: group -> weight > 0, how much of its filters a group keeps relative to the others (allocation "evolved");
    empty when another allocation decides.
    alpha: unit name -> exponent in [0, 1] of the loss that dropping a filter causes, given those already dropped
    (`DropLoss`); missing or 0: none. A unit with an exponent is *set-aware*: filter after filter goes that has the
    least alpha * log(loss) + sum of factor * standardised rank, and its score is the place in that elimination.
    members: name of a term -> the blend that it stands for. Its scores are ranked like those of a criterion; since
    ranks of a sum are no sum of ranks, it cannot be written as factors of its criteria and stays whole.
    Raises BlendsearchError when a part is of another form.
    Source: He et al., 2021 (arXiv 2107.05033), filters importance calibration; the elimination: see
    `blendsearch.criteria.elimination`.
    """

    unit: str
    weights: dict[str, dict[str, float]]
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    found_on: dict[str, Any] = field(default_factory=dict)
    keep: dict[str, float] = field(default_factory=dict)
    members: dict[str, Blend] = field(default_factory=dict)
    alpha: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        blend_record.check(self.to_dict(), where="blend")

    @classmethod
    def single(cls, criterion: str) -> Blend:
        """Return the network-level blend that ranks as the criterion alone does."""
        return cls(NETWORK, {NETWORK: {criterion: 1.0}})

    @classmethod
    def elimination(cls) -> Blend:
        """Return the network-level blend that goes by the drop losses alone."""
        return cls(NETWORK, {NETWORK: {}}, alpha={NETWORK: 1.0})

    @classmethod
    def mean_of_ranks(cls, criteria: Sequence[str], *, tilt: float | None = None) -> Blend:
        """Return the network-level blend in which every criterion counts alike.

        tilt: None for the ranks by themselves; else they tilt an elimination, with factors that sum up to it.
        Source: Borda's count (1781): the order of the mean ranks.
        """
        if tilt is None:
            return cls(NETWORK, {NETWORK: dict.fromkeys(criteria, 1.0)})
        return cls(NETWORK, {NETWORK: dict.fromkeys(criteria, tilt / len(criteria))}, alpha={NETWORK: 1.0})

    @property
    def terms(self) -> list[str]:
        """Names of the criteria and members with a factor above zero, in alphabetical order."""
        return sorted({name for unit in self.weights.values() for name, factor in unit.items() if factor > 0})

    @property
    def criteria(self) -> list[str]:
        """Names of the criteria that it takes to score by the blend, those of its members among them, in order."""
        own = {name for name in self.terms if name not in self.members}
        return sorted(own.union(*(self.members[name].criteria for name in self.terms if name in self.members)))

    def with_members(self, blends: Mapping[str, Blend]) -> Blend:
        """Return the blend with those of the named blends embedded that are among its terms."""
        return replace(self, members=self.members | {name: blends[name] for name in self.terms if name in blends})

    def says(self, group: str) -> dict[str, float]:
        """Return what has a say in a group: its terms with their factors, the drop loss with its exponent."""
        unit = self._unit_of([group])[group]
        said = {name: factor for name, factor in self.weights[unit].items() if factor > 0}
        return said | ({DROP_LOSS: self.alpha[unit]} if self.alpha.get(unit, 0.0) > 0 else {})

    @property
    def set_aware(self) -> bool:
        """Whether some unit, of its own or of a member, has an exponent above zero: then scoring takes drop losses."""
        members = (self.members[name] for name in self.terms if name in self.members)
        return any(alpha > 0 for alpha in self.alpha.values()) or any(member.set_aware for member in members)

    @property
    def single_term(self) -> str | None:
        """The one criterion or member that the blend ranks as; None for a blend of several, or set-aware itself."""
        alone = len(self.terms) == 1 and not any(alpha > 0 for alpha in self.alpha.values())
        return self.terms[0] if alone else None

    def score(self, scores: Scores, losses: DropLosses = NO_LOSSES) -> dict[str, Tensor]:
        """Blend raw scores: rank them within their groups, then sum the ranks by factor.

        scores: criterion -> group -> [C]; criteria without a factor above zero are not looked at. Scores under the
        name of a member are taken as they are; else they are worked out from those of its criteria.
        losses: group -> what dropping its filters costs, for units with an exponent.
        Result: group -> float32 [C], for all groups of `scores`, or of `losses` where no criterion has a factor.
        Raises BlendsearchError naming the criteria that are missing or the groups the blend does not cover.
        """
        return self.score_ranked(rank_all(self._needed(scores)), losses)

    def score_ranked(
        self, ranked: Scores, losses: DropLosses = NO_LOSSES, lost: Mapping[str, int] | None = None
    ) -> dict[str, Tensor]:
        """Do as `score` does with ranks from `rank_all`; saves ranking again in a search.

        lost: group -> how many of its filters will go, where that is known. An elimination then ends with them, and
        all others, of which none goes, score alike.
        """
        used = self._used(self._needed(ranked), losses)
        groups = list(next(iter(used.values()), losses))
        unit_of = self._unit_of(groups)
        turns = lost or {}
        return {group: self._score_group(unit_of[group], used, group, losses, turns.get(group)) for group in groups}

    def wishes(self, ranked: Scores, losses: DropLosses) -> dict[str, Wish]:
        """Return, for each group whose unit has an exponent, that and what its criteria add: see `score_ranked`."""
        used = self._used(self._needed(ranked), losses)
        unit_of = self._unit_of(list(losses))
        aware = {group: unit for group, unit in unit_of.items() if self.alpha.get(unit, 0.0) > 0}
        return {group: self._wish(unit, used, group) for group, unit in aware.items()}

    def _score_group(self, unit: str, used: Scores, group: str, losses: DropLosses, turns: int | None = None) -> Tensor:
        if self.alpha.get(unit, 0.0) == 0:
            return self._sum(self.weights[unit], used, group)
        if group not in losses:
            raise BlendsearchError(f"blend: it is set-aware, and there is no drop loss of group '{group}'")
        wish = self._wish(unit, used, group)
        return losses[group].eliminate(wish.alpha, wish.tilt, turns=turns).place.float()

    def _wish(self, unit: str, used: Scores, group: str) -> Wish:
        factors = sorted(self.weights[unit].items())
        tilts = [factor * standardised(used[name][group]) for name, factor in factors if factor > 0]
        return Wish(self.alpha[unit], sum(tilts[1:], tilts[0]) if tilts else None)

    def _needed(self, scores: Scores) -> Scores:
        """Return the scores that are looked at: of the terms, or of a member's criteria where it has none itself."""
        needed: Scores = {}
        for name in self.terms:
            if name in scores:
                needed[name] = scores[name]
            elif name in self.members:
                needed |= self.members[name]._needed(scores)
        missing = [name for name in self.terms if name not in scores and name not in self.members]
        if missing:
            raise BlendsearchError(
                f"blend: no scores for {', '.join(missing)} (given: {', '.join(sorted(scores)) or 'none'})"
            )
        every = {group for groups in needed.values() for group in groups}
        odd = sorted(group for group in every if any(group not in groups for groups in needed.values()))
        if odd:
            raise BlendsearchError(f"blend: not every criterion has scores for {', '.join(odd)}")
        return needed

    def _used(self, ranked: Scores, losses: DropLosses) -> Scores:
        """Return the ranks of every term."""
        members = {name: self.members[name].score_ranked(ranked, losses) for name in self.terms if name not in ranked}
        return {name: ranked[name] for name in self.terms if name in ranked} | rank_all(members)

    def check_covers(self, groups: list[str]) -> None:
        """Raise BlendsearchError naming the groups that the blend or a member of it says nothing about."""
        self._unit_of(groups)
        for member in self.members.values():
            member.check_covers(groups)

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

    def to_dict(self) -> State:
        """Return the JSON record, with the schema's version; `alpha` and `members` only where there are some."""
        members = {name: blend.to_dict() for name, blend in self.members.items()}
        return {
            "schema": blend_record.SCHEMA,
            "unit": self.unit,
            "groups": {unit: list(groups) for unit, groups in self.groups.items()},
            "weights": {unit: dict(factors) for unit, factors in self.weights.items()},
            **({"alpha": dict(self.alpha)} if self.alpha else {}),
            "keep": dict(self.keep),
            "found_on": dict(self.found_on),
            **({"members": members} if members else {}),
        }

    @classmethod
    def from_dict(cls, data: Unchecked, where: str = "blend") -> Blend:
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
            members={name: cls.from_dict(member) for name, member in data.get("members", {}).items()},
            alpha={unit: float(alpha) for unit, alpha in data.get("alpha", {}).items()},
        )

    def save(self, path: str | Path) -> None:
        """Write the blend as JSON, whole or not at all."""
        blend_record.write(self.to_dict(), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Blend:
        """Read a blend file; raises BlendsearchError with one line naming the file and the mistake."""
        return cls.from_dict(blend_record.read(Path(path)), where=str(path))
