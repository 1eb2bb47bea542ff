"""A blend on another network than the one it was found on: which layer there takes the weights of which here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from blendsearch.blending.blend import NETWORK, Blend
from blendsearch.blending.units import unit_of_groups, with_unit
from blendsearch.errors import BlendsearchError
from blendsearch.structure import Structure

SAME = "same layers: the blend is used as it was found"
ANY = "one blend for the whole network: it is used as it was found"


@dataclass(frozen=True)
class Position:
    """Where a group stands in its network: its stage, and whether it is inner (None: not known)."""

    group: str
    stage: str
    inner: bool | None


@dataclass(frozen=True)
class AdaptedBlend:
    """A blend that covers a network's groups, by which rule, and target group -> source group where these differ."""

    blend: Blend
    rule: str
    matched: dict[str, str] = field(default_factory=dict)


def adapt_blend(blend: Blend, structure: Structure) -> AdaptedBlend:
    """Return the blend for the groups of a network, with the rule that made it fit.

    The same layers: as it is. The same stages with other depths (ResNet-20 and ResNet-56): each group takes the
    factors, the exponent and the weight (keep) of the group at the nearest relative depth among those of its stage and
    kind (inner or coupled). Otherwise: the mean over the source's layers for the whole network, and equal weights.
    Members are adapted each by where it was found itself.
    Raises BlendsearchError when the blend's note of its groups (found_on.groups) is of another form.
    """
    adapted = _adapt(blend, structure)
    if not blend.members:
        return adapted
    members = {name: adapt_blend(member, structure) for name, member in blend.members.items()}
    whole = replace(adapted.blend, members={name: member.blend for name, member in members.items()})
    moved = [
        f"; its member {name}: {member.rule}" for name, member in members.items() if member.rule not in (SAME, ANY)
    ]
    return AdaptedBlend(whole, adapted.rule + "".join(moved), adapted.matched)


def _adapt(blend: Blend, structure: Structure) -> AdaptedBlend:
    """Fit the blend's own factors."""
    targets = [Position(group.name, group.stage, group.inner) for group in structure.groups]
    sources = positions(blend)
    if _same_layers(blend, sources, structure):
        return AdaptedBlend(blend, SAME if blend.groups or blend.keep else ANY)
    matched = _matched(sources, targets)
    if matched is None:
        return AdaptedBlend(_for_any_network(blend, targets), _why_network(blend, sources, targets))
    return AdaptedBlend(_moved(blend, matched), _by_depth(sources, targets), matched)


def positions(blend: Blend) -> list[Position]:
    """Return where the groups stood in the network that the blend was found on, as far as its file says."""
    noted = blend.found_on.get("groups")
    if noted is None:
        stages = blend.groups if blend.unit == "stage" else {}
        return [Position(group, stage, None) for stage, groups in stages.items() for group in groups]
    try:
        return [Position(str(name), str(facts["stage"]), bool(facts["inner"])) for name, facts in noted.items()]
    except (AttributeError, KeyError, TypeError):
        raise BlendsearchError("blend: found_on.groups: group -> {stage, inner} expected") from None


def _same_layers(blend: Blend, sources: Sequence[Position], structure: Structure) -> bool:
    """Tell whether names can be trusted: all are known, and none is missing that the space did not leave out."""
    if blend.unit == NETWORK and not blend.keep:
        return True
    known = set(blend.keep) if blend.unit == NETWORK else {g for groups in blend.groups.values() for g in groups}
    gone = {position.group for position in sources} - set(structure.widths) - set(structure.refused)
    return not gone and set(structure.widths) <= known


def _kinds(some: Sequence[Position]) -> dict[str, set[bool | None]]:
    kinds: dict[str, set[bool | None]] = {}
    for position in some:
        kinds.setdefault(position.stage, set()).add(position.inner)
    return kinds


