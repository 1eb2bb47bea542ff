"""A space file for a folder and a network: its numbers fit, it is valid, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from blendsearch.campaigns.examples import PACKAGE, example_names, read_example
from blendsearch.campaigns.inspection import inspect
from blendsearch.campaigns.new_space import Seen, Wish, _count_rows, write_space
from blendsearch.cli import app
from blendsearch.config import load_space
from blendsearch.config.recipes import RECIPES
from blendsearch.data.splits import load_splits
from blendsearch.errors import BlendsearchError
from blendsearch.models.zoo import MODELS
from blendsearch.validation.space import load_checked


def fill(root: Path, parts: dict[str, int], size=(40, 32), mode="RGB") -> Path:
    """Write so many images of two classes into each part ("" for the root itself)."""
    draw = np.random.default_rng(1)
    for part, count in parts.items():
        for name in ("a cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(mode).save(root / part / name / f"{number}.png")
    return root


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        ({"train": 24, "test": 6}, (8, 16, 12)),
        ({"": 30}, (8, 16, 12)),
        ({"train": 24, "val": 5, "test": 6}, (8, 10, 12)),
        ({"train": 24, "val": 6}, (8, 16, 12)),
    ],
    ids=["train and test", "classes alone", "with validation", "train and val"],
)
def test_the_numbers_fit_and_the_file_is_valid(here, parts, sizes):
    fill(here / "my photos", parts)
    written = write_space(Wish(data="my photos"))
    assert written.path == Path("my-photos.yaml")
    space = load_checked(written.path)
    splits = load_splits(space.data, 0)
    assert (len(splits.calibration), len(splits.search), len(splits.test)) == sizes
    assert (space.model.name, splits.shape) == ("resnet20", (3, 32, 32))
    assert written.next[0] == "next: blendsearch validate my-photos.yaml"


def test_weights_are_taken_as_they_are_and_sharing_the_test_part_is_proposed(here):
    fill(here / "photos", {"train": 24, "test": 9}, size=(16, 16))
    torch.save(MODELS.get("conv4")(num_classes=2, in_channels=3, image_size=16).state_dict(), "w.pt")
    out = Path("spaces") / "mine.yaml"
    written = write_space(Wish(data="photos", model="conv4", weights=Path("w.pt"), out=out))
    text = written.path.read_text()
    assert "# validation: 6" in text
    assert "blendsearch search spaces/mine.yaml" in text
    space = load_checked(out)
    assert (space.training.epochs, space.model.weights, space.data.image_size) == (0, "w.pt", 16)
    assert inspect(load_checked(out, ["criteria=[l1]", "data.validation=6", "data.search=6"])).sentence.startswith("OK")


def test_without_retraining_the_recipe_says_how(here):
    fill(here / "photos", {"train": 24, "test": 9}, size=(16, 16))
    torch.save(MODELS.get("conv4")(num_classes=2, in_channels=3, image_size=16).state_dict(), "w.pt")
    written = write_space(Wish(data="photos", model="conv4", weights=Path("w.pt"), post_training=True))
    text = written.path.read_text()
    assert "retraining" not in text.replace("post_training", "").partition("\n\n")[2]
    space = load_checked(written.path)
    assert (space.retraining.epochs, space.allocation.name, space.search.limit.evaluations) == (0, "evolved", 60)
    assert space.criteria == RECIPES["post_training"]["criteria"]
    told = CliRunner().invoke(app, ["init", "photos", "--post-training", "--out", "other.yaml"])
    assert told.exit_code == 0
    assert load_checked("other.yaml").recipe == "post_training"


def test_without_retraining_more_images_decide_where_there_are_many():
    seen = Seen({"name": "folder"}, 10, 50_000, {"test": 10_000}, 32, False, [])
    rows = [dict(_count_rows(seen, train, Wish(post_training=True))) for train in (50_000, 15_000, 900)]
    assert [next(iter(key for key in one if key.startswith("search"))) for one in rows] == [
        "search: 3000",
        "search: 1500",
        "search: 300",
    ]
    assert "search: 1000" in dict(_count_rows(seen, 50_000, Wish()))


def test_large_and_grey_images(here):
    fill(here / "large", {"train": 3, "test": 1}, size=(300, 230))
    space = load_space(write_space(Wish(data="large")).path)
    assert (space.model.name, space.data.image_size) == ("torchvision:resnet18", 224)
    fill(here / "grey", {"train": 6, "test": 2}, size=(28, 28), mode="L")
    space = load_space(write_space(Wish(data="grey")).path)
    assert (space.model.name, space.data.mean, space.data.image_size) == ("conv4", (0.449,), 28)
    space = load_space(write_space(Wish(data="grey", model="torchvision:resnet18", out=Path("b.yaml"))).path)
    assert space.data.mean is None


def test_data_sets_by_name(here):
    space = load_checked(write_space(Wish(data="digits")).path)
    assert (space.data.test, space.data.calibration, space.data.search) == (359, 239, 479)
    space = load_checked(write_space(Wish(data="cifar10")).path)
    assert (space.data.download, space.data.root, space.model.name) == (True, "data", "resnet20")


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(data="digitz"), "unknown folder or data set 'digitz'; did you mean 'digits'?"),
        (Wish(data="given"), "unknown folder or data set 'given'"),
        (Wish(), "a folder of images, the name of a data set, or --example NAME is needed"),
        (Wish(data="digits", model="conv5"), "--model: unknown model 'conv5'; did you mean 'conv4'?"),
        (Wish(data="digits", weights=Path("no.pt")), "--weights: 'no.pt' is no file"),
        (Wish(data="digits", out=Path("x.txt")), "--out: 'x.txt' given, a name that ends in .yaml expected"),
        (Wish(data="digits", out=Path("there.yaml")), "there.yaml: is there already and is not overwritten"),
        (Wish(data="empty"), "no image in 'empty'"),
        (Wish(example="digitz"), "unknown example 'digitz'; did you mean 'digits'?"),
        (Wish(example="digits", model="conv4"), "writes an example as it is"),
        (Wish(example="digits", post_training=True), "writes an example as it is"),
    ],
)
def test_what_cannot_be_written(here, wish, words):
    Path("there.yaml").write_text("mine")
    Path("empty").mkdir()
    with pytest.raises(BlendsearchError) as caught:
        write_space(wish)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in here.iterdir()) == ["empty", "there.yaml"]
    assert Path("there.yaml").read_text() == "mine"


def test_examples_are_those_of_the_repository(here):
    files = sorted((PACKAGE.parent / "search_spaces").glob("*.yaml"))
    assert example_names() == [file.stem for file in files]
    assert read_example("digits") == (PACKAGE.parent / "search_spaces" / "digits.yaml").read_text()
    result = CliRunner().invoke(app, ["init", "--example", "leaderboard_digits"])
    assert result.output.splitlines() == [
        "wrote leaderboard_digits.yaml",
        "next: blendsearch validate leaderboard_digits.yaml",
        "then: blendsearch leaderboard leaderboard_digits.yaml",
    ]
    assert CliRunner().invoke(app, ["init", "--example", "leaderboard_digits"]).exit_code == 2
