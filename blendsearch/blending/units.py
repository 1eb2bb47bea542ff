"""A blend under another unit: given to finer units as it is, averaged for coarser ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from blendsearch.blending.blend import NETWORK, Blend


def unit_of_groups(blend: Blend, groups: Sequence[str]) -> dict[str, str]:
    """Return group -> the blend's unit that covers it; BlendsearchError naming groups that none covers."""
    blend.check_covers(list(groups))
    if blend.unit == NETWORK:
        return dict.fromkeys(groups, NETWORK)
    owner = {group: unit for unit, members in blend.groups.items() for group in members}
    return {group: owner[group] for group in groups}


def with_unit(blend: Blend, unit: str, units: Mapping[str, Sequence[str]]) -> Blend:
    """Return the blend with other units; `units`: name -> its groups, all of them covered by the blend.

    A finer unit takes the factors of the coarser one it lies in, so the blend ranks exactly as before. A coarser one
    takes the mean over its groups (so a unit counts by how many groups it has; a criterion that is missing counts 0).
    Exponents go with the factors.
    Weights of groups (keep) stay as they are. Raises BlendsearchError for groups that the blend does not cover.
    """
    owner = unit_of_groups(blend, [group for groups in units.values() for group in groups])
    weights = {name: _mean([blend.weights[owner[group]] for group in groups]) for name, groups in units.items()}
    alpha: dict[str, float] = {}
    if blend.alpha:
        exponents = {group: {"": blend.alpha.get(owner[group], 0.0)} for groups in units.values() for group in groups}
        alpha = {name: _mean([exponents[group] for group in groups])[""] for name, groups in units.items()}
    covered = {name: tuple(groups) for name, groups in units.items()}
    return replace(blend, unit=unit, weights=weights, groups=covered, alpha=alpha)


def _mean(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean factor of each criterion; factors that are all equal stay what they are, to the last bit."""
    if all(factors == several[0] for factors in several):
        return dict(several[0])
    names = dict.fromkeys(name for factors in several for name in factors)
    return {name: sum(factors.get(name, 0.0) for factors in several) / len(several) for name in names}
