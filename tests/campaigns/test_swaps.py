"""Swaps of single filters after a search: what is made of those that help, and how many plans are judged."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from blendsearch.campaigns.search.finals import Candidate
from blendsearch.campaigns.search.swaps import AT_ONCE, _helpful, _made, swap_filters
from blendsearch.campaigns.search.worths import (
    COST,
    COST_SPREAD,
    NOISE,
    SLOPE,
    SPREAD,
    Swap,
    Worths,
    expected_improvement,
)
from blendsearch.structure import Plan

WIDTHS = {"a": 6, "b": 8, "c": 4}
START = Plan({"a": (0, 1, 2), "b": (0, 1, 2, 3), "c": (0, 1, 2, 3)}, WIDTHS)


class Judge:
    """A problem whose fitness is what the kept filters are worth, so that every swap can be judged by itself."""

    def __init__(self, worth):
        self.worth, self.judged = worth, []

    def racing_from(self, plan):
        return self

    def raced(self, plans):
        return self.values(plans)

    def values(self, plans):
        self.judged += plans
        return [sum(float(self.worth[group][list(kept)].sum()) for group, kept in plan.keep.items()) for plan in plans]


def climb(judge, count, plan=START, scores=None):
    experiment = SimpleNamespace(
        space=SimpleNamespace(search=SimpleNamespace(swaps=count)),
        folder=SimpleNamespace(cached=lambda name, kind, make: make()),
        progress=lambda *_: None,
    )
    start = Candidate(number=0, genome={}, plan=plan, proxy=judge.values([plan])[0])
    judge.judged.clear()
    falling = {group: torch.arange(width, 0, -1).float() for group, width in WIDTHS.items()}
    return swap_filters(experiment, "blend", judge, start, scores or falling)


def worth_of(seed):
    draw = torch.Generator().manual_seed(seed)
    return {group: torch.rand(width, generator=draw) for group, width in WIDTHS.items()}


@pytest.mark.parametrize("seed", range(3))
def test_swaps_find_the_best_sets_where_filters_count_by_themselves(seed):
    worth = worth_of(seed)
    judge = Judge(worth)
    found = climb(judge, 200)
    for group, kept in START.keep.items():
        assert set(found.plan.keep[group]) == set(worth[group].topk(len(kept)).indices.tolist()), group
    assert found.proxy == judge.values([found.plan])[0]


@pytest.mark.parametrize("count", [1, 6, 7, 20])
def test_no_more_plans_are_judged_than_wanted_and_none_twice(count):
    judge = Judge(worth_of(0))
    climb(judge, count)
    assert len(judge.judged) == count
    assert len({plan.digest for plan in judge.judged}) == count


def test_what_helps_is_the_best_of_each_group_and_is_made_together():
    swaps = [Swap(0.0, "a", 2, 5), Swap(0.0, "a", 2, 4), Swap(0.0, "b", 3, 7), Swap(0.0, "b", 0, 6)]
    helpful = _helpful(1.0, swaps, [1.1, 1.3, 1.2, 0.9])
    assert helpful == [(swaps[1], 1.3), (swaps[2], 1.2)]
    assert _made([swap for swap, _ in helpful], START).keep == {
        "a": (0, 1, 4),
        "b": (0, 1, 2, 7),
        "c": (0, 1, 2, 3),
    }


def test_swaps_that_help_alone_but_not_together_are_not_both_made():
    class Rivals(Judge):
        def values(self, plans):
            self.judged += plans
            changed = [sum(plan.keep[group] != START.keep[group] for group in "ab") for plan in plans]
            return [(0.0, 1.0, 0.5)[number] for number in changed]

    judge = Rivals({})
    found = climb(judge, AT_ONCE + 1)
    assert len(judge.judged) == AT_ONCE + 1
    assert found.proxy == 1.0
    assert sum(found.plan.keep[group] != START.keep[group] for group in "ab") == 1


def test_a_group_that_keeps_all_is_never_swapped():
    worths = Worths({group: torch.arange(width).float() for group, width in WIDTHS.items()})
    found = worths.propose(START, {START.digest}, 20)
    assert len(found) == len({swap.made(START).digest for swap in found}) == 20
    for swap in found:
        assert swap.group in ("a", "b")
        assert swap.gone in START.keep[swap.group]
        assert swap.come not in START.keep[swap.group]
        kept = set(START.keep[swap.group]) - {swap.gone} | {swap.come}
        assert swap.made(START).keep == {**START.keep, swap.group: tuple(sorted(kept))}
    assert worths.propose(Plan({"c": (0, 1, 2, 3)}, {"c": 4}), set(), 6) == []


def test_what_is_believed_is_the_posterior_of_a_linear_model():
    """Against the closed form by the precision matrix, of as many equations as there are filters."""
    worths = Worths({"a": torch.tensor([0.3, 0.1, 0.2, 0.5])})
    swaps = [(0, 1, 0.004), (0, 3, 0.001), (2, 3, -0.003), (1, 2, 0.0), (0, 1, 0.005)]
    for gone, come, change in swaps:
        worths.learn(Swap(0.0, "a", gone, come), change)
    scale = 0.002
    rows = np.zeros((len(swaps), 5))
    rows[:, 0] = 1
    for row, (gone, come, _) in zip(rows, swaps, strict=True):
        row[1 + gone] -= 1
        row[1 + come] += 1
    prior = np.diag([COST_SPREAD**-2, *[SPREAD**-2] * 4])
    quantiles = norm.ppf((np.array([2, 0, 1, 3]) + 0.5) / 4)
    start = np.array([COST, *(SLOPE * quantiles)])
    covariance = np.linalg.inv(prior + rows.T @ rows / NOISE**2)
    changes = np.array([change for *_, change in swaps]) / scale
    mean = covariance @ (prior @ start + rows.T @ changes / NOISE**2)
    found = worths._believed("a", scale)
    assert found.mean == pytest.approx(mean)
    assert found.variances == pytest.approx(np.diag(covariance))
    gone, come = np.array([0, 2, 3]), np.array([1, 3, 0])
    of_swaps = np.zeros((3, 5))
    of_swaps[:, 0] = 1
    of_swaps[range(3), 1 + gone] -= 1
    of_swaps[range(3), 1 + come] += 1
    found_mean, found_variance = found.of_swaps(gone, come)
    assert found_mean == pytest.approx(of_swaps @ mean)
    assert found_variance == pytest.approx(np.diag(of_swaps @ covariance @ of_swaps.T))


def test_before_any_swap_was_judged_the_order_is_believed():
    found = Worths({"a": torch.tensor([0.3, 0.1, 0.2, 0.5])})._believed("a", 1.0)
    assert found.mean == pytest.approx([COST, *(SLOPE * norm.ppf(np.array([2.5, 0.5, 1.5, 3.5]) / 4))])
    assert found.variances == pytest.approx([COST_SPREAD**2, *[SPREAD**2] * 4])


@pytest.mark.parametrize(("mean", "deviation"), [(-2.0, 0.5), (-0.1, 1.0), (0.0, 2.0), (3.0, 0.1)])
def test_the_expected_improvement_is_the_mean_of_what_is_gained(mean, deviation):
    found = expected_improvement(np.array([mean]), np.array([deviation]))
    wanted, _ = quad(lambda x: x * norm.pdf(x, mean, deviation), 0, mean + 40 * deviation, points=[abs(mean)])
    assert found == pytest.approx([wanted], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_swaps_that_are_learned_from_find_more_in_as_many_plans(seed):
    """Of a wide layer whose order says nothing of what filters are worth, against swaps drawn evenly."""
    draw = np.random.default_rng(seed)
    width, kept = 40, 20
    worth = draw.normal(size=width)
    plan = Plan({"a": tuple(range(kept))}, {"a": width})
    judge = Judge({"a": torch.tensor(worth)})
    found = climb(judge, 120, plan, {"a": torch.zeros(width)})
    even, best = set(range(kept)), worth[:kept].sum()
    for _ in range(120):
        gone, come = draw.choice(sorted(even)), draw.choice(sorted(set(range(width)) - even))
        if worth[come] > worth[gone]:
            even = even - {gone} | {come}
    top = np.sort(worth)[-kept:].sum()
    learned, evenly = found.proxy - best, worth[sorted(even)].sum() - best
    assert learned > evenly
    assert learned > 0.9 * (top - best)
