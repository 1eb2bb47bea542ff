"""What a campaign would refuse after a while is told at once, with nothing written and few images decoded."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_campaign import TINIER

from blendsearch.campaigns.inspection import inspect
from blendsearch.errors import BlendsearchError
from blendsearch.models.zoo import MODELS
from blendsearch.validation.board import checked_board_from_dict
from blendsearch.validation.space import checked_from_dict

SENTENCE = (
    r"OK: (\d+) classes, ([\d,]+) images, [\d.]+ [kM] parameters, about [\d.]+ (s|ms|minutes?|hours?), about [\d.]+ GB"
)


def space(**changes):
    return checked_from_dict({**TINIER, "proxy": "zero_shot", **changes})


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Class folders with 30 images of two classes for training and 10 for the test; nothing may decode all of them."""
    monkeypatch.setattr("blendsearch.data.datasets.decoded", lambda *given: pytest.fail("all images were decoded"))
    draw = np.random.default_rng(0)
    for part, count in (("train", 15), ("test", 5)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def of_folder(photos, **changes):
    data = {"root": str(photos), "calibration": 8, "search": 8, "workers": 0, **changes.pop("data", {})}
    return space(data=data, **changes)


def refusal(settings) -> str:
    with pytest.raises(BlendsearchError) as caught:
        inspect(settings)
    return str(caught.value)


def test_a_space_in_which_all_is_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = inspect(space())
    assert re.fullmatch(SENTENCE, found.sentence).groups()[:2] == ("10", "700")
    names = [line.split(":")[0] for line in found.counted]
    assert names == [
        "start and report",
        "training",
        "statistics",
        "unpruned network",
        "search",
        "comparison",
        "retraining",
    ]
    assert "training: 2 epochs, 10 steps, about " in found.counted[1]
    assert not list(tmp_path.iterdir())


def test_images_of_folders_are_counted_not_decoded(photos):
    before = sorted(photos.rglob("*"))
    found = inspect(of_folder(photos))
    assert re.fullmatch(SENTENCE, found.sentence).groups()[:2] == ("2", "40")
    assert sorted(photos.rglob("*")) == before


def test_what_is_wrong_with_the_weights_is_told_with_what_is_wrong_with_the_data(photos):
    model = {"name": "conv4", "weights": str(photos / "gone.pt")}
    lines = refusal(of_folder(photos, model=model, data={"calibration": 512, "search": 1000})).splitlines()
    assert len(lines) == 2
    assert "gone.pt' is no file" in lines[0]
    assert lines[1] == ("data: calibration 512 + search 1000 = 1512 images are to be set apart, but there are only 30")


def test_weights_of_another_network(photos):
    torch.save(MODELS.get("conv4")(num_classes=2, in_channels=3, image_size=16, width=4).state_dict(), photos / "w.pt")
    assert "does not fit the network" in refusal(
        of_folder(photos, model={"name": "conv4", "weights": str(photos / "w.pt"), "arguments": {"width": 8}})
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"name": "folder", "root": "/no/such/folder"}}, "data.root: '/no/such/folder' is no folder"),
        ({"data": {**TINIER["data"], "validation": "part"}}, "has no validation part"),
        ({"budget": {"flops": 0.01, "min_keep": 0.5}}, "budget"),
        ({"model": {"name": "torchvision:vgg11"}, "criteria": ["bn_scale"]}, "torchvision:vgg11 cannot take images"),
        ({"search": {"choice": {"share": 0.001}}}, "search.choice.share"),
        ({"compensation": {"images": 5000}}, "compensation.images: 5000 given"),
    ],
)
def test_what_cannot_begin(changes, words):
    assert words in refusal(space(**changes))


def test_a_criterion_that_cannot_score_the_network(photos, monkeypatch):
    monkeypatch.syspath_prepend(str(photos))
    (photos / "plain_net.py").write_text(
        "from torch import nn\n"
        "def build(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),\n"
        "                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))\n"
    )
    words = refusal(of_folder(photos, model={"name": "plain_net:build"}, criteria=["l1", "bn_scale"]))
    assert words.startswith("criteria: 'bn_scale':")


def test_images_of_different_sizes_and_ones_that_cannot_be_read(photos):
    Image.new("RGB", (20, 16)).save(photos / "train" / "cat" / "odd.png")
    assert "images differ in size" in refusal(of_folder(photos))
    assert inspect(of_folder(photos, data={"image_size": 16})).sentence.startswith("OK")
    (photos / "train" / "dog" / "7.png").write_bytes(b"no image")
    words = refusal(of_folder(photos, data={"image_size": 16}))
    assert "7.png' cannot be read as an image" in words
    assert "data.on_error: skip leaves such images out" in words
    found = inspect(of_folder(photos, data={"image_size": 16, "on_error": "skip"}))
    assert "40 images" in found.sentence
    assert "1 image could not be read and is left out" in found.notes


def test_a_set_that_is_to_be_downloaded_is_not_fetched(tmp_path):
    data = {"name": "cifar10", "root": str(tmp_path / "data"), "download": True}
    assert inspect(space(data=data)).sentence == (
        f"OK as far as can be told: the data set cifar10 is to be downloaded into '{tmp_path}/data' first"
    )
    assert not (tmp_path / "data").exists()


def test_a_board(tmp_path):
    network = {key: TINIER[key] for key in ("data", "model", "training")}
    board = {
        "name": "board",
        "networks": [{"name": "a", **network}, {"name": "b", **network}],
        "criteria": ["l1", "taylor"],
        "budgets": [{"flops": 0.5}, {"flops": 0.3}],
        "retraining": {**TINIER["retraining"], "seeds": 3},
        "compute": TINIER["compute"],
    }
    found = inspect(checked_board_from_dict(board))
    assert found.sentence.startswith("OK: 2 networks, about ")
    assert any(line.startswith("b: retraining: 12 networks, ") for line in found.counted)
    wrong = {**board, "budgets": [{"flops": 0.01, "min_keep": 0.5}]}
    assert refusal(checked_board_from_dict(wrong)).startswith("networks: 'a': ")


def test_a_space_of_five_lines_is_looked_at_as_it_is(photos):
    model = {"name": "conv4", "arguments": {"width": 4}}
    given = checked_from_dict({"data": {"root": str(photos), "workers": 0}, "model": model, "criteria": ["l1"]})
    found = inspect(given)
    assert "training: 20 epochs, 20 steps" in " ".join(found.counted)
    assert Path(given.data.root) == photos
