"""The criterion to beat: chance."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsearch.compute import generator
from blendsearch.criteria.base import Criterion, register_criterion
from blendsearch.statistics import Statistics
from blendsearch.structure import Group


@register_criterion
class Random(Criterion):
    """Uniform numbers, from the seed and the group's name."""

    name = "random"
    needs = ()
    source = "Mittal et al., Studying the Plasticity in Deep CNNs Using Random Pruning, 2018 (arXiv 1812.10240)"
    detects_dead = False
    seeded = True

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        draws = generator(statistics.seed, "random", group.name)
        return torch.rand(group.width, generator=draws, dtype=torch.float32)  # not the caller's default
