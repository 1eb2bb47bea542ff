"""Decoded images that are kept are used while every file is as it was, and never otherwise."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from small_trees import class_tree

from blendsearch.config import DataConfig
from blendsearch.data import datasets, image_cache
from blendsearch.data.splits import Splits, load_splits
from blendsearch.errors import DataError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    root.mkdir()
    return class_tree(root, 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def load(tree: Path, folder: Path | str | bool, told: list[str] | None = None, **keys) -> Splits:
    def note(task: str, done: int, total: int, detail: str = "") -> None:
        if task == "note" and told is not None:
            told.append(detail)

    cache = folder if isinstance(folder, bool) else str(folder)
    keys = {"calibration": 2, "search": 2, "test": 2, "workers": 0, "image_size": 6, **keys}
    return load_splits(DataConfig(root=str(tree), cache=cache, **keys), 0, note)


def same(one: Splits, other: Splits) -> bool:
    parts = ("train", "calibration", "search", "test")
    pairs = [(getattr(one, part), getattr(other, part)) for part in parts]
    alike = all(a.images.equal(b.images) and a.labels.equal(b.labels) for a, b in pairs)
    return alike and (one.fingerprint, one.skipped) == (other.fingerprint, other.skipped)


def unseen(monkeypatch) -> None:
    monkeypatch.setattr(datasets, "decoded", lambda *given, **keys: pytest.fail("images were decoded again"))


def only(folder: Path) -> Path:
    files = list(folder.iterdir())
    assert len(files) == 1
    return files[0]


def test_the_second_run_decodes_nothing_and_has_the_same_images(tree, folder, monkeypatch):
    told: list[str] = []
    first = load(tree, folder, told)
    assert same(first, load(tree, False))
    assert len(told) == 1
    assert told[0].startswith(f"12 decoded images are kept for the next run in '{only(folder)}' (0 MB)")
    unseen(monkeypatch)
    assert same(first, load(tree, folder, told))
    assert len(told) == 1


def test_parts_sizes_and_colours_are_kept_apart(tmp_path, folder, monkeypatch):
    for part in ("train", "test"):
        (tmp_path / "both" / part).mkdir(parents=True)
        class_tree(tmp_path / "both" / part, 6)
    ways = [{"test": None, "image_size": 6}, {"test": None, "image_size": 4}, {"test": None, "mean": [0.5]}]
    first = [load(tmp_path / "both", folder, **keys) for keys in ways]
    assert len(list(folder.iterdir())) == 2 * len(ways)
    unseen(monkeypatch)
    assert all(same(one, load(tmp_path / "both", folder, **keys)) for one, keys in zip(first, ways, strict=True))


def test_by_default_what_is_decoded_quickly_is_not_kept(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load(tree, True)
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr(image_cache, "WORTH_KEEPING", 0.0)
    load(tree, False)
    assert not (tmp_path / "runs").exists()
    first = load(tree, True)
    assert "-pets-6-RGB-" in only(tmp_path / "runs/.cache").name
    unseen(monkeypatch)
    assert same(first, load(tree, True))


def change_a_pixel(path: Path) -> None:
    pixels = np.array(Image.open(path))
    pixels[1, 1] ^= 255
    Image.fromarray(pixels).save(path)


def rewritten(tree: Path) -> None:
    change_a_pixel(tree / "cat/0.png")


def rewritten_with_its_old_time(tree: Path) -> None:
    path = tree / "cat/0.bmp"
    found = os.stat(path)
    change_a_pixel(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert (found.st_size, found.st_mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


def added(tree: Path) -> None:
    (tree / "cat/9.png").write_bytes((tree / "dog/0.png").read_bytes())


def moved(tree: Path) -> None:
    (tree / "cat/1.png").rename(tree / "dog/1b.png")


def deleted(tree: Path) -> None:
    (tree / "cat/1.png").unlink()


@pytest.mark.parametrize("change", [rewritten, rewritten_with_its_old_time, added, moved, deleted])
def test_a_changed_folder_is_decoded_again(tree, folder, change):
    Image.open(tree / "cat/0.png").save(tree / "cat/0.bmp")
    before, told = load(tree, folder), []
    change(tree)
    after = load(tree, folder, told)
    assert same(after, load(tree, False))
    assert after.fingerprint != before.fingerprint
    assert [line.split(" decoded")[1][:20] for line in told] == [" images are kept for"]
    only(folder)  # it took the place of what was


def test_other_libraries_decode_again(tree, folder, monkeypatch):
    load(tree, folder)
    before = only(folder).stat().st_ino
    monkeypatch.setattr(image_cache, "decoding_version", lambda: ("another Pillow",))
    load(tree, folder)
    assert only(folder).stat().st_ino != before


DAMAGE = {
    "nothing": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "the last byte is gone": lambda data: data[:-1],
    "a pixel": lambda data: data[:-300] + bytes([data[-300] ^ 1]) + data[-299:],
    "the head": lambda data: data[:8] + b"x" + data[9:],
    "another file": lambda data: b"something else " * 99,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_told_and_made_anew(tree, folder, damage, monkeypatch):
    first = load(tree, folder)
    file = only(folder)
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    told: list[str] = []
    assert same(first, load(tree, folder, told))
    assert told[0].startswith(f"'{file}' is damaged (")
    assert told[0].endswith("): the images are decoded again")
    assert "\n" not in told[0]
    assert len(told) == 2
    unseen(monkeypatch)
    assert same(first, load(tree, folder))


def test_a_file_of_images_that_do_not_belong_together_is_refused(tree, folder):
    first = load(tree, folder)
    file = only(folder)
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    tensors = load_file(file)
    tensors["good"] = tensors["good"][:-1].clone()
    about["digest"] = image_cache._digest(tensors["images"], tensors["good"])
    save_file(tensors, file, metadata=about)
    told: list[str] = []
    assert same(first, load(tree, folder, told))
    assert "is damaged" in told[0]


def test_unreadable_images_stay_left_out_until_they_can_be_read(tree, folder, monkeypatch):
    path = tree / "cat/2.png"
    path.write_bytes(b"no image")
    first = load(tree, folder, on_error="skip")
    assert first.skipped == (str(path),)
    with monkeypatch.context() as context:
        unseen(context)
        assert same(first, load(tree, folder, on_error="skip"))
    with pytest.raises(DataError, match=r"2\.png' cannot be read as an image"):
        load(tree, folder)
    # A disk that was away comes back without a time that shows it.
    monkeypatch.setattr(image_cache.ImageFiles, "mistake", lambda files, number: None)
    calls = []
    plain = datasets.decoded
    monkeypatch.setattr(datasets, "decoded", lambda *given, **keys: calls.append(1) or plain(*given, **keys))
    load(tree, folder, on_error="skip")
    assert calls == [1]


def test_streamed_images_are_not_kept(tree, folder):
    load(tree, folder, in_memory=False)
    assert not folder.exists()


def test_nothing_is_written_into_the_data(tree, monkeypatch):
    with pytest.raises(DataError, match=r"^data\.cache: '.*' lies in data\.root, where nothing is written"):
        load(tree, tree / "kept")
    link = tree.parent / "link"
    link.symlink_to(tree)
    with pytest.raises(DataError, match=r"lies in data\.root"):
        load(tree, link / "kept")
    monkeypatch.setattr(image_cache, "WORTH_KEEPING", 0.0)
    monkeypatch.chdir(tree)
    load(tree, True)
    assert sorted(path.name for path in tree.iterdir()) == ["cat", "dog"]


def test_a_folder_that_cannot_be_written_to_is_told(tree, tmp_path):
    (tmp_path / "file").write_text("")
    told: list[str] = []
    first = load(tree, tmp_path / "file/kept", told)
    assert same(first, load(tree, False))
    assert len(told) == 1
    assert told[0].startswith("the decoded images cannot be kept in '")
    assert told[0].endswith("(Not a directory); data.cache=false keeps none")


@pytest.mark.parametrize("name", ["a\0b", "~no_such_user_at_all/kept"])
def test_what_is_no_path_is_one_line(tree, name):
    with pytest.raises(DataError, match=r"^data\.cache: '.*' is no folder \(.+\)$"):
        load(tree, name)


def test_a_set_that_changes_while_it_is_read_is_not_kept(tree, folder, monkeypatch):
    plain = datasets.decoded

    def meanwhile(*given, **keys):
        found = plain(*given, **keys)
        change_a_pixel(tree / "cat/0.png")
        return found

    monkeypatch.setattr(datasets, "decoded", meanwhile)
    load(tree, folder)
    assert not folder.exists()


def test_several_processes_at_once_do_not_harm_each_other(tree, folder, monkeypatch):
    context = multiprocessing.get_context("fork")
    at_work = [context.Process(target=load, args=(tree, folder)) for _ in range(3)]
    for process in at_work:
        process.start()
    first = load(tree, folder)
    for process in at_work:
        process.join()
        assert process.exitcode == 0
    only(folder)
    unseen(monkeypatch)
    assert same(first, load(tree, folder))


def test_what_a_killed_process_was_writing_is_deleted_after_a_day(tree, folder):
    load(tree, folder)
    file = only(folder)
    old, young = folder / f".{file.name}.1-x.part", folder / f".{file.name}.1-y.part"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * image_cache.ABANDONED,) * 2)
    change_a_pixel(tree / "cat/0.png")
    load(tree, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([file.name, young.name])


def test_odd_names_of_folders_make_plain_names_of_files(tmp_path, folder):
    root = tmp_path / "my pets: 'été'\n" / ("x" * 200)
    root.mkdir(parents=True)
    load(class_tree(root, 6), folder)
    assert only(folder).name.isascii()
    assert " " not in only(folder).name
