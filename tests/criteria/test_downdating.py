"""The elimination that updates only what it looks at, against the plain one that writes the whole inverse anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import Mixed, OptionA, conv4, images, randomised

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Blend
from blendsearch.criteria import DropLoss, Reader, drop_losses
from blendsearch.criteria.elimination import NEEDS, NOTHING, RIDGE
from blendsearch.evolution.fitness import Planner
from blendsearch.statistics import gather
from blendsearch.structure import Plan, Structure


def plainly(loss, alpha, tilt):
    """Return place and error of each filter, with inverses and weights written out anew in every turn."""
    inverses, weights = [], []
    for one in loss.readers:
        gram = one.gram.double()
        inverses.append(torch.linalg.inv(gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram)).double()))
        weights.append(one.weights.double().clone())
    left, place, error, total = list(range(loss.width)), {}, {}, 0.0
    least = None
    for turn in range(loss.width):
        harms = np.zeros(len(left))
        for inverse, weight in zip(inverses, weights, strict=True):
            size = len(inverse) // len(left)
            for number in range(len(left)):
                own = slice(number * size, (number + 1) * size)
                harms[number] += float((weight[own].T @ torch.linalg.solve(inverse[own, own], weight[own])).trace())
        least = NOTHING * harms.mean() if least is None else least
        keys = alpha * np.log(harms.clip(least)) + tilt[left].double().numpy()
        gone = max(number for number in range(len(left)) if keys[number] == keys.min())
        total += harms[gone]
        place[left[gone]], error[left[gone]] = turn, total
        for number, (inverse, weight) in enumerate(zip(inverses, weights, strict=True)):
            size = len(inverse) // len(left)
            own = slice(gone * size, (gone + 1) * size)
            kept = [row for row in range(len(inverse)) if row // size != gone]
            change = torch.linalg.solve(inverse[own, own], torch.cat([inverse[own], weight[own]], 1))
            inverses[number] = (inverse - inverse[:, own] @ change[:, : len(inverse)])[kept][:, kept]
            weights[number] = (weight - inverse[:, own] @ change[:, len(inverse) :])[kept]
        left.pop(gone)
    return [place[filter] for filter in range(loss.width)], [error[filter] for filter in range(loss.width)]


def random_loss(width, sizes, seed):
    draw = torch.Generator().manual_seed(seed)
    readers = []
    for size, outputs in sizes:
        rows = width * size
        inputs = torch.randn(3 * rows, rows, generator=draw).double() @ torch.randn(rows, rows, generator=draw).double()
        readers.append(Reader(inputs.T @ inputs / len(inputs), torch.randn(rows, outputs, generator=draw)))
    return DropLoss(width, readers), torch.randn(width, generator=draw)


@pytest.mark.parametrize(
    ("width", "sizes"),
    [(24, [(1, 5)]), (17, [(9, 4)]), (12, [(9, 3), (9, 7), (1, 10)]), (20, [(4, 90)]), (1, [(9, 2)])],
)
def test_places_and_errors_are_those_of_the_plain_elimination(width, sizes):
    for seed, alpha in ((0, 1.0), (1, 0.4)):
        loss, tilt = random_loss(width, sizes, seed)
        place, error = plainly(loss, alpha, tilt)
        found = loss.eliminate(alpha, tilt)
        assert found.place.tolist() == place
        np.testing.assert_allclose(found.error.numpy(), error, rtol=1e-9)


@pytest.mark.parametrize("turns", [0, 1, 5, 16, 17])
def test_some_turns_are_the_first_of_all(turns):
    loss, tilt = random_loss(17, [(9, 4), (1, 3)], seed=3)
    part = loss.eliminate(0.7, tilt, turns=turns)
    whole = DropLoss(17, loss.readers).eliminate(0.7, tilt)
    assert part.turns == turns
    assert torch.equal(part.place, whole.place.clamp(max=turns))
    gone = whole.place < turns
    assert torch.equal(part.error[gone], whole.error[gone])


def test_what_was_stopped_is_done_again_when_more_is_asked_for():
    loss, tilt = random_loss(9, [(4, 4)], seed=5)
    loss.eliminate(1.0, tilt, turns=2)
    whole = loss.eliminate(1.0, tilt)
    assert sorted(whole.place.tolist()) == list(range(9))
    assert loss.eliminate(1.0, tilt, turns=2) is whole


@pytest.fixture(scope="module", params=[conv4, Mixed, OptionA])
def planned(request):
    network = randomised(request.param())
    structure = Structure.of(network, images(size=8))
    data = [(images(32, size=8, seed=1), torch.arange(32) % 3)]
    losses = drop_losses(structure, gather(network, structure, data, NEEDS))
    scores = {name: {group: torch.rand(width) for group, width in structure.widths.items()} for name in ("a", "b")}
    return structure, scores, losses


@pytest.mark.parametrize("allocation", ["uniform", "evolved", "global_threshold"])
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_plan_is_that_of_the_whole_elimination(planned, allocation, alpha):
    structure, scores, losses = planned
    planner = Planner(structure, scores, ALLOCATIONS.get(allocation)(), Budget("flops", 0.6), losses)
    keep = {group: 1 + 0.3 * number for number, group in enumerate(structure.widths)} if allocation == "evolved" else {}
    blend = Blend("network", {"network": {"a": 0.5, "b": 0.9}}, keep=keep, alpha={"network": alpha})
    found = planner.plan(blend)
    own = planner.allocation_of(blend)
    fresh = {group: DropLoss(loss.width, loss.readers) for group, loss in losses.items()}
    wanted = blend.score(scores, fresh)
    assert found == Plan.top(wanted, own.allocate(structure, wanted, planner.budget))


def test_allocations_that_say_so_take_no_scores(planned):
    structure, scores, _ = planned
    free = [name for name in ALLOCATIONS.names() if not ALLOCATIONS.get(name).by_scores]
    assert {"uniform", "evolved"} <= set(free)
    for name in free:
        allocation = ALLOCATIONS.get(name)()
        if not allocation.unmeasured(structure):
            budget = Budget("flops", 0.5)
            assert allocation.allocate(structure, {}, budget) == allocation.allocate(structure, scores["a"], budget)
