"""Closed-form compensation as a part of pruning: what a cut leaves is refitted before, or instead of, retraining."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.structure import Plan, Structure
from blendsearch.training.compensation import Compensation


@dataclass(frozen=True)
class Refit:
    """Refits a cut network against the one it was cut from. images: [N, C, H, W], normalised; no labels needed.

    positions, ridge: see Compensation. What the uncut network gave is kept until another one comes: contenders are all
    cut from the same, and recording it takes longer than the refit.
    Source: He et al., Channel Pruning, ICCV 2017, section 3.1 (least-squares reconstruction).
    """

    images: Tensor
    positions: int = 20_000
    ridge: float = 1e-3
    kept: dict[tuple[object, ...], Compensation] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(
        self, network: nn.Module, structure: Structure, pruned: nn.Module, plan: Plan, compute: Compute, seed: int
    ) -> None:
        """Refit `pruned`, the network of this structure sliced by `plan`, in place, on the compute's device."""
        self.recorded(network, structure, compute, seed).refit(compute.place(pruned), plan)

    def recorded(self, network: nn.Module, structure: Structure, compute: Compute, seed: int) -> Compensation:
        """Return the least squares with what the uncut network gives, recorded now or kept."""
        key = (id(structure), seed, compute, _digest(network))
        if key not in self.kept:
            self.kept.clear()
            self.kept[key] = Compensation(
                network, structure, self.images, positions=self.positions, ridge=self.ridge, compute=compute, seed=seed
            )
        return self.kept[key]

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker: the terms, not what is kept."""
        return {**vars(self), "kept": {}}


def _digest(network: nn.Module) -> str:
    """Return what tells apart networks by their weights, so that one which was trained on is recorded again."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
