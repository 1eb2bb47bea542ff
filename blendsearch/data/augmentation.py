"""Random crops and mirror images of whole batches, as tensor operations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """Pads by `crop_padding` pixels and crops back at a random place; mirrors half of the images when `flip`.

    Each image of a batch [N, C, H, W] draws its own; any number type, any device. Padding is zero.
    """

    crop_padding: int = 0
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the changed batch."""
        if self.crop_padding:
            images = self._crop(images, generator)
        if self.flip:
            mirrored = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        return images

    def _crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        padded = F.pad(images, [self.crop_padding] * 4)
        top, left = torch.randint(2 * self.crop_padding + 1, (2, count), generator=generator).to(images.device)
        rows = top[:, None] + torch.arange(height, device=images.device)
        columns = left[:, None] + torch.arange(width, device=images.device)
        sample = torch.arange(count, device=images.device)[:, None, None]
        # Indexing puts the channels last; [N, H, W, C] -> [N, C, H, W].
        return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
