"""A space file written for a folder of images and a network: commented, with numbers that fit what is there."""

from __future__ import annotations

import contextlib
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blendsearch.campaigns.examples import read_example
from blendsearch.config import DataConfig
from blendsearch.config.space import folder_name
from blendsearch.config.yaml_text import to_yaml
from blendsearch.data.class_folders import Layout, find_layout, image_files
from blendsearch.data.datasets import DATASETS
from blendsearch.data.decoding import Head, read_head
from blendsearch.data.splits import CALIBRATION, SEARCH, default_counts, default_test
from blendsearch.errors import BlendsearchError, ConfigError, DataError, unknown_name
from blendsearch.files import atomic
from blendsearch.models.loading import check_name
from blendsearch.progress import silent
from blendsearch.validation.names import catch_mistake

SIZES = (32, 48, 64, 96, 128, 160, 192, 224)
"""Sides in pixels that images of many sizes are brought to: the largest that most of them have."""
SMALL = 64
"""Up to this side a network for small images is taken, beyond it one of torchvision."""
PLACE = "THIS_FILE"
"""Stands for the file's path in its own text until that is known."""
SEARCHED = 3000
"""The most search images that a file for pruning without retraining asks for."""
SAMPLED = 300
"""Image files whose heads are read."""
PACKAGED = ("digits", "mnist_5k")
"""Data sets that come with a package and are loaded in a moment."""
NEEDING_MORE = ("folder", "given")
"""Kinds of data that a name alone does not make: their folder is given in its place, or their loaders in Python."""


@dataclass(frozen=True)
class Wish:
    """What `init` was asked for. data: a folder or the name of a data set. example: one of the package's instead.

    post_training: nothing is to be retrained.
    """

    data: str | None = None
    model: str | None = None
    weights: Path | None = None
    out: Path | None = None
    example: str | None = None
    post_training: bool = False


@dataclass(frozen=True)
class Written:
    """The file that was written; found: lines on what was seen. next: lines on what to run now."""

    path: Path
    found: list[str]
    next: list[str]


@dataclass(frozen=True)
class Seen:
    """What a look at images found. size: the side that they are brought to. counts: of each class, in training.

    held_out: which parts are there beside it, with their images. own_size: whether all images have that size already.
    """

    config: dict[str, object]
    classes: int
    train: int
    held_out: dict[str, int]
    size: int | None
    grey: bool
    lines: list[str]


def write_space(wish: Wish) -> Written:
    """Write the space file that was asked for; BlendsearchError where that cannot be, or a file is there already."""
    found: list[str] = []
    if wish.example is not None:
        if wish.data or wish.model or wish.weights or wish.post_training:
            raise ConfigError("--example: writes an example as it is; leave out the data and all options but --out")
        text, name = read_example(wish.example), wish.example
    else:
        text, name, found = _new_text(wish)
    path = wish.out or Path(f"{name}.yaml")
    typed = shlex.quote(str(path))
    if path.exists():
        raise BlendsearchError(f"{path}: is there already and is not overwritten; choose another with --out")
    if path.suffix not in (".yaml", ".yml"):
        raise BlendsearchError(f"--out: '{path}' given, a name that ends in .yaml expected")
    with atomic(path) as part:
        part.write_text(text.replace(PLACE, typed), encoding="utf-8")
    command = "leaderboard" if "\nnetworks:" in text else "search"
    return Written(path, found, [f"next: blendsearch validate {typed}", f"then: blendsearch {command} {typed}"])


def _new_text(wish: Wish) -> tuple[str, str, list[str]]:
    """Return the text of a new file, its name, and what was found."""
    if wish.data is None:
        raise ConfigError("init: a folder of images, the name of a data set, or --example NAME is needed")
    if wish.weights is not None and not wish.weights.is_file():
        raise ConfigError(f"--weights: '{wish.weights}' is no file (looked in '{Path.cwd()}')")
    seen = _look(wish.data)
    model = wish.model or _fitting_model(seen)
    for _, what in catch_mistake(("model",), lambda: check_name(model)):
        raise ConfigError(f"--model: {what}")
    name = folder_name(
        Path(wish.data).resolve().name if "root" in seen.config and Path(wish.data).is_dir() else wish.data
    )
    rest = _without_retraining if wish.post_training else _with_retraining
    text = _text(name, seen, model, wish, rest(_batch(_trained_on(seen))))
    return text, name, seen.lines


