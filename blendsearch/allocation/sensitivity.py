"""Layers that bear damage well lose more filters: keep ratios from measured sensitiveness (SBPF)."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from blendsearch.allocation.base import Allocation, register_allocation
from blendsearch.allocation.budget import Budget
from blendsearch.allocation.filling import widest
from blendsearch.compute import Compute, generator
from blendsearch.data.batches import Split
from blendsearch.errors import BlendsearchError, ConfigError, unknown_name
from blendsearch.plain import State
from blendsearch.progress import Progress, silent
from blendsearch.structure import Structure
from blendsearch.training.evaluation import Batches, correct_mask

DAMAGES = {
    "add": lambda weight, noise: weight + noise * weight.std(unbiased=False),
    "multiply": lambda weight, noise: weight * (1 + noise),
}


@register_allocation
class Sensitivity(Allocation):
    """Damages one group at a time and measures how much accuracy is lost; the less, the more filters it loses.

    The damage is Gaussian noise on the weights of the group's convolutions. A group's sensitiveness is the mean loss
    of accuracy on the search split over strengths and draws, or 0 where the damage helped. A group loses a share of
    its filters proportional to 1 - contrast * sensitiveness / highest sensitiveness, as large as the budget demands.

    strengths: standard deviations of the noise, in those of the weight tensor. draws: repetitions, each with noise of
    its own, scaled by all the strengths. damage: "add" noise to the weights or "multiply" them by 1 + noise. images:
    how many class-balanced images of the search split to look at; null for all. contrast: 0 ignores the measurement
    (uniform), near 1 hardly touches the most sensitive group; the source has no such number, 0.5 did well on a search
    split.

    After `prepare`, accuracy: undamaged. drops: group -> loss at each strength. lost: group -> [draws, images], which
    images are lost (1) or won (-1) under each draw's noise, mean over strengths; not there in what was put away.
    """

    name = "sensitivity"
    source = "Lu et al., SBPF: Sensitiveness Based Pruning Framework, arXiv 2208.04588, 2022"
    by_scores = False

    def __init__(
        self,
        strengths: Sequence[float] = (0.25, 0.5, 1.0),
        draws: int = 3,
        damage: str = "add",
        images: int | None = 1000,
        contrast: float = 0.5,
    ) -> None:
        if not strengths or not all(strength > 0 for strength in strengths):
            raise ConfigError(f"allocation.strengths: {list(strengths)} given, at least one expected, each above 0")
        if draws < 1:
            raise ConfigError(f"allocation.draws: {draws} given, at least 1 expected")
        if damage not in DAMAGES:
            raise unknown_name("damage", damage, DAMAGES, "allocation.damage")
        if images is not None and images < 1:
            raise ConfigError(f"allocation.images: {images} given, at least 1 expected, or null for all")
        if not 0 <= contrast < 1:
            raise ConfigError(f"allocation.contrast: {contrast} given, 0 to below 1 expected")
        self.strengths, self.draws, self.damage, self.images = tuple(strengths), draws, damage, images
        self.contrast = contrast
        self.accuracy = math.nan
        self.drops: dict[str, list[float]] = {}
        self.lost: dict[str, np.ndarray] = {}

    @property
    def sensitiveness(self) -> dict[str, float]:
        """Group -> mean loss of accuracy under damage, at least 0; empty before `prepare`."""
        return {group: max(0.0, fmean(drops)) for group, drops in self.drops.items()}

    def prepare(
        self,
        network: nn.Module,
        structure: Structure,
        search: Split,
        *,
        compute: Compute,
        seed: int,
        progress: Progress = silent,
    ) -> None:
        """Measure every group; a copy of `network` is damaged, so that it stays as it is whatever happens."""
        victim = compute.place(copy.deepcopy(network))
        batches = list((search if self.images is None else search.take(self.images)).batches(500))
        right = correct_mask(victim, batches, compute).numpy()
        trials = list(itertools.product(structure.groups, self.strengths, range(self.draws)))
        lost: dict[str, list[np.ndarray]] = {}
        for done, (group, strength, draw) in enumerate(trials):
            progress("sensitivity", done, len(trials), group.name)
            still = self._right(victim, group.convolutions, strength, batches, compute, (seed, group.name, draw))
            lost.setdefault(group.name, []).append(right.astype(np.int8) - still)
        progress("sensitivity", len(trials), len(trials))
        self.accuracy = float(right.mean())
        shape = (len(self.strengths), self.draws, len(right))
        each = {name: np.stack(trials_of).reshape(shape) for name, trials_of in lost.items()}
        self.drops = {name: array.mean((1, 2)).tolist() for name, array in each.items()}
        self.lost = {name: array.mean(0) for name, array in each.items()}

    def _right(
        self,
        victim: nn.Module,
        convolutions: Sequence[str],
        strength: float,
        batches: Batches,
        compute: Compute,
        path: tuple[int, str, int],
    ) -> np.ndarray:
        """Tell which images are right while the convolutions are damaged; the noise depends on `path` alone."""
        weights = [victim.get_submodule(name).get_parameter("weight") for name in convolutions]
        sound = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for name, weight in zip(convolutions, weights, strict=True):
                noise = torch.randn(weight.shape, generator=generator(*path, name)).to(weight.device)
                weight.copy_(DAMAGES[self.damage](weight, noise * strength))
            right = correct_mask(victim, batches, compute).numpy()
            for weight, before in zip(weights, sound, strict=True):
                weight.copy_(before)
        return right

    def unmeasured(self, structure: Structure) -> bool:
        return not structure.widths.keys() <= self.drops.keys()

    def state_dict(self) -> State:
        """Return the accuracy without damage, the strengths, and each group's losses and sensitiveness."""
        return {
            "accuracy": self.accuracy,
            "strengths": list(self.strengths),
            "drops": self.drops,
            "sensitiveness": self.sensitiveness,
        }

    def load_state_dict(self, state: State) -> None:
        self.accuracy = state["accuracy"]
        self.drops = {group: list(drops) for group, drops in state["drops"].items()}

    def counts(
        self, structure: Structure, scores: Mapping[str, Tensor], budget: Budget, floors: Mapping[str, int]
    ) -> dict[str, int]:
        weights = self._weights(structure)
        furthest = 1 / min(weights.values())  # here every group has lost all that it may

        def shares(width: float) -> dict[str, float]:
            return {group: max(0.0, 1 - (1 - width) * furthest * weight) for group, weight in weights.items()}

        return widest(shares, floors, budget, structure.cost)

    def _weights(self, structure: Structure) -> dict[str, float]:
        """Return the share of its filters that each group loses, up to a common factor."""
        measured = self.sensitiveness
        unknown = [group for group in structure.widths if group not in measured]
        if unknown:
            raise BlendsearchError(
                f"allocation 'sensitivity': group '{unknown[0]}' was not measured; "
                "call prepare(network, structure, search split, ...) on this network first"
            )
        highest = max(measured.values()) or 1.0
        return {group: 1 - self.contrast * measured[group] / highest for group in structure.widths}
