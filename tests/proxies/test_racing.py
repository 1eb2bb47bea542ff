"""Races of candidates: how often a good one is stopped, what a stopped one is said to be worth, and what it costs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import sem

from blendsearch.config import TrainingConfig
from blendsearch.data.batches import GivenBatches
from blendsearch.proxies import PROXIES, ProxyContext
from blendsearch.proxies.racing import Course, Racing, error_of_difference, estimated_mean
from blendsearch.structure import Plan, Structure

RACING = Racing(first=40, error=0.01)


def test_comparisons_come_after_twice_as_many_images_each_time():
    assert Racing(500).looks(6000) == [500, 1000, 2000, 4000]
    assert Racing(500).looks(500) == []
    assert Racing(40).looks(250) == [40, 80, 160]


@pytest.fixture(scope="module")
def course() -> Course:
    images = torch.arange(2000).float().view(-1, 1, 1, 1)
    return Course(Racing(100, error=0.05), GivenBatches([(images, torch.arange(2000) // 1000)]), seed=0)


def test_a_course_has_all_images_by_chance_and_classes_even(course):
    numbers = torch.cat([part.images.flatten() for part in course.parts])
    assert [len(part) for part in course.parts] == [100, 100, 200, 400, 800, 400]
    assert sorted(numbers.tolist()) == list(range(2000))
    for count in (100, 200, 800):
        assert (numbers[:count] >= 1000).float().mean() == 0.5
    assert numbers[:100].sort().values.tolist() != [*range(50), *range(1000, 1050)]  # not the first of each class


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_one_as_good_as_its_rival_is_seldom_stopped(course, spread):
    """Errors at each of five comparisons add up to 5 % at most, by the normal law; differences here are skewed."""
    draws = np.random.default_rng(0)
    stopped = 0
    for _ in range(1000):
        rival = -draws.exponential(size=2000).astype(np.float32)
        difference = draws.exponential(size=2000) * draws.choice([-1, 1, spread], size=2000)
        own = torch.from_numpy(rival + difference - difference.mean())  # on all images, exactly as good
        stopped += any(course.lost(own[:count], rival) for count in course.looks)
    assert stopped <= 65  # 50, and two standard deviations


def test_one_that_is_clearly_worse_is_stopped_and_its_mean_estimated(course):
    draws = np.random.default_rng(1)
    rival = draws.random(2000).astype(np.float32)
    own = torch.from_numpy(rival - 0.1 + 0.1 * draws.standard_normal(2000))
    assert course.lost(own[:100], rival)
    assert not course.lost(own[:100] + 0.2, rival)
    assert estimated_mean(own[:200], rival) == pytest.approx(own.mean().item(), abs=0.02)
    # Nearer than the mean of the images that were read, which are a sample themselves.
    starts = range(0, 2000, 200)
    errors = [abs(estimated_mean(own[a : a + 200], np.roll(rival, -a)) - own.mean().item()) for a in starts]
    plain = [abs(own[a : a + 200].mean() - own.mean()).item() for a in starts]
    assert np.mean(errors) < np.mean(plain)


@pytest.fixture(scope="module")
def context(trained, digits) -> ProxyContext:
    structure = Structure.of(trained, next(digits.calibration.batches(2))[0])
    training = TrainingConfig(epochs=1, batch_size=64, lr=0.02)
    return ProxyContext(
        trained, structure, digits.calibration, digits.search, digits.train, training, seed=3, racing=RACING
    )


def network(context, share):
    widths = context.structure.widths
    plan = Plan({g: tuple(range(max(1, int(share * width)))) for g, width in widths.items()}, widths)
    return context.structure.slice(context.network, plan), plan


@pytest.mark.parametrize("name", [name for name in PROXIES.names() if PROXIES.get(name).can_race()])
def test_without_a_rival_it_is_the_estimate_and_a_bad_plan_is_stopped(name, context):
    raced, plain = PROXIES.get(name)(), PROXIES.get(name)()
    raced.prepare(context)
    plain.prepare(dataclasses.replace(context, racing=None))
    good = raced.race(*network(context, 0.75), None)
    assert good.value == pytest.approx(plain.estimate(*network(context, 0.75)).value, abs=1e-6)
    assert good.scores.shape == (250,)
    assert not good.stopped
    same = raced.race(*network(context, 0.75), good.scores)
    assert not same.stopped
    assert same.value == good.value
    bad = raced.race(*network(context, 0.15), good.scores)
    assert bad.stopped
    assert bad.scores is None
    assert bad.value < good.value
    whole = raced.race(*network(context, 0.15), None)
    assert bad.passes in (whole.passes - 210, whole.passes - 170)
    assert bad.value == pytest.approx(whole.value, abs=0.15)


def test_a_class_that_says_nothing_of_races_has_none():
    class Own(PROXIES.get("compensated")):
        def value(self, network):
            return 0.5

    assert not Own.can_race()
    assert not PROXIES.get("average").can_race()


def test_the_error_of_a_difference_is_that_of_scipys_standard_error():
    draw = np.random.default_rng(0)
    rival, scores = draw.random(200).astype(np.float32), draw.random(150)
    wanted = sem(scores - rival[:150].astype(float), ddof=0)
    assert error_of_difference(torch.tensor(scores), rival) == pytest.approx(wanted)
