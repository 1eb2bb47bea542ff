"""The images of a review: what the filters are shown, out of the search split and never the test split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsearch.compute import generator
from blendsearch.data.batches import Split, balanced
from blendsearch.review.pictures import shrink
from blendsearch.review.responses import BATCH

MOST = 1000
SAMPLE_SIZE = 8


@dataclass(frozen=True)
class SampleImages:
    """The looked-at images: a split of them, their thumbnails (uint8 [N, 3, H, W]), labels, and the class names."""

    split: Split
    thumbnails: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    @classmethod
    def of(cls, split: Split, classes: tuple[str, ...]) -> SampleImages:
        """Take up to MOST images of a split, as evenly over the classes as it allows."""
        chosen = split.take(min(MOST, len(split)))
        thumbnails = torch.cat([shrink(split, images) for images, _ in chosen.batches(BATCH)])
        return cls(chosen, thumbnails, chosen.labels, classes)

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, seed: int) -> Tensor:
        """Return the indices of SAMPLE_SIZE images, of as many classes as that allows; others for another seed."""
        draws = generator(seed, "handful")
        order = torch.randperm(len(self), generator=draws)
        shuffled = torch.randperm(len(self.classes), generator=draws)
        return order[balanced(shuffled[self.labels[order]], SAMPLE_SIZE)]

    def images(self, index: Tensor) -> Tensor:
        """Return normalised images [N, C, H, W]."""
        return torch.cat([images for images, _ in self.split.subset(index).batches(BATCH)])
