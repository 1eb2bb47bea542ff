"""Sensitiveness measured by damage: what is damaged, what is restored, and how it is turned into counts."""

from __future__ import annotations

import statistics

import pytest
import torch
from small_networks import conv4, images

from blendsearch.allocation import Budget
from blendsearch.allocation import sensitivity as module
from blendsearch.allocation.sensitivity import Sensitivity
from blendsearch.allocation.uniform import Uniform
from blendsearch.compute import Compute, generator
from blendsearch.errors import BlendsearchError, ConfigError, UnknownNameError
from blendsearch.structure import Plan, Structure
from blendsearch.training import evaluate
from blendsearch.training.evaluation import correct_mask


@pytest.fixture(scope="module")
def structure(trained, digits):
    return Structure.of(trained, next(digits.calibration.batches(2))[0])


def measured(trained, digits, structure, seed=0, **options):
    allocation = Sensitivity(**{"images": 120, "draws": 2, **options})
    allocation.prepare(trained, structure, digits.search, compute=Compute(), seed=seed)
    return allocation


def given(sensitiveness, **options):
    """An allocation that has measured these numbers."""
    allocation = Sensitivity(**options)
    allocation.load_state_dict({"accuracy": 1.0, "drops": {group: [value] for group, value in sensitiveness.items()}})
    return allocation


@pytest.mark.parametrize("damage", ["add", "multiply"])
def test_the_loss_is_that_of_a_network_damaged_by_hand(trained, digits, structure, damage):
    allocation = measured(trained, digits, structure, seed=7, damage=damage, strengths=(0.5, 1.5))
    data = digits.search.take(120)
    sound = evaluate(trained, data.batches(500)).accuracy
    victim = structure.slice(trained, Plan.full(structure.widths))
    for number, strength in enumerate((0.5, 1.5)):
        drops = []
        for draw in range(2):
            weight = trained.conv3.weight.detach()
            noise = strength * torch.randn(weight.shape, generator=generator(7, "conv3", draw, "conv3"))
            spread = (weight - weight.mean()).square().mean().sqrt() if damage == "add" else weight
            victim.conv3.weight.data = weight + noise * spread
            drops.append(sound - evaluate(victim, data.batches(500)).accuracy)
        assert allocation.drops["conv3"][number] == pytest.approx(statistics.fmean(drops), abs=1 / 120)
    assert allocation.accuracy == sound
    assert allocation.lost["conv3"].shape == (2, 120)  # draws, images
    assert allocation.lost["conv3"].mean() == pytest.approx(statistics.fmean(allocation.drops["conv3"]))
    mean = statistics.fmean(allocation.drops["conv3"])
    assert allocation.sensitiveness["conv3"] == max(0.0, mean)


def test_more_damage_costs_more_and_the_seed_decides(trained, digits, structure):
    first, again, other = (measured(trained, digits, structure, seed=seed, strengths=(0.25, 3.0)) for seed in (0, 0, 1))
    assert first.state_dict() == again.state_dict()
    assert first.drops != other.drops
    assert all(drops[1] > drops[0] for drops in first.drops.values())


def test_the_network_is_untouched_also_when_evaluation_fails(trained, digits, structure, monkeypatch):
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    flags = [part.training for part in trained.modules()]
    calls = []

    def failing(*arguments):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return correct_mask(*arguments)

    monkeypatch.setattr(module, "correct_mask", failing)
    allocation = Sensitivity(images=50)
    with pytest.raises(KeyboardInterrupt):
        allocation.prepare(trained, structure, digits.search, compute=Compute(), seed=0)
    assert allocation.unmeasured(structure)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())
    assert [part.training for part in trained.modules()] == flags


def test_progress_counts_every_damage(trained, digits, structure):
    steps = []
    Sensitivity(images=20, draws=2, strengths=(1.0,)).prepare(
        trained, structure, digits.search, compute=Compute(), seed=0,
        progress=lambda task, done, total, detail="": steps.append((task, done, total)),
    )  # fmt: skip
    assert steps == [("sensitivity", done, 4 * 2) for done in range(9)]


def test_the_more_sensitive_the_more_is_kept(structure):
    counts = given({"conv1": 0.4, "conv2": 0.2, "conv3": 0.1, "conv4": 0.0}, contrast=0.9).allocate(
        structure, {}, Budget("params", 0.5, 0.0)
    )
    shares = [counts[group] / structure.widths[group] for group in counts]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.9 > 0.7 > shares[3]


def test_filters_go_in_proportion_to_the_weights():
    """With widths of 100 the shares lost are those of the formula: 1 - contrast * s / highest s."""
    wide = Structure.of(conv4(width=100).eval(), images())
    s = {"conv1": 0.3, "conv2": 0.15, "conv3": 0.0, "conv4": 0.06}
    counts = given(s, contrast=0.8).allocate(wide, {}, Budget("filters", 0.7))
    lost = {group: 1 - counts[group] / wide.widths[group] for group in s}
    weights = {group: 1 - 0.8 * value / 0.3 for group, value in s.items()}
    for group in s:
        assert lost[group] / lost["conv3"] == pytest.approx(weights[group], abs=0.03)


@pytest.mark.parametrize("sensitiveness", [0.0, 0.3, -0.1])
def test_equal_sensitiveness_is_uniform(structure, sensitiveness):
    allocation = given(dict.fromkeys(structure.widths, sensitiveness))
    budget = Budget("flops", 0.4)
    uniform = Uniform().allocate(structure, {}, budget)
    assert allocation.allocate(structure, {}, budget) == uniform
    spread = given(dict(zip(structure.widths, (0.1, 0.5, 0.2, 0.0), strict=True)), contrast=0.0)
    assert spread.allocate(structure, {}, budget) == uniform


def test_a_smaller_structure_uses_what_was_measured(trained, structure):
    """Groups that are down to one filter vanish, those that stay keep their names."""
    allocation = given({"conv1": 0.4, "conv2": 0.2, "conv3": 0.1, "conv4": 0.0})
    plan = allocation.plan(
        structure, {g: torch.arange(float(w)) for g, w in structure.widths.items()}, Budget("filters", 0.4, 0.0)
    )
    keep = {**plan.keep, "conv4": (0,)}
    left = Plan(keep, plan.widths)
    smaller = structure.again(structure.slice(trained, left), left)
    assert "conv4" not in smaller.widths
    counts = allocation.allocate(smaller, {}, Budget("filters", 0.7, 0.0))
    assert counts["conv1"] / smaller.widths["conv1"] >= counts["conv3"] / smaller.widths["conv3"]


def test_unmeasured_is_one_clear_line(structure):
    with pytest.raises(BlendsearchError, match=r"group 'conv1' was not measured; call prepare") as error:
        Sensitivity().allocate(structure, {}, Budget("flops", 0.5))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"strengths": []}, ConfigError, r"allocation\.strengths: \[\] given"),
        ({"strengths": [0.5, 0.0]}, ConfigError, r"allocation\.strengths: \[0.5, 0.0\] given"),
        ({"draws": 0}, ConfigError, r"allocation\.draws: 0 given, at least 1"),
        ({"damage": "ad"}, UnknownNameError, "did you mean 'add'"),
        ({"images": 0}, ConfigError, r"allocation\.images: 0 given"),
        ({"contrast": 1.0}, ConfigError, r"allocation\.contrast: 1.0 given, 0 to below 1"),
    ],
)
def test_wrong_options_are_one_line(options, error, words):
    with pytest.raises(error, match=words):
        Sensitivity(**options)
