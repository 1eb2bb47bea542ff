"""A data set that another package registers: held or streamed it works, or what is amiss with it is one line."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from typer.testing import CliRunner

from blendsearch.campaigns.single import run_prune
from blendsearch.cli import app
from blendsearch.config import DataConfig
from blendsearch.data.datasets import DATASETS, Part, Source
from blendsearch.data.splits import load_splits
from blendsearch.errors import DataError
from blendsearch.validation.space import checked_from_dict

COUNT, SHAPE = 90, (1, 8, 8)
LABELS = torch.arange(COUNT) % 3
PIXELS = torch.randint(0, 256, (COUNT, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PARTS = ("train", "calibration", "search", "test")
SIZES = {"calibration": 12, "search": 15, "test": 18}


class Images(Dataset):
    """A map-style dataset of somebody's own, with one image that is different."""

    def __init__(self, pixels=PIXELS, odd=None):
        self.pixels, self.odd = pixels, odd

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        if self.odd is not None and index == COUNT - 1:
            return self.odd(index)
        return self.pixels[index], int(LABELS[index])


class Stream(IterableDataset):
    """A dataset that gives its images in its own order."""

    def __iter__(self):
        return iter(zip(PIXELS, LABELS.tolist(), strict=True))


class Bare:
    """Has neither __len__ nor __getitem__, and is no dataset of torch's."""

    def __iter__(self):
        return iter(Stream())


def streamed(**changes):
    return Part(**{"labels": LABELS, "dataset": Images(), **changes})


@pytest.fixture
def register():
    """Register a data set `own` whose training part is the given one; unregistered afterwards."""

    def put(part, **changes):
        source = Source(part, None, ("a", "b", "c"), (0.5,), (0.25,), SHAPE)
        DATASETS.register("own")(lambda config, progress: replace(source, **changes))

    yield put
    DATASETS.unregister("own")


def load(**keys):
    return load_splits(DataConfig(name="own", **{**SIZES, "workers": 0, **keys}), 0)


def test_streamed_and_held_are_split_alike(register):
    register(Part(LABELS, PIXELS))
    held = load()
    DATASETS.unregister("own")
    register(streamed())
    found = load()
    for name in PARTS:
        for first, second in zip(getattr(held, name).batches(7), getattr(found, name).batches(7), strict=True):
            assert torch.equal(first[0], second[0])
            assert torch.equal(first[1], second[1])


def test_a_dataset_of_torchs_own_will_do(register):
    register(streamed(dataset=TensorDataset(PIXELS, LABELS)))
    assert sum(len(labels) for _, labels in load(workers=1).train.batches(10)) == COUNT - sum(SIZES.values())


def test_the_fingerprint_knows_a_changed_set_by_names_or_by_some_images(register):
    found = []
    for part in (
        streamed(),
        streamed(),
        streamed(dataset=Images(255 - PIXELS)),
        streamed(names=[f"{number}.png" for number in range(COUNT)]),
        streamed(names=[f"{number}.jpg" for number in range(COUNT)]),
    ):
        register(part)
        found.append(load().fingerprint)
        DATASETS.unregister("own")
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_a_job_runs_on_a_streamed_set(register, tmp_path):
    register(streamed())
    space = {
        "name": "own",
        "data": {"name": "own", **SIZES, "workers": 0},
        "model": {"name": "conv4", "arguments": {"width": 4}},
        "training": {"epochs": 1, "batch_size": 16},
        "budget": {"filters": 0.5},
        "retraining": {"epochs": 1, "batch_size": 16},
        "compute": {"device": "cpu", "workers": 1},
    }
    result = run_prune(checked_from_dict(space), "taylor", tmp_path / "run")
    assert sum(count for count, _ in result.summary.kept.values()) <= 12


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (streamed(dataset=Stream()), "train part of 'own' streams from Stream, which gives no image by its number"),
        (streamed(dataset=Bare()), "streams from Bare, which gives no image by its number"),
        (streamed(dataset=Images(PIXELS[:9])), "has 90 labels for 9 images"),
        (streamed(names=["a.png"]), "has 90 labels for 1 names"),
        (streamed(dataset=None), "has neither images nor a dataset"),
        (streamed(dataset=Images(PIXELS.float())), "image 0 is torch.float32 (1, 8, 8), allowed: a tensor torch.uint8"),
        (
            streamed(dataset=Images(PIXELS[:, 0])),
            "image 0 is torch.uint8 (8, 8), allowed: a tensor torch.uint8 (1, 8, 8)",
        ),
        (streamed(dataset=Images(PIXELS.numpy())), "image 0 is ndarray"),
        (streamed(labels=LABELS.flip(0)), "image 0 comes with label 0, its part says 2"),
        (streamed(labels=LABELS + 1), "has labels 1 to 3, allowed: 0 to 2"),
        (streamed(labels=LABELS.int()), "has labels torch.int32 (90,)"),
        (streamed(labels=LABELS.tolist()), "has labels list"),
        (Part(LABELS[:0], PIXELS[:0]), "has no image"),
        (Part(LABELS, PIXELS.float()), "has images torch.float32 (90, 1, 8, 8), allowed: a tensor torch.uint8"),
        (Part(LABELS, PIXELS[:, 0]), "has images torch.uint8 (90, 8, 8)"),
        (Part(LABELS, PIXELS[:5]), "allowed: a tensor torch.uint8 (90, 1, 8, 8) (NxCxHxW)"),
    ],
)
def test_a_part_of_another_form_is_one_line(register, part, words):
    register(part)
    with pytest.raises(DataError) as caught:
        load()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_test_part_is_looked_at_too(register):
    register(streamed(), test=Part(LABELS, PIXELS.float()))
    with pytest.raises(DataError, match="the test part of 'own' has images"):
        load(test=None)


def test_a_loader_that_returns_something_else_is_one_line():
    DATASETS.register("own")(lambda config, progress: (PIXELS, LABELS))
    try:
        with pytest.raises(DataError, match="the loader of 'own' returned tuple, allowed: a Source"):
            load()
    finally:
        DATASETS.unregister("own")


def read_all(splits):
    for name in PARTS:
        list(getattr(splits, name).batches(10))


def no_such_file(index):
    raise OSError("no such\nfile")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (no_such_file, "data: image 89 cannot be read (OSError: no such file)"),
        (lambda index: (PIXELS[index][:, :4], 2), "data: image 89 is torch.uint8 (1, 4, 8), allowed: "),
        (lambda index: PIXELS[index], "data: image 89 cannot be read (ValueError: not enough values to unpack"),
        (lambda index: (PIXELS[index], "two"), "data: image 89 cannot be read (ValueError: invalid literal for int()"),
    ],
)
def test_an_odd_image_among_many_is_one_line(register, odd, words, workers):
    register(streamed(dataset=Images(odd=odd), names=list(map(str, range(COUNT)))))
    splits = load(workers=workers)
    with pytest.raises(DataError) as caught:
        read_all(splits)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_the_command_line_refuses_in_one_line_and_leaves_no_folder(register, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    register(streamed(dataset=Stream()))
    text = "name: own\ndata: {name: own, test: 9, calibration: 9, search: 9}\nmodel: {name: conv4}\n"
    (tmp_path / "space.yaml").write_text(
        text + "training: {epochs: 1}\nretraining: {epochs: 1}\nbudget: {flops: 0.5}\n"
    )
    result = CliRunner().invoke(app, ["train", "space.yaml"], catch_exceptions=False)
    assert result.exit_code == 2
    assert result.output.startswith("data.name: the train part of 'own' streams from Stream")
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()
