"""Racing: a candidate that is clearly worse than those already found is read on a part of the search images.

After the first images, and whenever there are twice as many, its scores are compared, image by image, with those of a
rival that was read on all of them. Sources: Maron & Moore, Hoeffding Races, NeurIPS 1993; Birattari et al., A Racing
Algorithm for Configuring Metaheuristics, GECCO 2002. Differences of pairs have a fraction of the variance of the scores
themselves, and a mean over part of the images is that much nearer to the mean over all as fewer are left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from blendsearch.compute import generator
from blendsearch.data.batches import Split


@dataclass(frozen=True)
class Racing:
    """How candidates are raced.

    first: images before the first comparison, at each further one there are twice as many. error: how probable it is
    at most, over all comparisons, that a candidate is stopped which all images would show to be as good as its rival.
    """

    first: int = 500
    error: float = 0.01

    def looks(self, images: int) -> list[int]:
        """Return after how many of so many images there is a comparison."""
        counts, count = [], self.first
        while count < images:
            counts.append(count)
            count *= 2
        return counts


class Course:
    """The search images in the order in which candidates are read on them: by chance, classes as even as possible."""

    def __init__(self, racing: Racing, images: Split, seed: int) -> None:
        shuffled = images.subset(torch.randperm(len(images), generator=generator(seed, "racing")))
        self.images = shuffled.take(len(images))
        self.looks = racing.looks(len(images))
        # As likely at each comparison: one that is certain to be stopped at last is best stopped at once.
        self.deviations = NormalDist().inv_cdf(1 - racing.error / max(1, len(self.looks)))
        ends = [*self.looks, len(images)]
        index = torch.arange(len(images))
        self.parts = [self.images.subset(index[a:b]) for a, b in zip([0, *ends], ends, strict=False)]

    def lost(self, scores: Tensor, rival: np.ndarray) -> bool:
        """Tell whether the scores of the first images, float [n], are clearly below the rival's, float [N].

        Those of all images never are: there is nothing left to be saved.
        """
        if len(scores) == len(rival):
            return False
        difference = _difference(scores, rival)
        left = 1 - len(scores) / len(rival)
        error = float(difference.std()) * math.sqrt(left / len(scores))
        return float(difference.mean()) + self.deviations * error < 0


def estimated_mean(scores: Tensor, rival: np.ndarray) -> float:
    """Return what the mean over all images is likely to be: the rival's, and the mean difference so far."""
    return float(rival.mean(dtype=np.float64)) + float(_difference(scores, rival).mean())


def error_of_difference(scores: Tensor, rival: np.ndarray) -> float:
    """Return the standard error of the mean difference to a rival's, from scores of the first images, float [n]."""
    return float(_difference(scores, rival).std(correction=0)) / math.sqrt(len(scores))


def _difference(scores: Tensor, rival: np.ndarray) -> Tensor:
    """Return by how much scores of the first images, float [n], are above the rival's, float64 [n]."""
    return scores.double() - torch.from_numpy(rival[: len(scores)]).double()
