"""Filters moved between layers after a search: which steps are tried, which is made, what comes of it."""

from __future__ import annotations

import json
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_networks import conv4, images, randomised
from tiny_campaign import tiny_space

from blendsearch.allocation import Budget, Limits
from blendsearch.blending import Blend
from blendsearch.campaigns.search import reallocation as module
from blendsearch.campaigns.search.finals import Candidate
from blendsearch.campaigns.search.reallocation import Exchanges, reallocate_filters
from blendsearch.campaigns.search.run import run_search
from blendsearch.errors import ConfigError
from blendsearch.evolution.fitness import Evaluation
from blendsearch.evolution.swap_forecast import Ends
from blendsearch.proxies.agreement import Agreement
from blendsearch.results.verdicts import of_moves
from blendsearch.structure import Plan, Structure


@pytest.fixture(scope="module")
def structure():
    return Structure.of(randomised(conv4(), seed=1), images())


def exchanged(structure, budget, plan, ends, size):
    return Exchanges(structure, budget).of_a_size(plan, ends, size)


def half(structure, budget):
    """A plan of half of each group, as much as the budget allows."""
    counts = {name: width // 2 for name, width in structure.widths.items()}
    assert budget.allows(counts, structure.cost)
    return Plan({name: tuple(range(count)) for name, count in counts.items()}, structure.widths)


def ends_of(plan, worth):
    """Ends of filters that are worth something by themselves, all of it slope."""
    ends = {}
    for name, kept in plan.keep.items():
        out = [filter for filter in range(plan.widths[name]) if filter not in kept]
        lost, gained = (np.array([[one, 0.0] for one in worth[name][list(part)]]) for part in (kept, out))
        ends[name] = Ends(np.array(kept), np.array(out), -lost, gained)
    return ends


def budget_of_half(structure, **options):
    counts = {name: width // 2 for name, width in structure.widths.items()}
    return Budget("flops", structure.cost.ratio("flops", counts) + 1e-9, **options)


def flat(structure, level=1.0):
    return {name: np.full(width, level) for name, width in structure.widths.items()}


def test_a_group_that_is_worth_nothing_gives_to_the_one_that_promises_most(structure):
    budget = budget_of_half(structure)
    plan, worth = half(structure, budget), flat(structure)
    first, *_, last = structure.widths
    worth[first][:] = [
        0.02,
        0.01,
        *[0.5] * (structure.widths[first] - 2),
    ]  # of those who stay the second is worth least
    worth[last][structure.widths[last] - 1] = 50.0
    found = exchanged(structure, budget, plan, ends_of(plan, worth), 0.01)
    assert set(plan.keep[first]) - set(found.keep[first]) == {1}
    came = set(found.keep[last]) - set(plan.keep[last])
    assert structure.widths[last] - 1 in came
    assert budget.allows(found.counts, structure.cost)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [0.0075, 0.06, 0.24, 0.48])
@pytest.mark.parametrize("options", [{}, {"min_keep": 0.4}, {"round_to": 2}], ids=str)
def test_steps_stay_within_budget_and_limits_and_no_group_both_gives_and_gains(structure, seed, size, options):
    budget = budget_of_half(structure, **options)
    plan, draws = half(structure, budget), np.random.default_rng(seed)
    worth = {name: draws.exponential(size=width) for name, width in structure.widths.items()}
    found = exchanged(structure, budget, plan, ends_of(plan, worth), size)
    assert budget.allows(found.counts, structure.cost)
    limits = Limits.of(budget, structure)
    promised = 0.0
    for name, width in structure.widths.items():
        gone, come = set(plan.keep[name]) - set(found.keep[name]), set(found.keep[name]) - set(plan.keep[name])
        assert not (gone and come), name
        assert found.counts[name] in limits.allowed[name], name
        assert len(gone | come) <= max(size * width, limits.step), name
        promised += worth[name][list(come)].sum() - worth[name][list(gone)].sum()
    assert promised >= 0


def test_one_group_gives_what_another_needs_for_one_filter_and_it_takes_all_that_fits(structure):
    budget = budget_of_half(structure)
    plan, worth = half(structure, budget), flat(structure)
    cost = structure.cost
    found = Exchanges(structure, budget).of_two(plan, ends_of(plan, worth))
    moves = {one.pair: one.made(plan) for one in found}
    for giver, taker in permutations(structure.widths, 2):
        found = moves.get((giver, taker))
        if found is None:
            assert not budget.allows({**plan.counts, giver: 1, taker: plan.counts[taker] + 1}, cost)
            continue
        gave, took = plan.counts[giver] - found.counts[giver], found.counts[taker] - plan.counts[taker]
        assert gave >= 1
        assert took >= 1
        others = [group for group in structure.widths if group not in (giver, taker)]
        assert [found.counts[group] for group in others] == [plan.counts[group] for group in others]
        assert budget.allows(found.counts, cost)
        if gave > 1:
            less = {**found.counts, giver: found.counts[giver] + 1, taker: plan.counts[taker] + 1}
            assert not budget.allows(less, cost), "one filter less would have done"
        if found.counts[taker] < structure.widths[taker]:
            assert not budget.allows({**found.counts, taker: found.counts[taker] + 1}, cost)


def test_shares_that_are_given_stay(structure):
    name = list(structure.widths)[1]
    budget = Budget.parse({"flops": 0.4, "keep": {name: 0.5}})
    counts = Limits.of(budget, structure).nearest({n: w / 2 for n, w in structure.widths.items()})
    plan = Plan({n: tuple(range(count)) for n, count in counts.items()}, structure.widths)
    worth = flat(structure)
    worth[name][:] = 100.0
    found = exchanged(structure, budget, plan, ends_of(plan, worth), 0.24)
    assert found.counts[name] == plan.counts[name]


class Judge:
    """A problem whose fitness is what the kept filters are worth, as the forecast has it too."""

    def __init__(self, structure, budget, worth, noise=0.0):
        self.planner = SimpleNamespace(structure=structure, budget=budget)
        self.worth, self.noise, self.judged, self.forecasts = worth, noise, [], 0

    def forecast_ends(self, plan):
        self.forecasts += 1
        return ends_of(plan, self.worth)

    def value(self, plan):
        return sum(float(self.worth[name][list(kept)].sum()) for name, kept in plan.keep.items())

    def compare(self, plans, rival):
        self.judged += plans
        return [Evaluation(plan, self.value(plan), 0.0, 0, False, error=self.noise) for plan in plans]


def climb(judge, plan, count):
    experiment = SimpleNamespace(
        space=SimpleNamespace(search=SimpleNamespace(reallocation=count)),
        folder=SimpleNamespace(cached=lambda name, kind, make: make()),
        progress=lambda *_: None,
    )
    start = Candidate(number=0, genome={}, plan=plan, proxy=judge.value(plan))
    return reallocate_filters(experiment, "blend", judge, start)


def test_it_climbs_to_where_no_step_helps(structure):
    budget = budget_of_half(structure)
    plan, draws = half(structure, budget), np.random.default_rng(3)
    worth = {name: draws.exponential(size=width) for name, width in structure.widths.items()}
    judge = Judge(structure, budget, worth)
    found = climb(judge, plan, 200)
    assert len(judge.judged) < 200, "it ends by itself"
    assert found.proxy == judge.value(found.plan) > judge.value(plan)
    for size in module.SIZES:
        after = exchanged(structure, budget, found.plan, ends_of(found.plan, worth), size)
        assert judge.value(after) <= found.proxy


@pytest.mark.parametrize("count", [1, 3, 5, 200])
def test_no_more_plans_are_judged_than_wanted_and_none_twice(structure, count):
    budget = budget_of_half(structure)
    plan, draws = half(structure, budget), np.random.default_rng(5)
    worth = {name: draws.exponential(size=width) for name, width in structure.widths.items()}
    judge = Judge(structure, budget, worth)
    climb(judge, plan, count)
    assert len(judge.judged) <= count
    assert len(judge.judged) == count or count == 200
    assert len({plan.digest for plan in judge.judged}) == len(judge.judged)


def test_what_chance_could_do_is_not_made_and_what_did_not_help_needs_no_new_forecast(structure):
    budget = budget_of_half(structure)
    plan, draws = half(structure, budget), np.random.default_rng(3)
    worth = {name: draws.exponential(size=width) for name, width in structure.widths.items()}
    judge = Judge(structure, budget, worth, noise=1e6)
    found = climb(judge, plan, 50)
    assert found.plan == plan
    assert judge.forecasts == 1


def space(search=None, **changes):
    search = {"random_search": False, "reallocation": 12, "rivals": ["swapped"], "ablation": False, **(search or {})}
    terms = {"allocation": "evolved", "retraining": {"epochs": 0}, "blend": {"unit": "network"}}
    return tiny_space(search, **{"proxy": {"name": "agreement", "images": 64, "positions": 1000}, **terms, **changes})


@pytest.mark.usefixtures("without_report")
def test_a_campaign_stopped_while_filters_move_goes_on_there(tmp_path, monkeypatch):
    whole = run_search(space(), tmp_path / "whole")

    def stop(task, done, *given):
        if task == "reallocation" and done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(space(), tmp_path / "stopped", progress=stop)
    assert not (tmp_path / "stopped" / "records" / "reallocation-blend.json").exists()
    resumed = run_search(space(), tmp_path / "stopped", resume=True)
    names = ("plan.json", "blend.json", "blend-plan.json", "records/reallocation-blend.json")
    for file in (*names, "records/reallocation-criterion.json"):
        assert (resumed.run_dir / file).read_text() == (whole.run_dir / file).read_text(), file

    monkeypatch.setattr(Agreement, "sensitivities", None)
    again = run_search(space(), tmp_path / "stopped", resume=True)
    assert again.summary.reallocation == whole.summary.reallocation

    record = json.loads((whole.run_dir / "records/reallocation-blend.json").read_text())
    found = whole.summary.reallocation
    assert found.model_dump() == {key: record[key] for key in ("start", "proxy", "evaluations", "made", "moved")}
    assert found.made > 0
    assert found.proxy > found.start
    assert of_moves(whole.summary)[0].startswith(f"After the search {found.evaluations} plans with other shares were ")
    assert whole.summary.blend.flops_ratio <= 0.3


@pytest.mark.usefixtures("without_report")
def test_the_blend_takes_the_shares_that_its_plan_has(tmp_path):
    done = run_search(space(), tmp_path / "run")
    plan = Plan.from_dict(json.loads((done.run_dir / "blend-plan.json").read_text()))
    kept = Blend.load(done.run_dir / "blend.json").keep
    shares = {name: count / plan.widths[name] for name, count in plan.counts.items()}
    unit = shares["conv1"] / kept["conv1"]
    assert shares == pytest.approx({name: weight * unit for name, weight in kept.items()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"allocation": "uniform"}, "search.reallocation: allocation 'uniform' gives the shares"),
        ({"proxy": "compensated"}, "search.reallocation: proxy 'compensated' forecasts nothing; .*proxy to agreement"),
        (
            {"schedule": "iterative", "retraining": {"epochs": 1}},
            "search.reallocation: it fixes the plan, and schedule",
        ),
        (
            {"search": {"objectives": ["params"], "lowest": 0.1, "algorithm": "nsga2", "reallocation": 3}},
            "reallocation is for one plan",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(changes, message):
    with pytest.raises(ConfigError, match=message):
        space(**changes)


def test_the_rank_of_steps_is_worth_by_what_they_use(structure):
    """Of two gains of one worth the group whose filters use less comes first."""
    budget = budget_of_half(structure)
    plan, worth = half(structure, budget), flat(structure, 1e-6)
    uses = {}
    for name, count in plan.counts.items():
        more = structure.cost.flops({**plan.counts, name: count + 1}) - structure.cost.flops(plan.counts)
        uses[name] = more
    cheap, dear = min(uses, key=uses.get), max(uses, key=uses.get)
    for name in (cheap, dear):
        worth[name][plan.counts[name] :] = 1.0
    found = exchanged(structure, budget, plan, ends_of(plan, worth), 0.001)
    assert found.counts[cheap] > plan.counts[cheap]
    assert found.counts[dear] <= plan.counts[dear]
    assert torch.tensor(list(found.counts.values())).min() >= 1
