"""Candidates that share their first layers: taken up from there they are worth, to the last bit, what they were."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import pytest
import timm
import torch
import torchvision
from torch import nn

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.proxies import PROXIES, ProxyContext
from blendsearch.proxies.prefixes import Prefixes, find_cuts
from blendsearch.proxies.racing import Racing
from blendsearch.structure import Plan, Structure

FORWARD = [name for name in PROXIES.names() if vars(PROXIES.get(name)).get("adapts_forward")]


class Residual(nn.Module):
    """A small residual network that changes feature maps in place and counts the images it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(*(Block(8) for _ in range(3)))
        self.head = nn.Linear(8, 10)
        self.computed = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.computed += len(x)
        x = self.blocks(nn.functional.relu_(self.stem_norm(self.stem(x))))
        x.mul_(2.0)
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.one_norm = nn.Conv2d(width, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.two, self.two_norm = nn.Conv2d(12, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = nn.functional.relu_(self.one_norm(self.one(x)))
        x += self.two_norm(self.two(out))
        return nn.functional.relu_(x)


def context_of(network: nn.Module, digits, **changes) -> ProxyContext:
    structure = Structure.of(network, next(digits.calibration.batches(2))[0])
    training = TrainingConfig(epochs=1, batch_size=64, lr=0.02)
    context = ProxyContext(network, structure, digits.calibration, digits.search, digits.train, training, seed=3)
    return dataclasses.replace(context, **changes)


@pytest.fixture(scope="module", params=["plain", "residual", "raced", "bfloat16"])
def context(request, trained, digits) -> ProxyContext:
    if request.param == "plain":
        return context_of(trained, digits)
    if request.param == "raced":
        return context_of(trained, digits, racing=Racing(first=40))
    if request.param == "bfloat16":
        return context_of(trained, digits, compute=Compute("cpu", "bfloat16", channels_last=True))
    torch.manual_seed(0)
    return context_of(Residual().eval(), digits)


def plans_of(structure: Structure) -> list[Plan]:
    """Return a plan, plans that differ from it in one group each, and it again."""
    widths = structure.widths
    keep = {group: tuple(range(width // 2)) for group, width in widths.items()}
    others = [{**keep, group: tuple(range(width - width // 2, width))} for group, width in widths.items()]
    return [Plan(one, widths) for one in (keep, *reversed(others), keep)]


def estimates(proxy, context: ProxyContext) -> list[tuple[float, int]]:
    found = []
    for plan in plans_of(context.structure):
        network = context.structure.slice(context.network, plan)
        one = proxy.estimate(network, plan) if context.racing is None else proxy.race(network, plan, None)
        found.append((one.value, one.passes))
    return found


@pytest.mark.parametrize("name", FORWARD)
def test_values_and_passes_are_those_of_whole_passes(name, context):
    plain, proxy = PROXIES.get(name)(), PROXIES.get(name)()
    for one in (plain, proxy):
        one.prepare(context)
    plain.prefixes = Prefixes([])
    assert proxy.prefixes.cuts
    assert estimates(proxy, context) == estimates(plain, context)
    assert proxy.prefixes.skipped > 0


@pytest.mark.parametrize(("name", "images"), [("zero_shot", 250), ("compensated", 500)])
def test_one_that_shares_nothing_is_computed_and_one_that_shares_much_is_not(name, images, digits):
    """What is refitted passes 250 images for that, and those of the search."""
    torch.manual_seed(0)
    context = context_of(Residual().eval(), digits)
    proxy = PROXIES.get(name)()
    proxy.prepare(context)
    widths = context.structure.widths
    first, *_, last = [name for name in widths if name.startswith("blocks")]
    half = {group: tuple(range(width // 2)) for group, width in widths.items()}

    def computed(group: str, start: int) -> int:
        keep = {**half, group: tuple(range(start, start + 3))}
        network = context.structure.slice(context.network, Plan(keep, widths))
        network.computed = 0
        proxy.estimate(network, Plan(keep, widths))
        return network.computed

    # Of the first that share their beginning one is read, the second is kept, later ones are taken up.
    assert [computed(last, start) for start in range(4)] == [images, images, 0, 0]
    # Only the stem, which is less than a cut is worth, comes before the first block's filters.
    assert [computed(first, start) for start in range(4)] == [images] * 4


def test_no_more_is_kept_than_there_is_room(trained, digits):
    context = context_of(trained, digits)
    plain, proxy = PROXIES.get("compensated")(), PROXIES.get("compensated")()
    for one in (plain, proxy):
        one.prepare(context)
    plain.prefixes = Prefixes([])
    whole = Prefixes(proxy.prefixes.cuts)
    proxy.prefixes = whole
    wanted = estimates(proxy, context)
    assert wanted == estimates(plain, context)
    room = whole.bytes // 3
    proxy.prefixes = Prefixes(whole.cuts, room)
    assert estimates(proxy, context) == wanted
    assert 0 < proxy.prefixes.bytes <= room
    proxy.prefixes = Prefixes(whole.cuts, room=10)
    assert estimates(proxy, context) == wanted
    assert proxy.prefixes.bytes == proxy.prefixes.skipped == 0


def test_a_copy_for_another_process_begins_with_nothing(trained, digits):
    context = context_of(trained, digits)
    proxy = PROXIES.get("zero_shot")()
    proxy.prepare(context)
    values = estimates(proxy, context)
    copied = pickle.loads(pickle.dumps(proxy))
    assert copied.prefixes.cuts == proxy.prefixes.cuts
    assert (copied.prefixes.bytes, copied.prefixes.skipped, len(copied.prefixes.seen)) == (0, 0, 0)
    assert estimates(copied, context) == values


def test_the_network_is_left_without_hooks_and_as_it_was(trained, digits):
    context = context_of(trained, digits)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    assert find_cuts(trained, context.structure, next(digits.search.batches(2))[0], Compute())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in trained.modules())
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


class Looking(nn.Module):
    """Gives its last layer the first one's feature maps too, and asks early how many images there are."""

    def __init__(self, *, skips: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.three, self.head = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 10)
        self.skips = skips

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = x.shape[0]
        one = self.one(x).relu()
        out = self.three(self.two(one).relu()).relu()
        out = out + one if self.skips else out.view(count, 6, 8, 8)
        return self.head(out.mean((2, 3)))


@pytest.mark.parametrize(("skips", "never"), [(True, {"two"}), (False, {"one", "two", "three"})])
def test_a_network_that_cannot_be_taken_up_has_no_such_place(digits, skips, never):
    torch.manual_seed(0)
    network = Looking(skips=skips).eval()
    images = next(digits.search.batches(4))[0]
    found = find_cuts(network, Structure.of(network, images), images, Compute())
    assert never.isdisjoint(cut.module for cut in found)
    assert bool(found) == skips


@pytest.mark.parametrize("make", [
    pytest.param(lambda: torchvision.models.mobilenet_v2(num_classes=10), id="mobilenet_v2"),
    pytest.param(lambda: timm.create_model("convnext_atto", num_classes=10), id="convnext_atto"),
])  # fmt: skip
def test_networks_of_torchvision_and_timm_can_be_taken_up(make):
    torch.manual_seed(0)
    network, images = make().eval(), torch.randn(2, 3, 64, 64)
    cuts = find_cuts(network, Structure.of(network, images), images, Compute())
    assert len(cuts) > 5
    assert [cut.share for cut in cuts] == sorted(cut.share for cut in cuts)
    assert all(set(one.groups) <= set(other.groups) for one, other in itertools.pairwise(cuts))
