"""Closed-form compensation as a part of pruning: what a cut leaves is refitted before, or instead of, retraining."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.structure import Plan, Structure
from blendsearch.training.compensation import Compensation


@dataclass(frozen=True)
class Refit:
    """Refits a cut network against the one it was cut from. images: [N, C, H, W], normalised; no labels needed.

    positions, ridge: see Compensation.
    Source: He et al., Channel Pruning, ICCV 2017, section 3.1 (least-squares reconstruction).
    """

    images: Tensor
    positions: int = 20_000
    ridge: float = 1e-3

    def __call__(
        self, network: nn.Module, structure: Structure, pruned: nn.Module, plan: Plan, compute: Compute, seed: int
    ) -> None:
        """Refit `pruned`, the network of this structure sliced by `plan`, in place, on the compute's device."""
        compensation = Compensation(
            network, structure, self.images, positions=self.positions, ridge=self.ridge, compute=compute, seed=seed
        )
        compensation.refit(compute.place(pruned), plan)
