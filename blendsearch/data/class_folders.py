"""Which folders of a tree are its parts and which are its classes; where both can be meant, neither is guessed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from blendsearch.data.walking import entries, walk
from blendsearch.errors import DataError

TRAIN = ("train", "training")
TEST, VALIDATION = ("test", "testing", "eval"), ("val", "valid", "validation", "dev")
HELD_OUT = TEST + VALIDATION
"""Names of parts, in small or capital letters; one held out is the test part, of two the second is for validation."""


@dataclass(frozen=True)
class Layout:
    """The folders to read. test, validation: None where none is held out for that.

    labelled: whether `train` holds class folders.
    """

    train: Path
    test: Path | None = None
    validation: Path | None = None
    labelled: bool = True


@dataclass
class _Tree:
    """The folders beneath a root that hold an image, by what they can be.

    parts: named as parts, with class folders. classes: named as parts, but with images of their own, as a class has.
    mixed: named as parts, with both. others: named otherwise.
    """

    root: Path
    parts: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def find_layout(root: Path, *, wants_validation: bool = False) -> Layout:
    """Tell the parts of a tree: root/train/CLASS with root/test/CLASS, root/unlabelled with it, or root/CLASS.

    Beside test, val is the validation part; without a test it is the test part, or, where one is wanted, still that.
    A folder with the name of a part is one when it holds class folders, and a class when it holds images. Raises
    DataError, which names both readings, where the folders beside it say otherwise, and where one would be left out.
    """
    if not root.is_dir():
        raise DataError(f"data.root: '{root}' is no folder, and a tree of class folders is none to be downloaded")
    tree = _sorted_out(root)
    if (root / "unlabelled").is_dir() and not _named(tree.parts, TRAIN):
        return _unlabelled(tree, wants_validation)
    if tree.mixed:
        raise DataError(
            f"data.root: '{root / tree.mixed[0]}' holds both images and class folders; a part holds class folders "
            "alone, a class images alone"
        )
    if not tree.parts:
        return _flat(tree)
    if tree.others or tree.classes:
        raise DataError(_both_readings(tree))
    train, held_out = _named(tree.parts, TRAIN), _named(tree.parts, HELD_OUT)
    if not train:
        raise DataError(
            f"data.root: '{root}' holds {_listed(held_out)}, with class folders, but no train beside it; "
            f"give the folder to be split, such as '{root / held_out[0]}', or add train"
        )
    return Layout(root / _only(tree, train, "train"), *_held_out(tree, held_out, wants_validation))


def _sorted_out(root: Path) -> _Tree:
    tree = _Tree(root)
    for name in entries(root)[1]:
        if not _named([name], TRAIN + HELD_OUT):
            if _holds_image(root / name):
                tree.others.append(name)
            continue
        files, inside = entries(root / name)
        images = any(_is_image(file) for file in files)
        folders = any(_holds_image(root / name / folder) for folder in inside)
        if images or folders:
            (tree.mixed if images and folders else tree.classes if images else tree.parts).append(name)
    return tree


def _flat(tree: _Tree) -> Layout:
    """Return the root as a class tree; where no class has another name than a part's, that is a guess."""
    if tree.classes and not tree.others:
        raise DataError(
            f"data.root: '{tree.root}' holds {_listed(tree.classes)} with images directly in it: as a part it needs "
            f"class folders ({tree.classes[0]}/CLASS/*.jpg), as a class others beside it or a name that is no part's"
        )
    return Layout(tree.root)


def _unlabelled(tree: _Tree, wants_validation: bool) -> Layout:
    root, held_out = tree.root, _named(tree.parts, HELD_OUT)
    if not held_out:
        raise DataError(
            f"data.root: '{root}': no test or val beside unlabelled; a test part in class folders is needed"
        )
    left_out = [name for name in tree.others if name != "unlabelled"] + tree.classes + tree.mixed
    if left_out:
        raise DataError(
            f"data.root: '{root}': {_listed(left_out)} would be left out: of a tree with unlabelled, that and one part "
            f"in class folders ({held_out[0]}) are read; move it elsewhere"
        )
    test, validation = _held_out(tree, held_out, wants_validation)
    if test is None:
        raise DataError(
            f"data.root: '{root}': {held_out[0]} is wanted for validation, but no other part is there to test on; "
            "add test, or leave data.validation: auto"
        )
    return Layout(root / "unlabelled", test, validation, labelled=False)


def _held_out(tree: _Tree, held_out: list[str], wants_validation: bool) -> tuple[Path | None, Path | None]:
    """Return test and validation part; one without an image is returned too, since what is amiss is told later."""
    empty = [entry.name for entry in os.scandir(tree.root) if entry.is_dir() and _named([entry.name], HELD_OUT)]
    found = held_out or sorted(empty)
    if not found:
        return None, None
    tests, validations = _named(found, TEST), _named(found, VALIDATION)
    if validations and (tests or wants_validation):
        test = tree.root / _only(tree, tests, "test") if tests else None
        return test, tree.root / _only(tree, validations, "validation")
    return tree.root / _only(tree, found, "test"), None


def _only(tree: _Tree, names: list[str], part: str) -> str:
    if len(names) == 1:
        return names[0]
    raise DataError(
        f"data.root: '{tree.root}' holds {_listed(names)}, but one {part} part is read; move the others elsewhere, or "
        "their images into it"
    )


def _both_readings(tree: _Tree) -> str:
    parts, beside = _listed(tree.parts), _listed(tree.others + tree.classes)
    if not tree.others:
        return (
            f"data.root: '{tree.root}': {parts} holds class folders, as a part does, but {beside} holds images "
            f"directly, as a class does; sort the images of {beside} into class folders, or move it elsewhere"
        )
    return (
        f"data.root: '{tree.root}': {parts} can be a part, with class folders in it, or a class, with {beside} beside "
        f"it; for a part move {beside} elsewhere or into its class folders, for a class put the images of {parts} "
        "directly into it"
    )


def _named(names: Iterable[str], allowed: tuple[str, ...]) -> list[str]:
    return [name for name in names if name.lower() in allowed]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _holds_image(folder: Path) -> bool:
    return any(_is_image(name) for _, names in walk(folder, []) for name in names)


def image_files(root: Path, skipped: list[str] | None = None) -> list[str]:
    """Return the paths of all files below a folder that are named as images, in alphabetical order.

    skipped: see `walk`.
    """
    return sorted(
        os.path.join(folder, name) for folder, names in walk(root, skipped) for name in names if _is_image(name)
    )


def class_files(root: Path, skipped: list[str] | None = None) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """Return the image files of a tree of class folders, each with its class's number, and the classes' names.

    In the order of torchvision's ImageFolder, without hidden folders. skipped: see `walk`. Raises DataError for no
    class, and for one without an image.
    """
    classes = entries(root)[1]
    samples: list[tuple[str, int]] = []
    empty = []
    for number, name in enumerate(classes):
        inside = sorted(walk(root / name, skipped), key=lambda found: found[0])
        files = [os.path.join(folder, one) for folder, names in inside for one in names if _is_image(one)]
        samples += [(file, number) for file in files]
        if not files:
            empty.append(name)
    if not classes or empty:
        what = f"no image in {_listed(empty)}" if classes else "no folder in it"
        raise DataError(f"data.root: '{root}' is not a tree of class folders with images ({what})")
    return samples, tuple(classes)


def _is_image(name: str) -> bool:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return name.lower().endswith(IMG_EXTENSIONS)
