"""Folders named as parts are told from classes of the same name; where both can be meant, one line names both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blendsearch.config import DataConfig
from blendsearch.data.datasets import DATASETS
from blendsearch.errors import DataError
from blendsearch.progress import silent


def load(root: Path, **keys):
    config = DataConfig(name="folder", root=str(root), **keys)
    return DATASETS.get("folder")(config, silent)


def fill(root: Path, *folders: str) -> Path:
    """Write an image into each folder, its grey value the folder's number."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(root / folder / "0.png")
    return root


def refused(root: Path, **keys) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **keys)
    assert str(caught.value).startswith(f"data.root: '{root}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["train", "test", "val", "Train", "dev"])
def test_a_class_named_as_a_part_is_a_class_beside_others(tmp_path, name):
    source = load(fill(tmp_path, "bus", name, "zebra"))
    assert source.test is None
    assert source.classes == tuple(sorted(["bus", name, "zebra"]))
    assert len(source.train.labels) == 3


def test_two_classes_named_as_parts_are_classes_beside_another(tmp_path):
    assert load(fill(tmp_path, "car", "test", "train")).classes == ("car", "test", "train")


@pytest.mark.parametrize("train", ["train", "Train", "training"])
@pytest.mark.parametrize("held_out", ["test", "testing", "val", "valid", "validation", "eval", "dev", "TEST"])
def test_a_part_held_out_is_read_by_any_of_its_names(tmp_path, train, held_out):
    folders = [f"{part}/{name}" for part in (train, held_out) for name in ("cat", "dog")]
    source = load(fill(tmp_path, *folders))
    assert source.classes == ("cat", "dog")
    assert source.train.images[:, 0, 0, 0].tolist() == [0, 1]
    assert source.test.images[:, 0, 0, 0].tolist() == [2, 3]


def test_a_class_may_be_called_train_inside_a_part(tmp_path):
    source = load(fill(tmp_path, "train/bus", "train/train", "test/bus", "test/train"))
    assert source.classes == ("bus", "train")
    assert len(source.test.labels) == 2


def test_folders_without_an_image_and_hidden_ones_do_not_matter(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", ".thumbnails")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "cat.txt").write_text("a cat")
    (tmp_path / "val").mkdir()
    assert len(load(tmp_path).test.labels) == 2


def test_hidden_folders_are_left_out_wherever_they_lie(tmp_path):
    hidden = (".cache", "train/.ipynb_checkpoints", "train/cat/.ipynb_checkpoints", "test/.thumbnails", "test/dog/.git")
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", *hidden)
    (tmp_path / "train" / ".git").mkdir()
    source = load(tmp_path)
    assert source.classes == ("cat", "dog")
    assert (len(source.train.labels), len(source.test.labels)) == (2, 2)


@pytest.mark.parametrize("name", ["train", "test", "val", "validation"])
def test_a_part_beside_classes_is_refused_with_both_readings(tmp_path, name):
    fill(tmp_path, f"{name}/cat", f"{name}/dog", "cat", "dog")
    message = refused(tmp_path)
    assert f"{name} can be a part, with class folders in it, or a class, with cat, dog beside it" in message


def test_any_folder_that_would_be_left_out_is_named(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "extra/cat")
    assert "with extra beside it; for a part move extra elsewhere" in refused(tmp_path)


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev"])
def test_a_validation_part_beside_the_test_part_is_read(tmp_path, name):
    folders = [f"{part}/{kind}" for part in ("train", name, "test") for kind in ("cat", "dog")]
    source = load(fill(tmp_path, *folders))
    assert source.validation.images[:, 0, 0, 0].tolist() == [2, 3]
    assert source.test.images[:, 0, 0, 0].tolist() == [4, 5]
    assert load(tmp_path, validation="none").validation is None


def test_a_validation_part_alone_is_the_test_part_unless_it_is_asked_for(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog")
    assert (load(tmp_path).validation, len(load(tmp_path).test.labels)) == (None, 2)
    asked = load(tmp_path, validation="part")
    assert (len(asked.validation.labels), asked.test) == (2, None)


def test_two_parts_held_out_for_the_same_are_named(tmp_path):
    fill(tmp_path, *(f"{part}/{name}" for part in ("train", "val", "valid", "test") for name in ("cat", "dog")))
    assert "holds val, valid, but one validation part is read" in refused(tmp_path)


def test_a_validation_part_with_other_classes_is_refused(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "val/cat", "test/cat", "test/dog")
    assert "train and val differ in classes: dog" in refused(tmp_path)


def test_a_part_held_out_without_train_is_no_class(tmp_path):
    fill(tmp_path, "test/cat", "test/dog", "val/cat", "val/dog")
    assert "holds test, val, with class folders, but no train beside it" in refused(tmp_path)


def test_train_and_test_without_class_folders_are_no_classes(tmp_path):
    message = refused(fill(tmp_path, "train", "test"))
    assert "holds test, train with images directly in it: as a part it needs class folders" in message
    assert "as a class others beside it" in message


def test_a_test_part_without_class_folders_is_named(tmp_path):
    message = refused(fill(tmp_path, "train/cat", "train/dog", "test"))
    assert "train holds class folders, as a part does, but test holds images directly, as a class does" in message


def test_images_beside_the_class_folders_of_a_part_are_not_dropped(tmp_path):
    message = refused(fill(tmp_path, "train", "train/cat", "train/dog", "test/cat", "test/dog"))
    assert "/train' holds both images and class folders" in message


def test_beside_unlabelled_images_nothing_is_left_out(tmp_path):
    fill(tmp_path, "unlabelled", "validation/cat", "validation/dog")
    assert load(tmp_path, labels="predicted").classes == ("cat", "dog")
    fill(tmp_path, "extra")
    assert "extra would be left out" in refused(tmp_path, labels="predicted")


def test_unlabelled_beside_train_is_named(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "unlabelled")
    assert "with unlabelled beside it" in refused(tmp_path)


def test_a_root_that_download_does_not_make_is_named(tmp_path):
    assert "is no folder" in refused(tmp_path / "nowhere", download=True)
