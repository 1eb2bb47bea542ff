"""Scoring a network that was pruned on the way: ratings and rules stay those of the original's filters."""

from __future__ import annotations

import torch
from small_networks import OptionA, conv4, images, randomised

from blendsearch.blending import Blend
from blendsearch.criteria import ScoringSetup
from blendsearch.experiment.scoring import BlendScorer
from blendsearch.statistics import Ratings
from blendsearch.structure import Plan, Structure


class Calibration:
    """One batch, as a split would give it."""

    def batches(self, size):
        return [(images(6), torch.arange(6) % 3)]


def scorer(structure, by, **options):
    return BlendScorer(Blend.single(by), {}, structure, Calibration(), ScoringSetup(**options))


def halved(structure, keep):
    return Plan({group: keep(width) for group, width in structure.widths.items()}, structure.widths)


def test_ratings_follow_the_filters_that_are_left():
    network = randomised(conv4())
    structure = Structure.of(network, images())
    ratings = Ratings.of({g: {i: i / 100 for i in range(width)} for g, width in structure.widths.items()})
    score = scorer(structure, "subjective", ratings=ratings)
    first = halved(structure, lambda width: tuple(range(1, width)))
    once = structure.slice(network, first)
    later = structure.again(once, first)
    second = halved(later, lambda width: (0, width - 1))
    twice = later.slice(once, second)
    last = later.again(twice, second)
    for structure_now, network_now, plan in ((later, once, first), (last, twice, first.then(second))):
        for group, values in score(network_now, structure_now).items():
            torch.testing.assert_close(values, torch.tensor(plan.keep[group]) / 100)


def test_a_pruned_network_is_scored_by_the_same_group_rule():
    network = randomised(OptionA())
    structure = Structure.of(network, images())
    group = next(group for group in structure.groups if len(group.convolutions) > 1)
    plan = halved(structure, lambda width: tuple(range(1, width)))
    pruned = structure.slice(network, plan)
    again = structure.again(pruned, plan)
    norms = [pruned.get_submodule(conv).weight.detach().flatten(1).norm(dim=1) for conv in group.convolutions]
    torch.testing.assert_close(scorer(structure, "l2", group_rule="sum")(pruned, again)[group.name], sum(norms))