def _look(given: str) -> Seen:
    if Path(given).expanduser().is_dir():
        return _look_at_folder(given)
    names = [one for one in DATASETS if one not in NEEDING_MORE]
    if given not in names:
        error = unknown_name("folder or data set", given, names)
        raise DataError(f"{error}; no folder of that name is in '{Path.cwd()}'")
    if given not in PACKAGED:
        config: dict[str, object] = {"name": given, "root": "data", "download": True}
        line = f"{given}: not looked at, it may have to be downloaded"
        return Seen(config, 0, 2 * (CALIBRATION + SEARCH), {"test": 0}, None, False, [line])
    source = DATASETS.get(given)(DataConfig(name=given), silent)
    images, side = len(source.train.labels), source.shape[1]
    line = f"{len(source.classes)} classes, {images:,} images of {side}x{side} pixels, no test part of its own"
    return Seen({"name": given}, len(source.classes), images, {}, side, source.shape[0] == 1, [line])


def _look_at_folder(root: str) -> Seen:
    """Look at a tree of class folders: its parts, classes, and the heads of some of its files."""
    path = Path(root).expanduser()
    layout = find_layout(path)
    files = image_files(layout.train)
    if not files:
        raise DataError(f"{root}: no image in '{layout.train}'")
    counts = Counter(Path(file).relative_to(layout.train).parts[0] for file in files)
    heads = list(_heads(files[:: max(1, len(files) // SAMPLED)]))
    if not heads:
        raise DataError(f"{root}: none of {min(len(files), SAMPLED)} files looked at can be read as an image")
    size, sizes = _side([(head.width, head.height) for head in heads])
    held_out = {
        name: len(image_files(folder))
        for name, folder in (("test", layout.test), ("validation", layout.validation))
        if folder is not None
    }
    classes = len(counts) if layout.labelled else sum(one.is_dir() for one in (layout.test or path).iterdir())
    return Seen(
        config={"name": "folder", "root": root, **({} if layout.labelled else {"labels": "predicted"})},
        classes=classes,
        train=len(files),
        held_out=held_out,
        size=size,
        grey=all(head.grey for head in heads),
        lines=_found(layout, classes, counts, held_out, sizes),
    )


def _heads(files: Sequence[str]) -> Iterator[Head]:
    """Yield the heads of those files that can be read."""
    for file in files:
        with contextlib.suppress(DataError):
            yield read_head(file)


def _side(sizes: Sequence[tuple[int, int]]) -> tuple[int, str]:
    """Return the side in pixels that images are to have, and in words which they have."""
    shorts = sorted(min(size) for size in sizes)
    median, first = shorts[len(shorts) // 2], sizes[0]
    if len(set(sizes)) == 1 and first[0] == first[1] and first[0] <= SIZES[-1]:
        return first[0], f"{first[0]}x{first[1]} pixels"
    fitting = [side for side in SIZES if side <= median]
    words = (
        f"{first[0]}x{first[1]} pixels" if len(set(sizes)) == 1 else f"short sides {shorts[0]} to {shorts[-1]} pixels"
    )
    return (fitting or SIZES[:1])[-1], words


def _found(layout: Layout, classes: int, counts: Counter[str], held_out: dict[str, int], sizes: str) -> list[str]:
    total = sum(counts.values())
    fewest, most = min(counts.items(), key=lambda one: one[1]), max(counts.items(), key=lambda one: one[1])
    span = f"{fewest[1]:,}" if fewest[1] == most[1] else f"{fewest[1]:,} to {most[1]:,}"
    each = f" ({span} a class)" if layout.labelled else " without labels"
    lines = [f"{classes} classes, {total:,} training images{each}, {sizes}"]
    lines += [f"{part} part: {count:,} images" for part, count in held_out.items()]
    if "test" not in held_out:
        lines.append("no test part: some of the images are held out for it")
    return lines


def _fitting_model(seen: Seen) -> str:
    if seen.size is not None and seen.size <= SMALL:
        return "conv4" if seen.size < 16 or seen.grey else "resnet20"
    return "torchvision:resnet18" if seen.size is not None else "resnet20"


Row = tuple[str, str]
"""A line of the file, and what is to be said of it."""
Rest = tuple[Row, Sequence[tuple[str, list[Row]]]]
"""What depends on whether pruned networks are retrained: a line of its own, and the last sections."""


def _trained_on(seen: Seen) -> int:
    """Return how many images are left to train on, calibration and search images among them."""
    return seen.train - (0 if "test" in seen.held_out else default_test(seen.train))


def _batch(train: int) -> Row:
    return (f"batch_size: {32 if train < 2000 else 64 if train < 10_000 else 128}", "")


def _with_retraining(batch: Row) -> Rest:
    return (
        ("criteria: all", "or a list such as [l1, fpgm, taylor], which is quicker; blendsearch list criteria"),
        [
            ("search", [("population: 24", "candidates in a generation"), ("generations: 8", "fewer are quicker")]),
            ("retraining", [("epochs: 10", "of every pruned network; 0 refits them in closed form"), batch, _SEEDS]),
        ],
    )


def _without_retraining(batch: Row) -> Rest:
    about = "nothing is retrained: shares of the layers and a blend, judged without labels"
    limit = ("limit: {evaluations: 60}", "different candidates, among which the best start is found")
    moved = (
        "reallocation: 40",
        "plans in which filters move between layers; null leaves the shares as they were found",
    )
    swapped = ("swaps: 60", "plans in which single filters are exchanged; more lead a little further")
    return ("recipe: post_training", about), [("search", [limit, moved, swapped])]


def _text(name: str, seen: Seen, model: str, wish: Wish, rest: Rest) -> str:
    """Return the file: what has to be said, and of the rest what is changed most often."""
    train, weights = _trained_on(seen), wish.weights
    trained = ("epochs: 20", "of the network that is then pruned")
    given = ("epochs: 0", "more adapts the given weights to the images first")
    first, last = rest
    sections: list[tuple[str, list[Row]]] = [
        ("data", [*_where_rows(seen, model), *_count_rows(seen, max(train, 1), wish), *_image_rows(seen)]),
        ("model", _model_rows(model, weights)),
        ("training", [trained if weights is None else given, _batch(train)]),
        ("budget", [("flops: 0.5", "keep half of the FLOPs; or params, filters, latency: 0.5")]),
        *last,
    ]
    head = [
        f"# Written by `blendsearch init`. Check it: blendsearch validate {PLACE}",
        f"# Run it: blendsearch search {PLACE}    (any key can be set behind that, such as budget.flops=0.3)",
        "# Keys left out have defaults, which validate shows.",
        "",
        _line(f"name: {name}", f"the run folder is runs/{name}"),
        _line(*first),
    ]
    return "\n".join(head) + "\n" + "".join(_section(key, rows) for key, rows in sections)


_SEEDS = ("seeds: 1", "3 or more give an interval and a verdict")
_ABOUT = {
    "name": "a tree of class folders, or a set of blendsearch list datasets",
    "root": "from the folder where the command is typed",
    "download": "fetches it where it is not there yet",
    "labels": "nobody labelled them: the network does",
}


def _where_rows(seen: Seen, model: str) -> list[Row]:
    rows = [(_yaml(key, value), _ABOUT.get(key, "")) for key, value in seen.config.items()]
    if seen.size is not None and "root" in seen.config:
        rows.append((f"image_size: {seen.size}", "pixels: short side, then centre crop; larger is slower"))
    if seen.grey and ":" not in model and "root" in seen.config:
        rows += [("mean: [0.449]", "one number: the images are read as grey"), ("std: [0.226]", "")]
    return rows


def _count_rows(seen: Seen, train: int, wish: Wish) -> list[Row]:
    counts, searched, tested = default_counts(train), seen.held_out.get("validation"), seen.held_out.get("test")
    most = SEARCH
    if wish.post_training:  # what decides there: the best of many candidates on few images is the best by luck
        most, counts = SEARCHED, {**counts, "search": max(counts["search"], min(SEARCHED, train // 10))}
    rows: list[Row] = []
    if tested is None:
        rows.append((f"test: {default_test(seen.train)}", "held out; read once, at the end: no choice is made on them"))
    rows.append((f"calibration: {counts['calibration']}", "out of training: what criteria and proxies look at"))
    origin = "of the validation part" if searched else "out of training"
    rows.append((f"search: {min(most, searched or counts['search'])}", f"{origin}: what candidates are measured on"))
    if wish.weights is not None and not searched and tested:
        about = "search images from the test part instead, for weights that know the training images"
        rows.append((f"# validation: {max(1, tested // 3)}", about))
    return rows


def _image_rows(seen: Seen) -> list[Row]:
    if seen.config["name"] != "folder":
        return []
    flipped = ("augmentation: {flip: true}", "mirrors training images; false for digits and letters")
    return [("# on_error: skip", "leaves out images that cannot be read"), flipped]


def _model_rows(model: str, weights: Path | None) -> list[Row]:
    rows = [(_yaml("name", model), "blendsearch list models; your own: package.module:function")]
    if weights is not None:
        rows.append((_yaml("weights", str(weights)), "taken as they are: nothing is trained"))
    return rows


def _yaml(key: str, value: object) -> str:
    return to_yaml({key: value}).strip()


def _section(key: str, rows: Sequence[Row]) -> str:
    return "\n".join(["", f"{key}:", *(_line(f"  {code}", comment) for code, comment in rows), ""])


def _line(code: str, comment: str) -> str:
    return f"{code.ljust(34)} # {comment}" if comment else code
