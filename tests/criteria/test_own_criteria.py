"""Criteria that a user wrote, and wrote wrongly: each is told in one line with its name, and no other one suffers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import Mixed, images, randomised

from blendsearch.criteria import CRITERIA, ConvolutionCriterion, Criterion, register_criterion, score_groups
from blendsearch.criteria.scoring import applicable, measures_of
from blendsearch.errors import BlendsearchError
from blendsearch.statistics import gather
from blendsearch.structure import Structure


@pytest.fixture
def mixed():
    network = randomised(Mixed())
    structure = Structure.of(network, images())
    needs = measures_of(["l1", "taylor"])
    return structure, gather(network, structure, [(images(), torch.tensor([0, 2]))], needs)


@pytest.fixture
def own():
    """Return a function that registers a criterion `mine` with the given score; it is gone after the test."""

    def make(score, base=Criterion, method="score", **more):
        body = {method: score, "name": "mine", "needs": ("weights",), "source": "a test", "__module__": "mine", **more}
        return register_criterion(type("Mine", (base,), body))

    yield make
    CRITERIA.unregister("mine")


def failing(*given):
    raise KeyError("no such\nlayer")


def refused(mixed):
    structure, statistics = mixed
    with pytest.raises(BlendsearchError) as caught:
        score_groups(structure, statistics, ["mine", "l1"])
    (line,) = str(caught.value).splitlines()
    assert line.startswith("criterion 'mine': ")
    return line


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "got NoneType, allowed: a torch tensor ("),
        ([1.0, 2.0], "got list, allowed: a torch tensor ("),
        (np.ones(4), "got ndarray, allowed: a torch tensor ("),
        (3.0, "got float, allowed"),
        (torch.ones(1000), "got scores of shape (1000,), allowed ("),
        (torch.tensor(1.0), "got scores of shape (), allowed ("),
        (torch.ones(1000, dtype=torch.complex64), "got scores of shape (1000,)"),
    ],
)
def test_what_is_no_score_is_told(mixed, own, given, told):
    own(lambda self, group, statistics: given)
    assert told in refused(mixed)


def test_complex_scores_and_scores_that_are_not_finite_are_told(mixed, own):
    own(lambda self, group, statistics: torch.ones(group.width, dtype=torch.complex64))
    assert "got complex scores (torch.complex64), allowed: real numbers" in refused(mixed)
    CRITERIA.unregister("mine")
    own(lambda self, group, statistics: torch.full((group.width,), torch.nan))
    assert "got scores that are not finite" in refused(mixed)


@pytest.mark.parametrize("given", [None, [1.0], np.ones(3), torch.ones(3, 3), torch.ones(0)])
def test_what_is_no_score_of_a_convolution_is_told(mixed, own, given):
    own(lambda self, name, statistics: given, ConvolutionCriterion, "convolution")
    assert "got scores of " in refused(mixed)


def test_what_a_criterion_raises_is_told_with_its_group_and_line(mixed, own):
    own(failing)
    line = refused(mixed)
    assert "KeyError: 'no such" in line
    assert "group '" in line
    assert "test_own_criteria.py:" in line


def test_one_that_cannot_be_made_or_asked_is_told(mixed, own):
    own(lambda *given: None, __init__=lambda self, needed: None)
    assert "TypeError: " in refused(mixed)
    CRITERIA.unregister("mine")
    own(lambda *given: None, missing=failing)
    assert "KeyError" in refused(mixed)
    with pytest.raises(BlendsearchError, match="criterion 'mine': KeyError"):
        applicable(["mine"], *mixed)


def through_torch(statistics):
    next(iter(statistics.weights.values())).zero_()


def through_a_view(statistics):
    next(iter(statistics.weights.values()))[0].mul_(2)


def through_numpy(statistics):
    next(iter(statistics.weights.values())).numpy()[:] = 0


def through_data(statistics):
    next(iter(statistics.weights.values())).data.zero_()


def by_replacing(statistics):
    name = next(iter(statistics.weights))
    statistics.weights[name] = statistics.weights[name] * 0


def by_taking_out(statistics):
    statistics.readers.popitem()


def of_averages(statistics):
    next(iter(next(iter(statistics.averages.values())).values())).add_(1)


def of_the_seed(statistics):
    statistics.seed += 1


@pytest.mark.parametrize(
    "change",
    [
        through_torch,
        through_a_view,
        through_numpy,
        through_data,
        by_replacing,
        by_taking_out,
        of_averages,
        of_the_seed,
    ],
)
def test_statistics_that_were_changed_in_place_are_told_before_anyone_scores_by_them(mixed, own, change):
    def score(self, group, statistics):
        change(statistics)
        return torch.ones(group.width)

    own(score)
    line = refused(mixed)
    assert "changed statistics." in line
    assert line.endswith("in place, which all criteria share; work on a clone")


def test_one_that_works_on_clones_is_left_alone(mixed, own):
    structure, statistics = mixed
    alone = score_groups(structure, statistics, ["l1"])["l1"]
    own(
        lambda self, name, statistics: statistics.weights[name].clone().abs_().sum((1, 2, 3)),
        ConvolutionCriterion,
        "convolution",
    )
    scores = score_groups(structure, statistics, ["mine", "l1"])
    for group, score in alone.items():
        torch.testing.assert_close(scores["l1"][group], score, rtol=0, atol=0)
        torch.testing.assert_close(scores["mine"][group], score)