def _matched(sources: Sequence[Position], targets: Sequence[Position]) -> dict[str, str] | None:
    """Return target group -> source group by stage, kind and relative depth; None where stages or kinds differ."""
    known = any(position.inner is not None for position in sources)
    targets = targets if known else [replace(position, inner=None) for position in targets]
    own, others = _kinds(targets), _kinds(sources)
    if set(own) != set(others) or any(not kinds <= others[stage] for stage, kinds in own.items()):
        return None
    depths = _depths(sources)
    return {position.group: _nearest(position, depth, sources, depths) for position, depth in _with_depth(targets)}


def _with_depth(some: Sequence[Position]) -> list[tuple[Position, float]]:
    depths = _depths(some)
    return [(position, depths[position.group]) for position in some]


def _depths(some: Sequence[Position]) -> dict[str, float]:
    """Return group -> its position in [0, 1] among those of its stage and kind; 0.5 for the only one."""
    found = {}
    for position in some:
        peers = [other.group for other in some if (other.stage, other.inner) == (position.stage, position.inner)]
        found[position.group] = peers.index(position.group) / (len(peers) - 1) if len(peers) > 1 else 0.5
    return found


def _nearest(position: Position, depth: float, sources: Sequence[Position], depths: Mapping[str, float]) -> str:
    peers = [other.group for other in sources if (other.stage, other.inner) == (position.stage, position.inner)]
    # Rounded, so that of two equally near ones the earlier is taken whatever the last bit says.
    return min(peers, key=lambda group: round(abs(depths[group] - depth), 9))


def _moved(blend: Blend, matched: Mapping[str, str]) -> Blend:
    """Give every target group what its source group has."""
    keep = {target: blend.keep[source] for target, source in matched.items() if source in blend.keep}
    if blend.unit == NETWORK:
        return replace(blend, groups={NETWORK: tuple(matched)}, keep=keep)
    owner = unit_of_groups(blend, list(dict.fromkeys(matched.values())))
    if blend.unit == "layer":
        weights = {target: dict(blend.weights[owner[source]]) for target, source in matched.items()}
        alpha = {t: blend.alpha[owner[source]] for t, source in matched.items() if owner[source] in blend.alpha}
        alone: dict[str, tuple[str, ...]] = {target: (target,) for target in matched}
        return replace(blend, weights=weights, groups=alone, keep=keep, alpha=alpha)
    groups: dict[str, tuple[str, ...]] = {}
    for target, source in matched.items():
        groups[owner[source]] = (*groups.get(owner[source], ()), target)
    weights = {unit: dict(blend.weights[unit]) for unit in groups}
    alpha = {unit: blend.alpha[unit] for unit in groups if unit in blend.alpha}
    return replace(blend, weights=weights, groups=groups, keep=keep, alpha=alpha)


def _for_any_network(blend: Blend, targets: Sequence[Position]) -> Blend:
    everything = [group for groups in blend.groups.values() for group in groups]
    mean = blend if blend.unit == NETWORK else with_unit(blend, NETWORK, {NETWORK: everything})
    names = tuple(position.group for position in targets)
    return replace(mean, groups={NETWORK: names}, keep=dict.fromkeys(names, 1.0) if blend.keep else {})


def _found_at(blend: Blend) -> str:
    name = blend.found_on.get("model")
    return f" of {name}" if isinstance(name, str) else ""


def _why_network(blend: Blend, sources: Sequence[Position], targets: Sequence[Position]) -> str:
    here, there = (len({position.stage for position in some}) for some in (targets, sources))
    reason = f"{there} stages there, {here} here" if sources and here != there else "its stages are other ones"
    reason = reason if sources else "its file does not say in which stages its layers were"
    shares = "; all layers keep equal shares" if blend.keep else ""
    return f"another network: the mean over the layers{_found_at(blend)} for all layers ({reason}){shares}"


def _by_depth(sources: Sequence[Position], targets: Sequence[Position]) -> str:
    return (
        f"same stages, other depth: each of the {len(targets)} layers takes the weights of the layer at the nearest "
        f"relative depth in its stage ({len(sources)} layers there)"
    )
