"""`compute.precision: auto` takes what the machine is faster with, and a run keeps what it began with."""

import json

import pytest
import torch

from blendsearch.campaigns.single import run_train
from blendsearch.compute import Compute, speed_of_bfloat16
from blendsearch.errors import RunError
from blendsearch.validation.space import checked_from_dict

FAST, EMULATED = 2.0, 0.06


@pytest.fixture
def machine(monkeypatch):
    return lambda speed: monkeypatch.setattr("blendsearch.compute.speed_of_bfloat16", lambda kind: speed)


def space(precision):
    return checked_from_dict(
        {
            "name": "precision",
            "data": {"name": "digits", "test": 100, "calibration": 50, "search": 50, "limit": 300},
            "model": {"name": "conv4", "arguments": {"width": 8}},
            "training": {"epochs": 1, "lr": 0.05},
            "compute": {"device": "cpu", "workers": 1, "precision": precision},
        }
    )


def recorded(folder):
    return json.loads((folder / "space.json").read_text())["compute"]["precision"]


@pytest.mark.parametrize(("speed", "wanted"), [(FAST, "bfloat16"), (1.1, "float32"), (EMULATED, "float32")])
def test_auto_takes_bfloat16_only_where_that_is_clearly_faster(machine, speed, wanted):
    machine(speed)
    assert Compute.resolve("cpu", "auto").precision == wanted


def test_the_speed_is_measured_and_draws_no_random_number_of_ours():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    speed_of_bfloat16.cache_clear()
    assert speed_of_bfloat16("cpu") > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_gpu_that_is_not_there_is_not_fast(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    speed_of_bfloat16.cache_clear()
    assert Compute.resolve("cuda", "auto").precision == "float32"
    speed_of_bfloat16.cache_clear()


@pytest.mark.parametrize(("first", "then", "kept"), [(FAST, EMULATED, "bfloat16"), (EMULATED, FAST, "float32")])
def test_a_run_goes_on_in_the_precision_that_it_began_with(machine, tmp_path, first, then, kept):
    machine(first)
    run_train(space("auto"), tmp_path)
    before = (tmp_path / "baseline.safetensors").read_bytes()
    assert recorded(tmp_path) == kept
    machine(then)
    run_train(space("auto"), tmp_path, resume=True)
    assert recorded(tmp_path) == kept
    assert (tmp_path / "baseline.safetensors").read_bytes() == before


def test_a_run_that_began_with_another_one_is_refused(machine, tmp_path):
    machine(FAST)
    run_train(space("auto"), tmp_path)
    with pytest.raises(RunError, match=r"differing: compute\.precision"):
        run_train(space("float32"), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("precision", "speed", "notes"), [("bfloat16", EMULATED, 1), ("bfloat16", FAST, 0), ("auto", 0.1, 0)]
)
def test_that_bfloat16_is_emulated_is_told(machine, tmp_path, precision, speed, notes):
    machine(speed)
    told = []
    run_train(space(precision), tmp_path, progress=lambda task, *step: told.append((task, step[-1])))
    found = [text for task, text in told if task == "note" and "bfloat16" in text]
    assert len(found) == notes
    assert all("only emulates" in text and "compute.precision=auto" in text for text in found)
