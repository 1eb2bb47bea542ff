"""Every schedule with every allocation, by a criterion and by a blend: each runs, or says in one line why not."""

from __future__ import annotations

import pytest
from safetensors.torch import save_file

from blendsearch.allocation import ALLOCATIONS
from blendsearch.blending import Blend
from blendsearch.campaigns.single import run_prune
from blendsearch.config import space_from_dict
from blendsearch.errors import BlendsearchError
from blendsearch.schedules import SCHEDULES, Schedule

PRUNING = [name for name in SCHEDULES.names() if issubclass(SCHEDULES.get(name), Schedule)]
OTHERS = [name for name in SCHEDULES.names() if name not in PRUNING]
QUICK = {"sensitivity": {"strengths": [1.0], "draws": 1, "images": 50}}


@pytest.fixture(scope="module")
def weights(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "conv4.safetensors"
    save_file(trained.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def blend_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("blend") / "blend.json"
    keep = {"conv1": 2.0, "conv2": 1.0, "conv3": 1.0, "conv4": 0.5}
    Blend("network", {"network": {"taylor": 1.0, "l2": 0.5}}, keep=keep).save(path)
    return str(path)


def space(weights, **changes):
    data = {
        "name": "walk",
        "data": {"name": "digits", "test": 100, "calibration": 60, "search": 100, "limit": 400},
        "model": {"name": "conv4", "arguments": {"width": 8}, "weights": weights},
        "training": {"epochs": 0},
        "budget": {"flops": 0.5, "min_keep": 0.02},
        "retraining": {"epochs": 1, "batch_size": 64, "lr": 0.02},
        "compute": {"device": "cpu", "workers": 1},
    }
    return space_from_dict({**data, **changes})


@pytest.mark.parametrize("schedule", PRUNING)
@pytest.mark.parametrize("allocation", ALLOCATIONS.names())
def test_schedules_and_allocations_go_together(weights, blend_file, tmp_path, schedule, allocation):
    terms = {"schedule": schedule, "allocation": {"name": allocation, **QUICK.get(allocation, {})}}
    for number, by in enumerate((blend_file, "taylor")):
        if (allocation, by) == ("evolved", "taylor"):
            with pytest.raises(BlendsearchError, match="a criterion or a blend without 'keep' has none") as error:
                run_prune(space(weights, **terms), by, tmp_path / str(number))
            assert len(str(error.value).splitlines()) == 1
            continue
        pruned = run_prune(space(weights, **terms), by, tmp_path / str(number)).summary.pruned
        assert 0.4 < pruned.flops_ratio <= 0.5
        if SCHEDULES.get(schedule).keeps_weights:  # the others have had seven steps in their life
            assert pruned.test_accuracy > 0.2


@pytest.mark.parametrize("schedule", PRUNING)
@pytest.mark.parametrize("kind", ["params", "filters", "latency"])
def test_schedules_keep_every_kind_of_budget(weights, tmp_path, schedule, kind):
    ratio = 0.97 if kind == "latency" else 0.5  # of so small a network most latency is overhead
    budget = {kind: ratio, "min_keep": 0.02}
    summary = run_prune(space(weights, schedule=schedule, budget=budget), "l1", tmp_path / "run").summary
    kept = [sum(numbers) for numbers in zip(*summary.kept.values(), strict=True)]
    reached = {
        "params": summary.pruned.params_ratio,
        "filters": kept[0] / kept[1],
        "latency": summary.latency.estimated_ratio if kind == "latency" else None,
    }
    assert 0.9 * ratio < reached[kind] <= ratio


@pytest.mark.parametrize("schedule", PRUNING)
def test_compensation_goes_with_what_keeps_weights(weights, tmp_path, schedule):
    if SCHEDULES.get(schedule).keeps_weights:
        given = space(weights, schedule=schedule, compensation={"images": 60})
        assert run_prune(given, "l1", tmp_path / "run").summary.pruned.test_accuracy > 0.5
    else:
        with pytest.raises(BlendsearchError, match="keeps no weights") as error:
            run_prune(space(weights, schedule=schedule, compensation={"images": 60}), "l1", tmp_path / "run")
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("schedule", OTHERS)
def test_training_schedules_prune_nothing(weights, tmp_path, schedule):
    with pytest.raises(BlendsearchError, match=f"'{schedule}'") as error:
        run_prune(space(weights, schedule=schedule), "l1", tmp_path / "run")
    assert len(str(error.value).splitlines()) == 1


def test_shares_that_are_not_used_are_told(weights, blend_file, tmp_path):
    unused = run_prune(space(weights), blend_file, tmp_path / "uniform").summary
    assert "allocation=evolved would use them" in unused.note
    assert run_prune(space(weights, allocation="evolved"), blend_file, tmp_path / "evolved").summary.note == ""


def test_a_blend_of_another_network_is_fitted_and_says_how(weights, tmp_path):
    path = tmp_path / "blend.json"
    other = Blend("layer", {"other": {"l1": 1.0, "l2": 0.5}}, {"other": ("other",)}, keep={"other": 1.0})
    network_wide = Blend("network", {"network": {"l1": 1.0, "l2": 0.5}}, keep={"other": 1.0})
    kept = []
    for number, blend in enumerate((other, network_wide)):
        blend.save(path)
        summary = run_prune(space(weights, allocation="evolved"), str(path), tmp_path / str(number)).summary
        assert summary.rule.startswith("another network: the mean over the layers for all layers")
        assert summary.rule in (tmp_path / str(number) / "summary.json").read_text()
        kept.append(summary.kept)
    assert kept[0] == kept[1]
    same = run_prune(space(weights), str(path), tmp_path / "uniform")
    assert kept[0] == same.summary.kept  # equal shares


def test_a_criterion_needs_no_rule(weights, tmp_path):
    assert run_prune(space(weights), "l1", tmp_path / "run").summary.rule == ""
