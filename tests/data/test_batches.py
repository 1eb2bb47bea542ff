"""What every kind of split promises, and what is special to each."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset

from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import GivenBatches, ImageTensors, Relabelled, StreamedImages, balanced
from blendsearch.errors import DataError

COUNT = 23
MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.25, 0.125)
PIXELS = torch.randint(0, 256, (COUNT, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0] * 10 + [1] * 8 + [2] * 5)
AUGMENTATION = Augmentation(1, True)


class Stored(Dataset):
    """Hands out the images one by one, as files would be."""

    def __init__(self, broken: int | None = None) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index == self.broken:
            raise DataError("data.root: 'x.jpg' cannot be read as an image (truncated)")
        return PIXELS[index], int(LABELS[index])


def streamed(workers: int = 0, broken: int | None = None) -> StreamedImages:
    return StreamedImages(Stored(broken), LABELS, torch.arange(COUNT), (3, 6, 6), MEAN, STD, AUGMENTATION, workers)


def in_memory() -> ImageTensors:
    return ImageTensors(PIXELS, LABELS, MEAN, STD, AUGMENTATION)


def given() -> GivenBatches:
    return GivenBatches(in_memory().batches(7))


def read(split, size: int = 5, **options) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*split.batches(size, **options), strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.fixture(params=[in_memory, streamed, given], ids=["in memory", "streamed", "given"])
def split(request):
    return request.param()


def test_without_a_seed_images_come_normalised_in_stored_order(split):
    images, labels = read(split)
    expected = (PIXELS.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert torch.equal(labels, LABELS)
    assert torch.equal(split.labels, LABELS)
    torch.testing.assert_close(images.double(), expected, atol=1e-5, rtol=0)


def test_batches_have_the_asked_size_but_the_last(split):
    assert [len(labels) for _, labels in split.batches(5)] == [5, 5, 5, 5, 3]
    assert len(split) == COUNT


def test_an_epoch_is_a_function_of_its_seed_alone(split):
    torch.manual_seed(1)
    first = read(split, seed=4, augment=True)
    torch.manual_seed(2)
    again, other = read(split, seed=4, augment=True), read(split, seed=5, augment=True)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert torch.equal(first[1].sort().values, LABELS)


def test_reading_leaves_the_global_generator_alone(split):
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    read(split, seed=1, augment=True)
    assert torch.equal(torch.rand(1), expected)


def test_take_is_even_over_the_classes_and_always_the_same(split):
    part = split.take(9)
    assert torch.bincount(part.labels).tolist() == [3, 3, 3]
    assert torch.equal(read(part)[0], read(split.take(9))[0])
    assert torch.bincount(split.take(20).labels).tolist() == [8, 7, 5]
    assert len(split.take(COUNT)) == COUNT


def test_a_smaller_take_begins_a_larger_one(split):
    assert torch.equal(read(split.take(12))[0][:6], read(split.take(6))[0])


def test_other_labels_go_with_the_same_images():
    own = in_memory()
    labels = torch.arange(len(own))  # each image's place, so that every pair can be checked
    other = Relabelled(own, labels)
    first = next(own.batches(len(own)))[0]
    for seed in (None, 3):
        pairs = list(zip(own.batches(4, seed=seed), other.batches(4, seed=seed), strict=True))
        assert all(torch.equal(left[0], right[0]) for left, right in pairs)
        for _, (images, places) in pairs:
            assert torch.equal(images, first[places])
    index = torch.tensor([5, 2])
    images, places = next(other.subset(index).batches(2))
    assert places.tolist() == [5, 2]
    assert torch.equal(images, first[index])


def test_taking_goes_by_the_other_labels():
    own = in_memory()
    labels = (torch.arange(len(own)) >= len(own) - 2).long()  # two of the second class, at the end
    assert sorted(Relabelled(own, labels).take(4).labels.tolist()) == [0, 0, 1, 1]


def test_streamed_and_in_memory_give_the_same_batches():
    for options in ({}, {"seed": 3}, {"seed": 3, "augment": True}):
        for a, b in zip(streamed().batches(8, **options), in_memory().batches(8, **options), strict=True):
            assert torch.equal(a[0], b[0])
            assert torch.equal(a[1], b[1])


def test_worker_processes_change_nothing():
    assert torch.equal(read(streamed(2), seed=1, augment=True)[0], read(streamed(0), seed=1, augment=True)[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_is_one_line_of_error(workers):
    with pytest.raises(DataError) as caught:
        read(streamed(workers, broken=12))
    assert str(caught.value) == "data.root: 'x.jpg' cannot be read as an image (truncated)"


def test_balanced_takes_the_first_of_each_class_first():
    assert balanced(torch.tensor([1, 1, 1, 0, 2, 0]), 5).tolist() == [3, 0, 4, 5, 1]


def test_given_batches_may_come_from_a_generator_and_in_another_number_type():
    split = GivenBatches((torch.ones(2, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1])) for _ in range(3))
    images, labels = next(split.batches(6))
    assert images.dtype == torch.float32
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]


IMAGE = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "no image given"),
        ([(IMAGE[:0], torch.tensor([], dtype=torch.long))], "no image given"),
        ([IMAGE], "batch 0 is Tensor"),
        ([{"image": IMAGE}], "batch 0 is dict"),
        ([(IMAGE, torch.tensor([0, 1])), (IMAGE[0], torch.tensor([0, 1]))], "batch 1 has images"),
        ([(IMAGE.to(torch.uint8), torch.tensor([0, 1]))], "uint8"),
        ([(IMAGE, torch.tensor([0, 1, 2]))], "for 2 images"),
        ([(IMAGE, torch.eye(2))], "one class index"),
        ([(IMAGE, torch.tensor([0, 1])), (torch.zeros(1, 3, 5, 5), torch.tensor([0]))], "(3, 5, 5)"),
    ],
)
def test_batches_of_another_form_are_refused_in_one_line(batches, words):
    with pytest.raises(DataError, match="batches: ") as caught:
        GivenBatches(batches)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
