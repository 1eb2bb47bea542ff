"""Augmentation of a batch against a loop over its images, from the same draws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from blendsearch.compute import generator
from blendsearch.data.augmentation import Augmentation


def one_by_one(images: Tensor, padding: int, flip: bool, draws: torch.Generator) -> Tensor:
    """Pad, crop and mirror every image by itself."""
    count, _, height, width = images.shape
    places = torch.randint(2 * padding + 1, (2, count), generator=draws) if padding else torch.zeros(2, count).long()
    mirror = torch.rand(count, generator=draws) < 0.5 if flip else torch.zeros(count).bool()
    result = []
    for image, top, left, turned in zip(images, *places.tolist(), mirror.tolist(), strict=True):
        cropped = F.pad(image, (padding,) * 4)[:, top : top + height, left : left + width]
        result.append(torch.flip(cropped, [2]) if turned else cropped)
    return torch.stack(result)


@pytest.mark.parametrize(("padding", "flip"), [(0, False), (0, True), (1, False), (4, True)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(9, 3, 6, 6), (5, 1, 4, 7), (1, 2, 5, 3)])
def test_a_batch_is_its_images_one_by_one(padding, flip, dtype, shape):
    images = torch.randint(1, 256, shape, generator=generator(0)).to(dtype)
    changed = Augmentation(padding, flip)(images, generator(1))
    assert changed.dtype == dtype
    assert torch.equal(changed, one_by_one(images, padding, flip, generator(1)))
