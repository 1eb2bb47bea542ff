"""Splits kept on a device give the batches that they give from the host."""

from __future__ import annotations

import pytest
import torch
from pretended_device import pretended_device
from torch.utils.data import Dataset

from blendsearch.compute import Compute
from blendsearch.data import resident as resident_module
from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import GivenBatches, ImageTensors, Relabelled, StreamedImages, UnlabelledImages
from blendsearch.data.loaders import KeptPairs
from blendsearch.data.resident import resident

COUNT = 23
DRAWS = torch.Generator().manual_seed(0)
PIXELS = torch.randint(0, 256, (COUNT, 3, 6, 6), dtype=torch.uint8, generator=DRAWS)
FLOATS = torch.randn(COUNT, 3, 6, 6, generator=DRAWS)
LABELS = torch.tensor([0] * 10 + [1] * 8 + [2] * 5)
CHANGES = Augmentation(1, True)
DEVICE = Compute("cuda:0", channels_last=True)
TENSORS = ImageTensors(PIXELS, LABELS, (0.2, 0.4, 0.6), (0.5, 0.25, 0.125), CHANGES)


class Stored(Dataset):
    """Hands out the images one by one and counts."""

    def __init__(self) -> None:
        self.read = 0

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.read += 1
        return PIXELS[index], int(LABELS[index])


def streamed() -> StreamedImages:
    return StreamedImages(
        Stored(), LABELS, torch.arange(2, COUNT), (3, 6, 6), (0.2, 0.4, 0.6), (0.5, 0.25, 0.125), CHANGES, workers=0
    )


SPLITS = {
    "in memory": lambda: TENSORS,
    "streamed": streamed,
    "relabelled": lambda: Relabelled(TENSORS, LABELS.flip(0)),
    "unlabelled": lambda: UnlabelledImages(FLOATS, CHANGES),
    "given": lambda: GivenBatches([(FLOATS, LABELS)]),
    "pairs": lambda: KeptPairs(FLOATS, torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(1)), max),
}


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("options", [{}, {"seed": 3}, {"seed": 3, "augment": True}])
def test_a_device_gives_the_same_batches(name, options):
    split = SPLITS[name]()
    expected = list(split.batches(7, **options))
    with pretended_device() as device:
        kept = resident(split, DEVICE)
        found = []
        for images, labels in kept.batches(7, **options):
            assert images.device.type == labels.device.type == "cuda"
            found.append((images.cpu(), labels.cpu()))
        assert len(kept) == len(split)
    assert len(found) == len(expected)
    for (images, labels), (others, wanted) in zip(found, expected, strict=True):
        assert images.dtype == torch.float32
        assert torch.equal(images, others)
        assert torch.equal(labels, wanted)
    assert device.launches


def test_a_pass_copies_its_order_alone():
    with pretended_device() as device:
        kept = resident(TENSORS, DEVICE)
        list(kept.batches(7))
        device.copies = 0
        list(kept.batches(5))
        assert device.copies == 0
        list(kept.batches(5, seed=1))
        assert (device.copies, device.reads) == (1, 0)


def test_pixels_stay_whole_numbers_in_the_memory_format_of_the_networks():
    with pretended_device():
        images = resident(TENSORS, DEVICE).images
        assert images.dtype == torch.uint8
        assert images.here.is_contiguous(memory_format=torch.channels_last)


def test_streamed_images_are_read_once():
    split = streamed()
    with pretended_device():
        kept = resident(split, DEVICE)
        for _ in range(3):
            list(kept.batches(7))
    assert split.dataset.read == len(split)


def test_what_is_too_much_for_a_device_stays_on_the_host(monkeypatch):
    monkeypatch.setattr(resident_module, "MOST_RESIDENT", 6 * 6 * 3 * 21 - 1)
    for split in (TENSORS, streamed(), Relabelled(TENSORS, LABELS)):
        assert resident(split, DEVICE) is split


def test_the_cpu_keeps_the_split_itself():
    assert resident(TENSORS, Compute("cpu", channels_last=True)) is TENSORS
