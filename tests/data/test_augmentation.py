"""Crops and mirror images of batches."""

from __future__ import annotations

import torch

from blendsearch.compute import generator
from blendsearch.data.augmentation import Augmentation

IMAGES = torch.arange(1, 1 + 6 * 3 * 5 * 5, dtype=torch.int32).view(6, 3, 5, 5)


def windows(image: torch.Tensor, padding: int) -> list[torch.Tensor]:
    """All crops of one padded image, by plain slicing: an independent reference."""
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    places = range(2 * padding + 1)
    return [padded[:, y : y + height, x : x + width] for y in places for x in places]


def test_nothing_asked_changes_nothing():
    assert torch.equal(Augmentation()(IMAGES, generator(0)), IMAGES)


def test_each_crop_is_a_window_of_the_padded_image():
    cropped = Augmentation(crop_padding=2)(IMAGES, generator(3))
    assert cropped.shape == IMAGES.shape
    for image, result in zip(IMAGES, cropped, strict=True):
        assert any(torch.equal(result, window) for window in windows(image, 2))


def test_images_of_a_batch_are_cropped_and_mirrored_each_on_its_own():
    same = torch.arange(25).view(1, 1, 5, 5).repeat(400, 1, 1, 1)
    cropped = Augmentation(crop_padding=1)(same, generator(0))
    assert len({tuple(image.flatten().tolist()) for image in cropped}) == 9
    mirrored = (Augmentation(flip=True)(same, generator(0)) != same).flatten(1).any(1)
    assert 150 < int(mirrored.sum()) < 250


def test_a_mirrored_image_has_its_columns_reversed():
    flipped = Augmentation(flip=True)(IMAGES, generator(1))
    for image, result in zip(IMAGES, flipped, strict=True):
        assert torch.equal(result, image) or torch.equal(result, image[:, :, range(4, -1, -1)])


def test_the_generator_alone_decides():
    change = Augmentation(2, True)
    assert torch.equal(change(IMAGES, generator(5)), change(IMAGES, generator(5)))
    assert not torch.equal(change(IMAGES, generator(5)), change(IMAGES, generator(6)))
