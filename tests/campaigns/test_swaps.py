"""Swaps of single filters after a search: what is made of those that help, and how many plans are judged."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from blendsearch.campaigns.search import worths as module
from blendsearch.campaigns.search.finals import Candidate
from blendsearch.campaigns.search.swaps import AT_ONCE, FORESEEN, _helpful, _joint, _made, swap_filters
from blendsearch.campaigns.search.worths import Swap, Worths, expected_improvement, revised
from blendsearch.evolution.fitness import Evaluation
from blendsearch.evolution.swap_forecast import SwapTable
from blendsearch.structure import Plan

WIDTHS = {"a": 6, "b": 8, "c": 4}
START = Plan({"a": (0, 1, 2), "b": (0, 1, 2, 3), "c": (0, 1, 2, 3)}, WIDTHS)


class Judge:
    """A problem whose fitness is what the kept filters are worth, so that every swap can be judged by itself."""

    def __init__(self, worth):
        self.worth, self.judged = worth, []

    def forecast(self, plan):
        return {}

    def compare(self, plans, rival):
        return [Evaluation(plan, value, 0.0, 0, False) for plan, value in zip(plans, self.values(plans), strict=True)]

    def values(self, plans):
        self.judged += plans
        return [sum(float(self.worth[group][list(kept)].sum()) for group, kept in plan.keep.items()) for plan in plans]


def swapping(count, made):
    """An experiment with so many swaps, which puts the record that it makes into a list."""

    def cached(name, kind, make):
        made.append(make())
        return made[-1]

    return SimpleNamespace(
        space=SimpleNamespace(search=SimpleNamespace(swaps=count)),
        folder=SimpleNamespace(cached=cached),
        progress=lambda *_: None,
    )


def climb(judge, count, plan=START, scores=None):
    experiment = swapping(count, [])
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


def evaluated(value, error=None, stopped=False):
    return Evaluation(START, value, 0.0, 0, False, error=error, stopped=stopped)


def test_what_helps_is_the_best_of_each_group_and_is_made_together():
    swaps = [
        Swap("a", 2, 5, 0.1),
        Swap("a", 2, 4, 0.3),
        Swap("b", 3, 7, 0.2),
        Swap("b", 0, 6, -0.1),
        Swap("c", 0, 1, 9),
    ]
    tried = [(swap, evaluated(1.0, stopped=swap.group == "c")) for swap in swaps]
    helpful = _helpful(tried)
    assert [swap for swap, _ in helpful] == [swaps[1], swaps[2]]
    assert _made([swap for swap, _ in helpful], START).keep == {
        "a": (0, 1, 4),
        "b": (0, 1, 2, 7),
        "c": (0, 1, 2, 3),
    }
    parts = [replace(swaps[1], variance=0.1), replace(swaps[2], variance=0.0)]
    joint = _joint(parts, swaps)  # as uncertain as both were before they were seen
    assert (joint.mean, joint.variance) == (pytest.approx(0.5), 2.0)


@pytest.mark.parametrize("error", [None, 0.0])
def test_what_was_seen_for_certain_is_believed(error):
    found = revised(Swap("a", 0, 3, mean=-1.0, variance=4.0), 0.5, error)
    assert (found.mean, found.variance) == (0.5, 0.0)


def test_what_was_seen_and_what_was_expected_count_by_their_precision():
    """The product of both normal densities, by its maximum and its width."""
    swap, change, error = Swap("a", 0, 3, mean=-1.0, variance=4.0), 0.5, 1.5
    found = revised(swap, change, error)
    grid = np.linspace(-12, 12, 240_001)
    density = norm.pdf(grid, swap.mean, 2.0) * norm.pdf(change, grid, error)
    density /= density.sum()
    assert found.mean == pytest.approx((grid * density).sum())
    assert found.variance == pytest.approx((grid**2 * density).sum() - found.mean**2)


class Noisy(Judge):
    """Every swap is worth nothing; what is seen of it is chance, with the error that is told."""

    def __init__(self):
        super().__init__({})
        self.draw = np.random.default_rng(0)

    def compare(self, plans, rival):
        self.judged += plans
        return [replace(evaluated(1.0 + self.draw.normal(0, 0.01), 0.01), plan=plan) for plan in plans]


def test_chance_alone_makes_hardly_a_swap():
    """Where half of all swaps seem to help, and not one does."""
    judge = Noisy()
    made = []
    experiment = swapping(60, made)
    widths = {group: 4 * width for group, width in WIDTHS.items()}  # more swaps than are judged
    plan = Plan({group: tuple(range(width // 2)) for group, width in widths.items()}, widths)
    flat = {group: torch.arange(width).float() for group, width in widths.items()}
    swap_filters(experiment, "blend", judge, Candidate(number=0, genome={}, plan=plan, proxy=1.0), flat)
    assert made[0].evaluations == len(judge.judged) == 60
    assert made[0].made <= 6


def test_swaps_that_only_a_forecast_spoke_for_are_taken_back_where_the_end_is_no_better():
    class Promised(Judge):
        """All swaps promise much, what is seen of them is a little worse, and chance could have done that."""

        def forecast(self, plan):
            tables = {}
            for group, kept in plan.keep.items():
                out = np.setdiff1d(np.arange(plan.widths[group]), kept)
                if len(out):
                    tables[group] = SwapTable(np.array(kept), out, *np.ones((2, len(kept), len(out))))
            return tables

        def compare(self, plans, rival):
            self.judged += plans
            return [replace(evaluated(self.value(plan) - 1e-3, 10.0), plan=plan) for plan in plans]

        def value(self, plan):
            return 1.0 if plan == START else 0.9

    made = []
    experiment = swapping(24, made)
    start, judge = Candidate(number=0, genome={}, plan=START, proxy=1.0), Promised({})
    seen = []
    judge.forecast, forecast = lambda plan: seen.append(plan) or forecast(plan), judge.forecast
    order = {group: torch.arange(width).float() for group, width in WIDTHS.items()}
    found = swap_filters(experiment, "blend", judge, start, order)
    assert any(plan != START for plan in seen), "swaps were made meanwhile"
    assert (found.plan, found.proxy, made[0].made) == (START, 1.0, 0)
    assert made[0].evaluations == 24


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
    """Against the closed form by the precision matrix, with every worth, factor and constant a variable of its own."""
    worths = Worths({"a": torch.tensor([0.3, 0.1, 0.2, 0.5]), "b": torch.tensor([0.1, 0.2, 0.3])})
    draw = np.random.default_rng(0)
    worths.forecast({"a": SwapTable(np.arange(4), np.arange(4), draw.normal(size=(4, 4)), draw.normal(size=(4, 4)))})
    swaps = [
        Swap("a", 0, 1, slope=0.004, error=0.001),
        Swap("a", 0, 3, slope=-0.002, error=0.0005),
        Swap("a", 2, 3, slope=0.001, error=-0.001),
        Swap("b", 1, 2, rise=0.7),
        Swap("b", 0, 2, rise=-0.4),
    ]
    changes, errors = [0.004, 0.001, -0.003, 0.0, 0.005], [0.001, 0.002, 0.0005, None, 0.001]
    for swap, change, error in zip(swaps, changes, errors, strict=True):
        worths.learn(swap, change, error)
    scales = np.array([0.002, 0.003])
    asked = [Swap("a", 1, 2, slope=0.003, error=0.002), Swap("b", 1, 0, rise=0.2), swaps[0]]
    # variables: both factors, then of each group: both factors, the constant, the worths
    widths = [4, 3]
    starts = [2, 2 + 3 + 4]
    prior = [module.SLOPE_SPREAD**2, module.ERROR_SPREAD**2]
    start = [module.SLOPE, module.ERROR]
    for width in widths:
        prior += [module.SLOPE_SPREAD**2, module.ERROR_SPREAD**2, module.COST_SPREAD**2, *[module.SPREAD**2] * width]
        start += [0.0, 0.0, module.COST, *[0.0] * width]

    def row(swap):
        found, number = np.zeros(len(prior)), "ab".index(swap.group)
        found[:2] = found[starts[number] : starts[number] + 2] = swap.slope, swap.error
        found[starts[number] + 2] = scales[number]
        found[starts[number] + 3 + swap.come] += scales[number]
        found[starts[number] + 3 + swap.gone] -= scales[number]
        return found, module.RISE * swap.rise * scales[number]

    rows, rises = (np.array(of) for of in zip(*map(row, swaps), strict=True))
    noise = np.array([(module.NOISE * scales["ab".index(one.group)]) ** 2 for one in swaps])
    noise += np.square([error or 0.0 for error in errors])
    precision = np.diag(1 / np.array(prior)) + rows.T @ (rows / noise[:, None])
    covariance = np.linalg.inv(precision)
    mean = covariance @ (np.array(start) / prior + rows.T @ ((np.array(changes) - rises) / noise))
    wanted, wanted_rises = (np.array(of) for of in zip(*map(row, asked), strict=True))
    known = worths._known()
    worths.judged, kept = [(swap, 0.0, 0.0) for swap in asked], worths.judged
    questions = worths._known()
    worths.judged = kept
    assert len(known) == len(swaps)
    found, variance = worths._believed(questions, scales)
    assert found == pytest.approx(wanted @ mean + wanted_rises)
    assert variance == pytest.approx(np.diag(wanted @ covariance @ wanted.T))


def test_what_is_believed_does_not_depend_on_how_many_are_looked_at_at_once(monkeypatch):
    worths = Worths({group: torch.arange(width).float() for group, width in WIDTHS.items()})
    for swap in worths.propose(START, set(), 5):
        worths.learn(swap, 0.1 * swap.come - 0.05 * swap.gone, 0.01)
    whole = worths.propose(START, set(), 20)
    monkeypatch.setattr(module, "AT_ONCE", 3)
    few = worths.propose(START, set(), 20)
    assert [(one.group, one.gone, one.come) for one in few] == [(one.group, one.gone, one.come) for one in whole]
    assert [one.mean for one in few] == pytest.approx([one.mean for one in whole])
    assert [one.variance for one in few] == pytest.approx([one.variance for one in whole])


def test_before_any_swap_was_judged_the_forecast_is_believed_and_without_one_the_order():
    worths = Worths({"a": torch.tensor([0.3, 0.1, 0.2, 0.5]), "b": torch.tensor([0.3, 0.1, 0.2, 0.5])})
    slope, error = np.array([[0.1, 0.2], [0.3, -0.1]]), np.array([[0.01, 0.02], [-0.03, 0.01]])
    worths.forecast({"a": SwapTable(np.array([0, 1]), np.array([2, 3]), slope, error)})
    plan = Plan({"a": (0, 1), "b": (0, 1)}, {"a": 4, "b": 4})
    found = {(one.group, one.gone, one.come): one for one in worths.propose(plan, set(), 8)}
    assert len(found) == 8
    scale = float(np.sqrt(np.square(module.SLOPE * slope + module.ERROR * error).mean()))
    quantiles = norm.ppf((np.array([2, 0, 1, 3]) + 0.5) / 4)
    for row in (0, 1):
        for column in (0, 1):
            one, other = found["a", row, column + 2], found["b", row, column + 2]
            told = module.SLOPE * slope[row, column] + module.ERROR * error[row, column]
            assert one.mean == pytest.approx(told + scale * module.COST)
            rise = quantiles[column + 2] - quantiles[row]
            assert other.mean == pytest.approx(module.COST + module.RISE * rise)
            assert other.variance == pytest.approx(module.COST_SPREAD**2 + 2 * module.SPREAD**2 + module.NOISE**2)


def test_a_forecast_is_of_the_filters_that_are_still_where_they_were():
    worths = Worths({"a": torch.arange(5).float()})
    worths.forecast({"a": SwapTable(np.array([0, 1]), np.array([3, 4]), np.zeros((2, 2)), np.eye(2))})
    found = worths.propose(Plan({"a": (0, 2, 3)}, {"a": 5}), set(), 9)
    assert {(one.gone, one.come, one.error) for one in found} == {(0, 4, 0.0)}


def test_a_forecast_is_made_anew_where_the_plan_moved():
    class Foreseen(Judge):
        def __init__(self, worth):
            super().__init__(worth)
            self.asked = []

        def forecast(self, plan):
            self.asked.append((len(self.judged), plan.digest))
            return {}

    judge = Foreseen(worth_of(1))
    climb(judge, 60)
    places = [place for place, _ in judge.asked]
    digests = [digest for _, digest in judge.asked]
    assert (places[0], digests[0]) == (0, START.digest)
    assert len(places) > 1
    assert len(set(digests)) == len(digests)
    assert all(after - before >= FORESEEN for before, after in pairwise(places))


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
