"""A space's limits and layers left alone, from its file to the pruned network, whichever schedule prunes."""

from __future__ import annotations

import pytest
from safetensors.torch import save_file

from blendsearch.campaigns.single import run_prune
from blendsearch.config import space_from_dict
from blendsearch.errors import BlendsearchError
from blendsearch.experiment import Experiment
from blendsearch.schedules import SCHEDULES, Schedule

PRUNING = [name for name in SCHEDULES.names() if issubclass(SCHEDULES.get(name), Schedule)]


@pytest.fixture(scope="module")
def weights(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "conv4.safetensors"
    save_file(trained.state_dict(), path)
    return str(path)


def space(weights=None, **changes):
    data = {
        "name": "limited",
        "data": {"name": "digits", "test": 100, "calibration": 60, "search": 100, "limit": 400},
        "model": {"name": "conv4", "arguments": {"width": 8}, "weights": weights},
        "training": {"epochs": 0},
        "budget": {"flops": 0.5, "min_keep": 0.02},
        "retraining": {"epochs": 1, "batch_size": 64, "lr": 0.02},
        "compute": {"device": "cpu", "workers": 1},
    }
    return space_from_dict({**data, **changes})


@pytest.mark.parametrize("schedule", [*PRUNING, {"name": "iterative", "share": 0.2}], ids=str)
def test_every_schedule_obeys(weights, tmp_path, schedule):
    budget = {
        "flops": 0.6,
        "also": {"params": 0.55},
        "min_keep": 0.02,
        "round_to": 2,
        "keep": {"conv2": 0.75, "conv4": [0.5, 0.8]},
    }
    summary = run_prune(space(weights, schedule=schedule, budget=budget), "l1", tmp_path / "run").summary
    kept = {group: numbers[0] for group, numbers in summary.kept.items()}
    assert kept["conv2"] == 6
    assert 8 <= kept["conv4"] <= 12
    assert all(count % 2 == 0 for count in kept.values())
    assert summary.pruned.flops_ratio <= 0.6
    assert summary.pruned.params_ratio <= 0.55


def test_what_modules_read_is_left_alone(weights):
    structure = Experiment(space(weights, structure={"ignore_inputs": ["conv3"]})).structure
    assert list(structure.widths) == ["conv1", "conv3", "conv4"]
    assert structure.refused["conv2"] == "'conv3' reads it, whose inputs are to be ignored"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": {"flops": 0.5, "keep": {"conv7": 0.5}}}, "keep 'conv7' fits no prunable layer .* did you mean 'co"),
        ({"budget": {"flops": 0.5, "keep": {"*": 0.9}}}, r"flops 0\.5 cannot be met; at least 0\.\d+ .*keep '\*' 0\.9"),
        ({"budget": {"flops": 0.5, "also": {"params": 0.001}}}, r"params 0\.001 cannot be met"),
        (
            {"structure": {"ignore_inputs": ["conv7"]}},
            "structure.ignore_inputs: the network has no module 'conv7'; did",
        ),
    ],
)
def test_limits_that_do_not_fit_are_told_before_any_work(tmp_path, changes, words):
    with pytest.raises(BlendsearchError, match=words) as caught:
        run_prune(space(**changes), "l1", tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
