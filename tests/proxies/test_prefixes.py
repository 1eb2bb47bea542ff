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
from blendsearch.data.batches import GivenBatches
from blendsearch.proxies import PROXIES, ProxyContext, prefixes
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


GIB = 2**30


@pytest.mark.parametrize(
    ("memory", "limit", "cores", "wanted"),
    [
        (24 * GIB, "max", 2, GIB),
        (16 * GIB, "max", 4, GIB // 2),
        (16 * GIB, "max", 64, GIB // 4),
        (64 * GIB, str(8 * GIB), 2, GIB // 2),
        (64 * GIB, None, 4, GIB),
        (None, "max", 2, GIB // 4),
    ],
)
def test_the_room_suits_memory_and_cores(memory, limit, cores, wanted, tmp_path, monkeypatch):
    def sysconf(name):
        if memory is None:
            raise ValueError("unrecognized configuration name")
        return memory // 4096 if name == "SC_PHYS_PAGES" else 4096

    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(f"{limit}\n")
    monkeypatch.setattr(prefixes.os, "sysconf", sysconf)
    monkeypatch.setattr(prefixes, "LIMIT_OF_CONTAINER", file)
    monkeypatch.setattr(prefixes, "cpu_count", lambda: cores)
    assert prefixes.room_here.__wrapped__() == wanted


def test_a_copy_for_another_process_begins_with_nothing(trained, digits):
    context = context_of(trained, digits)
    proxy = PROXIES.get("zero_shot")()
    proxy.prepare(context)
    values = estimates(proxy, context)
    copied = pickle.loads(pickle.dumps(proxy))
    assert copied.prefixes.cuts == proxy.prefixes.cuts
    assert (copied.prefixes.bytes, copied.prefixes.skipped, copied.prefixes.seen) == (0, 0, set())
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


class Gated(nn.Module):
    """Adds a branch without a convolution of its own at its end, so that the one before the block is refitted there."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.two, self.three = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.between, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.two(self.one(x).relu()))
        x = x + self.three(x.relu()).relu()
        return self.head(self.between(x).relu().mean((2, 3)))


class Sharing(nn.Module):
    """Uses one norm on both sides of what else would be a cut."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(c, 8, 3, padding=1) for c in (1, 8, 8))
        self.four, self.norm, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.two(self.one(x).relu())).relu()
        x = self.norm(self.four(self.three(x).relu())).relu()
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("make", [
    pytest.param(Gated, id="addition behind"),
    pytest.param(Sharing, id="norm shared"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["agreement", "bn_recalibrated"])
def test_what_changes_layers_before_a_cut_from_behind_is_no_cut(make, name, digits):
    torch.manual_seed(0)
    context = context_of(make().eval(), digits)
    assert_same(name, context)


def test_where_layers_on_both_sides_hold_the_same_weight_there_is_no_cut(digits):
    torch.manual_seed(0)
    network, images = Residual().eval(), next(digits.search.batches(2))[0]
    structure = Structure.of(network, images)
    assert len(find_cuts(network, structure, images, Compute())) > 1
    network.blocks[2].two.weight = network.blocks[0].two.weight
    assert not [cut for cut in find_cuts(network, structure, images, Compute()) if "blocks.2.two" not in cut.modules]


def assert_same(name: str, context: ProxyContext) -> None:
    plain, proxy = PROXIES.get(name)(), PROXIES.get(name)()
    for one in (plain, proxy):
        one.prepare(context)
    plain.prefixes = Prefixes([])
    assert estimates(proxy, context) == estimates(plain, context)


@pytest.mark.parametrize("make", [
    pytest.param(lambda: torchvision.models.mobilenet_v2(num_classes=10), id="mobilenet_v2"),
    pytest.param(lambda: timm.create_model("convnext_atto", num_classes=10), id="convnext_atto"),
    pytest.param(
        lambda: timm.create_model("convnext_atto", num_classes=10, dims=(8, 16, 24, 32), depths=(1, 1, 1, 1)),
        id="convnext of one block a stage",
    ),
])  # fmt: skip
def test_networks_of_torchvision_and_timm_are_worth_the_same(make):
    torch.manual_seed(0)
    images = torch.randn(24, 3, 32, 32)
    split = GivenBatches([(images, torch.arange(24) % 10)])
    network = make().eval()
    structure = Structure.of(network, images[:2])
    training = TrainingConfig(epochs=1, batch_size=64, lr=0.02)
    context = ProxyContext(network, structure, split, split, split, training, seed=3)
    plain, proxy = PROXIES.get("agreement")(positions=200), PROXIES.get("agreement")(positions=200)
    for one in (plain, proxy):
        one.prepare(context)
    plain.prefixes = Prefixes([])
    assert proxy.prefixes.cuts
    widths = structure.widths
    half = {group: tuple(range(width // 2)) for group, width in widths.items()}
    last = list(widths)[-1]
    tried = [half, {**half, last: tuple(range(1, 1 + widths[last] // 2))}, {**half, last: tuple(range(widths[last]))}]
    for keep in [*tried, half]:
        plan = Plan(keep, widths)
        one, other = (p.estimate(structure.slice(network, plan), plan) for p in (plain, proxy))
        assert (one.value, one.passes) == (other.value, other.passes)
    assert proxy.prefixes.skipped > 0


def test_one_of_other_weights_is_not_taken_up(trained, digits):
    context = context_of(trained, digits)
    proxy = PROXIES.get("agreement")()
    proxy.prepare(context)
    estimates(proxy, context)
    plan = plans_of(context.structure)[0]

    def changed() -> nn.Module:
        network = context.structure.slice(context.network, plan)
        first = next(one for one in network.modules() if isinstance(one, nn.Conv2d))
        with torch.no_grad():
            first.weight.mul_(1.5).add_(0.1)
        return network

    found = proxy.estimate(changed(), plan).value
    proxy.prefixes = Prefixes([])
    assert found == proxy.estimate(changed(), plan).value
    assert found != proxy.estimate(context.structure.slice(context.network, plan), plan).value


def test_those_that_lose_a_race_are_worth_the_same(trained, digits):
    context = context_of(trained, digits, racing=Racing(first=40))
    plain, proxy = PROXIES.get("agreement")(), PROXIES.get("agreement")()
    for one in (plain, proxy):
        one.prepare(context)
    plain.prefixes = Prefixes([])
    plans = plans_of(context.structure)
    whole = Plan({group: tuple(range(width)) for group, width in plans[0].widths.items()}, plans[0].widths)
    rival = plain.race(context.structure.slice(context.network, whole), whole, None).scores
    stopped = 0
    for plan in [*plans, *plans]:
        for against in (rival, None):
            one, other = (p.race(context.structure.slice(context.network, plan), plan, against) for p in (plain, proxy))
            assert (one.value, one.stopped, one.passes) == (other.value, other.stopped, other.passes)
            stopped += one.stopped
    assert stopped
    assert proxy.prefixes.skipped > 0


def test_each_of_an_average_is_taken_up(trained, digits):
    context = context_of(trained, digits)
    plain, proxy = PROXIES.get("average")(), PROXIES.get("average")()
    for one in (plain, proxy):
        one.prepare(context)
    for one in plain.proxies:
        one.prefixes = Prefixes([])
    assert estimates(proxy, context) == estimates(plain, context)
    assert all(one.prefixes.skipped for one in proxy.proxies)


def test_after_an_error_nothing_is_left_behind(trained, digits):
    context = context_of(trained, digits)
    proxy = PROXIES.get("compensated")()
    proxy.prepare(context)
    wanted = estimates(proxy, context)
    plan = plans_of(context.structure)[0]
    broken = context.structure.slice(context.network, plan)

    def fail(module: nn.Module, inputs: object) -> None:
        raise RuntimeError("no")

    handle = list(broken.modules())[-1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="no"):
        proxy.estimate(broken, plan)
    handle.remove()
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in broken.modules())
    assert proxy.settled == frozenset()
    assert estimates(proxy, context) == wanted


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
