"""A set-aware blend's choice repeated layer by layer, on what the already pruned and refitted network gives."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from blendsearch.blending import Blend
from blendsearch.blending.blend import Wish
from blendsearch.criteria import DropLoss, Reader
from blendsearch.evolution.fitness import Planner
from blendsearch.statistics.readers import readers_of, taps_apart
from blendsearch.structure import Group, Plan
from blendsearch.structure.groups import Member
from blendsearch.training.compensation import Compensation
from blendsearch.training.sequential import Refitted, choose_in_passing


def choose_sequentially(planner: Planner, blend: Blend, network: nn.Module, compensation: Compensation) -> Plan:
    """Return a blend's plan with each group's set chosen from what the network gives that is pruned up to there.

    As many filters stay in each group as in the planner's plan of the blend; groups whose unit has no exponent keep
    that plan's sets. Of several layers that read a group, the first to be reached decides: with its own inputs of that
    moment, and with those of the others from the unpruned network.
    """
    plan = planner.plan(blend)
    wishes = blend.wishes(planner.ranked, planner.losses)
    return choose_in_passing(compensation, network, plan, _Decider(network, planner, plan, wishes))


class _Decider:
    """Says which filters of the groups that a layer reads stay, the first time that they are read."""

    def __init__(self, network: nn.Module, planner: Planner, plan: Plan, wishes: Mapping[str, Wish]) -> None:
        self.plan, self.wishes, self.losses = plan, wishes, planner.losses
        self.groups = {group.name: group for group in planner.structure.groups}
        self.readers = {name: list(readers_of(network, group)) for name, group in self.groups.items()}
        self.open = {name for name, kept in plan.keep.items() if len(kept) < plan.widths[name]}

    def __call__(self, layer: str, refitted: Refitted) -> dict[str, tuple[int, ...]]:
        chosen = {}
        for name in list(self.plan.keep):
            places = [number for number, (_, member) in enumerate(self.readers[name]) if member.module == layer]
            if name in self.open and places:
                self.open.remove(name)
                chosen[name] = self._choose(self.groups[name], places[0], refitted)
        return chosen

    def _choose(self, group: Group, number: int, refitted: Refitted) -> tuple[int, ...]:
        kept = self.plan.keep[group.name]
        wish, loss = self.wishes.get(group.name), self.losses.get(group.name)
        member = self.readers[group.name][number][1]
        taps = len(refitted.gram) // len(refitted.left)
        if wish is None or loss is None or taps_apart(len(member.index) * taps):
            return kept
        readers = list(loss.readers)
        readers[number] = as_reader(refitted, member, readers[number], taps)
        place = DropLoss(group.width, readers).eliminate(wish.alpha, wish.tilt).place
        return tuple(sorted(place.argsort(descending=True)[: len(kept)].tolist()))


def as_reader(refitted: Refitted, member: Member, unpruned: Reader, taps: int) -> Reader:
    """Return a refitted layer as a reader of a group: its rows filter by filter, its outputs weighted as before.

    The importance of the unpruned layer's outputs is per unit of what it gives; a norm's scale takes it to what that
    gives, in which the refitted weights are.
    """
    assert unpruned.importance is not None
    order = torch.tensor(member.root).argsort(stable=True)
    channels = torch.tensor(member.index)[order].to(refitted.gram.device)  # filter by filter, their readings together
    rows = (channels[:, None] + len(refitted.left) * torch.arange(taps, device=channels.device)).flatten()
    scale = refitted.scale.square()
    importance = torch.where(scale > 0, unpruned.importance.to(scale.device) / scale, 0.0)
    gram, weights = refitted.gram[rows][:, rows], refitted.weights[rows] * importance.sqrt()
    return Reader(gram.float().cpu(), weights.float().cpu(), unpruned.importance)
