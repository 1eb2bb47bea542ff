"""Loaders as splits: every item once, in an order and with random changes that a seed decides, in any process."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from blendsearch.config import DataConfig
from blendsearch.data.batches import GivenBatches
from blendsearch.data.loaders import LoaderImages, Loaders, read_loader
from blendsearch.errors import DataError


def numbered(count, classes=4):
    images = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(count, 1, 2, 2).clone()
    return TensorDataset(images, torch.arange(count) % classes)


def first_pixels(split, **how):
    return torch.cat([images[:, 0, 0, 0] for images, _ in split.batches(7, **how)]).tolist()


def test_a_loader_that_shuffles_is_read_by_number_in_an_order_of_its_own():
    split = read_loader(DataLoader(numbered(20), 6, shuffle=True, drop_last=True), "train")
    assert isinstance(split, LoaderImages)
    assert first_pixels(split) == list(range(20)), "also the last ones, which the loader drops"
    one, other = first_pixels(split, seed=1), first_pixels(split, seed=2)
    assert sorted(one) == sorted(other) == list(range(20))
    assert one == first_pixels(split, seed=1) != other


def test_labels_come_from_the_datasets_own_list_only_where_it_tells_the_truth():
    class Listed(Dataset):
        reads = 0

        def __init__(self, targets):
            self.targets = targets

        def __len__(self):
            return 40

        def __getitem__(self, number):
            Listed.reads += 1
            return torch.zeros(1, 2, 2), number % 3

    true = read_loader(DataLoader(Listed([number % 3 for number in range(40)]), 8), "train")
    assert Listed.reads < 10
    false = read_loader(DataLoader(Listed([0] * 40), 8), "train")
    assert true.labels.tolist() == false.labels.tolist() == [number % 3 for number in range(40)]


def test_subsets_and_subset_samplers_are_followed():
    chosen = [3, 5, 8, 13]
    subset = read_loader(DataLoader(Subset(numbered(20), chosen), 2), "train")
    sampled = read_loader(DataLoader(numbered(20), 2, sampler=SubsetRandomSampler(chosen)), "train")
    for split in (subset, sampled):
        assert first_pixels(split) == chosen
        assert split.labels.tolist() == [number % 4 for number in chosen]
        assert first_pixels(split.subset(torch.tensor([2, 0]))) == [8, 3]


CHOSEN = [3, 5, 8, 13]


class Twice(Sampler):
    """Yields the chosen numbers twice, in any order."""

    def __iter__(self):
        yield from (CHOSEN * 2)[::-1]


@pytest.mark.parametrize(
    "how",
    [
        {"sampler": CHOSEN[::-1]},
        {"sampler": torch.tensor(CHOSEN)},
        {"sampler": Twice()},
        {"batch_sampler": BatchSampler(SubsetRandomSampler(CHOSEN), 3, drop_last=True)},
        {"batch_sampler": [[3, 13], [8, 5]]},
    ],
)
def test_any_sampler_is_followed_to_the_items_that_it_yields(how):
    state = torch.get_rng_state()
    split = read_loader(DataLoader(numbered(20), **how), "train")
    assert first_pixels(split) == CHOSEN
    assert torch.equal(state, torch.get_rng_state()), "what a loader draws is not drawn from the user's generator"


def test_a_sampler_that_only_draws_stands_for_the_whole_dataset():
    weighted = WeightedRandomSampler([1.0] * 20, num_samples=5)
    for how in ({"sampler": weighted}, {"batch_sampler": BatchSampler(weighted, 3, drop_last=True)}):
        assert first_pixels(read_loader(DataLoader(numbered(20), **how), "train")) == list(range(20))


class Endless(Sampler):
    def __iter__(self):
        while True:
            yield 1


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        ([1, 20], "train: its sampler yields 20, allowed: numbers of its dataset's items, 0 to 19"),
        (["a"], "train: its sampler yields 'a', allowed: numbers"),
        ([], "train: its sampler yields no item"),
        (Endless(), "train: its sampler yields more than 2000 numbers for 20 items"),
    ],
)
def test_a_sampler_that_cannot_be_followed_is_told(sampler, said):
    with pytest.raises(DataError, match=said):
        read_loader(DataLoader(numbered(20), 2, sampler=sampler), "train")


class Noisy(Dataset):
    """Draws from all three generators that datasets draw from."""

    def __len__(self):
        return 12

    def __getitem__(self, number):
        drawn = [float(torch.rand(())), random.random(), float(np.random.rand())]  # noqa: NPY002
        return torch.tensor(drawn).view(3, 1, 1), number % 2


@pytest.mark.parametrize("workers", [0, 2])
def test_random_changes_come_from_the_seed_and_leave_the_generators_alone(workers):
    split = read_loader(DataLoader(Noisy(), 5, num_workers=workers), "train")
    torch.manual_seed(3), random.seed(3), np.random.seed(3)  # noqa: NPY002

    def drawn(seed):
        return torch.cat([images for images, _ in split.batches(5, seed=seed)])

    one = drawn(1)
    after = (float(torch.rand(())), random.random(), float(np.random.rand()))  # noqa: NPY002
    torch.manual_seed(3), random.seed(3), np.random.seed(3)  # noqa: NPY002
    assert after == (float(torch.rand(())), random.random(), float(np.random.rand()))  # noqa: NPY002
    assert bool((one == drawn(1)).all())
    assert not bool((one == drawn(2)).any())
    alone = read_loader(DataLoader(Noisy(), 5), "train")
    assert bool((one == torch.cat([images for images, _ in alone.batches(3, seed=1)])).all())


def test_what_cannot_be_read_by_number_is_kept_in_memory(monkeypatch):
    class Stream(IterableDataset):
        def __iter__(self):
            yield from numbered(10)

    for given in (DataLoader(Stream(), 4), list(DataLoader(numbered(10), 4)), iter(DataLoader(numbered(10), 4))):
        split = read_loader(given, "train")
        assert isinstance(split, GivenBatches)
        assert first_pixels(split) == list(range(10))
    monkeypatch.setattr("blendsearch.data.loaders.MOST_IN_MEMORY", 100)
    with pytest.raises(DataError, match=r"train: its images take more than .* GiB, and they cannot be read by number"):
        read_loader(DataLoader(Stream(), 4), "train")


def test_the_parts_are_disjoint_and_the_same_for_a_seed():
    config = DataConfig(name="given", calibration=8, search=12, test=16)
    loaders = Loaders(DataLoader(numbered(80), 10, shuffle=True))
    splits = loaders.splits(config, seed=1)
    parts = {name: first_pixels(getattr(splits, name)) for name in ("train", "calibration", "search", "test")}
    assert [len(part) for part in parts.values()] == [44, 8, 12, 16]
    assert sorted(number for part in parts.values() for number in part) == list(range(80))
    again = loaders.splits(config, seed=1)
    assert again.fingerprint == splits.fingerprint
    assert first_pixels(again.search) == parts["search"] != first_pixels(loaders.splits(config, seed=2).search)


def test_a_validation_loader_gives_the_search_images_and_no_more_than_asked():
    config = DataConfig(name="given", calibration=8, search=12)
    given = {"train": numbered(40), "validation": numbered(30), "test": numbered(20)}
    splits = Loaders(**{name: DataLoader(one, 9) for name, one in given.items()}).splits(config, seed=0)
    assert (len(splits.train), len(splits.calibration), len(splits.search), len(splits.test)) == (32, 8, 12, 20)
    assert torch.bincount(splits.search.labels).tolist() == [3, 3, 3, 3]
    with pytest.raises(DataError, match=r"data.test: 5 given beside a loader for the test"):
        Loaders(**{name: DataLoader(one, 9) for name, one in given.items()}).splits(
            config.model_copy(update={"test": 5}), seed=0
        )


def test_other_images_or_labels_have_another_fingerprint():
    config = DataConfig(name="given", calibration=8, search=12, test=16)

    def fingerprint(dataset):
        return Loaders(DataLoader(dataset, 10)).splits(config, seed=1).fingerprint

    images, labels = numbered(80).tensors
    base = fingerprint(numbered(80))
    assert base != fingerprint(TensorDataset(images + 0.5, labels))
    assert base != fingerprint(TensorDataset(images, labels.flip(0)))


class Labelled(Dataset):
    """Images with whatever a function of their number gives as labels."""

    def __init__(self, label):
        self.label = label

    def __len__(self):
        return 40

    def __getitem__(self, number):
        return torch.zeros(1, 2, 2), self.label(number)

    def loader(self, workers=0):
        return DataLoader(self, 2, num_workers=workers)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "train: int given"),
        ([], "train: no image given"),
        (DataLoader(TensorDataset(torch.rand(4, 2, 2), torch.arange(4)), 2), r"has images .*\(4, 2, 2\)"),
        (DataLoader(TensorDataset(torch.rand(4, 1, 2, 2), torch.rand(4)), 2), "train: batch 0 has labels"),
        (DataLoader(TensorDataset(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4)), 2), "torch.uint8"),
        (DataLoader(TensorDataset(torch.full((40, 1, 2, 2), float("nan")), torch.arange(40) % 4), 2), "nan"),
        (DataLoader(TensorDataset(torch.rand(40, 1, 2, 2), torch.arange(40) - 3), 2), "label -3 found"),
        (Labelled(lambda number: str(number)).loader(), "train: batch 0 has labels that are no numbers"),
        (Labelled(lambda number: {"boxes": number}).loader(), "train: batch 0 has labels that are no numbers"),
        (Labelled(lambda number: None).loader(), "train: its items cannot be put into a batch"),
        (Labelled(lambda number: None).loader(workers=1), "train: its items cannot be put into a batch"),
        ([(torch.rand(2, 1, 2, 2), ["cat", "dog"])], "train: batch 0 has labels that are no numbers"),
    ],
)
def test_what_gives_no_labelled_images_is_told(given, said):
    config = DataConfig(name="given", calibration=4, search=4, test=4)
    with pytest.raises(DataError, match=said):
        Loaders(given).splits(config, seed=0)


def test_a_class_of_which_no_image_is_left_to_train_on_is_told():
    config = DataConfig(name="given", calibration=4, search=4, test=4)
    images, labels = numbered(40).tensors
    labels[:4], labels[4:] = torch.tensor([3, 1, 0, 2]), torch.arange(36) % 3  # one image of the last class
    with pytest.raises(DataError, match=r"no training image is left for 1 of 4 classes \(3\); lower"):
        Loaders(DataLoader(TensorDataset(images, labels), 10)).splits(config, seed=0)
    with pytest.raises(DataError, match=r"no training image is left for 1 of 4 classes \(3\)"):
        Loaders(DataLoader(numbered(40, 3), 10), test=DataLoader(numbered(8), 4)).splits(
            config.model_copy(update={"test": None}), seed=0
        )


def test_a_dataset_that_augments_what_is_held_out_of_it_is_told_in_a_note():
    class Augmenting(Dataset):
        def __len__(self):
            return 80

        def __getitem__(self, number):
            return torch.rand(1, 2, 2) + number, number % 4

    def notes(train, **given):
        told = []
        config = DataConfig(name="given", calibration=8, search=12, test=None if "test" in given else 16)
        Loaders(DataLoader(train, 10), **given).splits(config, 0, lambda task, done, total, detail: told.append(detail))
        return [one for one in told if "random" in one]

    held_out = {name: DataLoader(numbered(40), 10) for name in ("validation", "test")}
    assert notes(numbered(80)) == notes(Augmenting(), **held_out) == []
    assert "validation= and test=" in notes(Augmenting())[0]
    assert "test=" not in notes(Augmenting(), test=held_out["test"])[0]
