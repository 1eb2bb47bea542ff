"""The closed-form refit: exact where it can be, NumPy's least squares elsewhere, and of use on the digits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from small_networks import NormWithActivation, Tail, images
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.compute import Compute
from blendsearch.models.zoo import CifarResNet, Conv4
from blendsearch.structure import Plan, Structure
from blendsearch.training import Compensation, evaluate

IMAGES = torch.randn(24, 2, 9, 8, generator=torch.Generator().manual_seed(0))
TINY = 1e-9  # a ridge too small to be seen


class Second(nn.Module):
    """conv1 -> ReLU -> `layer` (-> `norm`) -> ReLU -> mean -> classifier; conv1 makes 6 channels."""

    def __init__(self, layer: nn.Module, norm: nn.Module | None = None, out: int = 5) -> None:
        super().__init__()
        self.conv1, self.layer, self.norm = nn.Conv2d(2, 6, 3, padding=1), layer, norm or nn.Identity()
        self.classifier = nn.Linear(out, 3)

    def before(self, x: Tensor) -> Tensor:
        return F.relu(self.conv1(x))

    def after(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(self.before(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.after(x)).mean((2, 3)))


class Flat(nn.Module):
    """A convolution, flattened into a linear layer: each filter is several of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.layer = nn.Conv2d(2, 6, 3), nn.Linear(6 * 3 * 3, 4)

    def before(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv1(x)), 2).flatten(1)

    def after(self, x: Tensor) -> Tensor:
        return self.layer(self.before(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(x)


class ChannelsLast(nn.Module):
    """A linear layer on [N, H, W, C], as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.layer, self.classifier = nn.Conv2d(2, 6, 3, padding=1), nn.Linear(6, 5), nn.Linear(5, 3)

    def before(self, x: Tensor) -> Tensor:
        return F.relu(self.conv1(x)).permute(0, 2, 3, 1)

    def after(self, x: Tensor) -> Tensor:
        return self.layer(self.before(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.after(x)).mean((1, 2)))


def lively(network: nn.Module) -> nn.Module:
    """Give every parameter and statistic a value of its own."""
    draws = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=draws) / 3)
            module.running_var.copy_(torch.rand(module.num_features, generator=draws) + 0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            fan = max(1, parameter[0].numel())
            parameter.copy_(torch.randn(parameter.shape, generator=draws) / fan**0.5)
    return network.eval()


def norm(count: int = 5) -> nn.Module:
    return nn.BatchNorm2d(count)


CASES = {
    "convolution with norm": lambda: Second(nn.Conv2d(6, 5, 3, padding=1, bias=False), norm()),
    "convolution with bias and norm": lambda: Second(nn.Conv2d(6, 5, 3), norm()),
    "convolution with bias": lambda: Second(nn.Conv2d(6, 5, 3, padding=1)),
    "convolution with nothing": lambda: Second(nn.Conv2d(6, 5, 1, bias=False)),
    "strided": lambda: Second(nn.Conv2d(6, 5, (3, 2), stride=(2, 3), padding=(2, 1))),
    "dilated": lambda: Second(nn.Conv2d(6, 5, (2, 3), dilation=(3, 2), padding=(1, 0))),
    "padded by reflection": lambda: Second(nn.Conv2d(6, 5, 3, padding=1, padding_mode="reflect")),
    "padded to the same size": lambda: Second(nn.Conv2d(6, 5, (1, 3), padding="same"), norm()),
    "flattened linear": Flat,
    "linear on channels last": ChannelsLast,
}


@pytest.fixture(params=CASES)
def network(request) -> nn.Module:
    return lively(CASES[request.param]())


def dropped(structure: Structure, *filters: int, group: str = "conv1") -> Plan:
    keep = {name: tuple(range(width)) for name, width in structure.widths.items()}
    keep[group] = tuple(f for f in keep[group] if f not in filters)
    return Plan(keep, structure.widths)


def refitted(network: nn.Module, plan: Plan, images: Tensor = IMAGES, **options) -> nn.Module:
    structure = Structure.of(network, images)
    pruned = structure.slice(network, plan)
    Compensation(network, structure, images, **{"ridge": TINY, **options}).refit(pruned, plan)
    return pruned


def unfolded(network: nn.Module) -> np.ndarray:
    """What the layer reads at every output position, [positions, inputs], by torch's own unfold."""
    x, layer = network.before(IMAGES).double(), network.layer
    if isinstance(layer, nn.Linear):
        return x.flatten(0, -2).detach().numpy()
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    columns = F.unfold(x, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    return columns.transpose(1, 2).flatten(0, 1).detach().numpy()


def rows(network: nn.Module, features: Tensor) -> np.ndarray:
    features = features if isinstance(network.layer, nn.Linear) else features.movedim(1, -1)
    return features.flatten(0, -2).detach().double().numpy()


def test_the_refit_is_the_least_squares_solution_of_numpy(network):
    plan = dropped(Structure.of(network, IMAGES), 1, 4)
    pruned = refitted(network, plan)
    inputs, wanted = unfolded(pruned), rows(network, network.after(IMAGES))
    if network.layer.bias is not None or isinstance(getattr(network, "norm", None), nn.BatchNorm2d):
        inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
    best = inputs @ np.linalg.lstsq(inputs, wanted, rcond=None)[0]
    np.testing.assert_allclose(rows(pruned, pruned.after(IMAGES)), best, atol=2e-4)
    before = Structure.of(network, IMAGES).slice(network, plan)
    assert np.square(best - wanted).mean() < np.square(rows(before, before.after(IMAGES)) - wanted).mean()


def test_dropping_one_of_two_equal_filters_costs_nothing(network):
    with torch.no_grad():
        network.conv1.weight[4] = network.conv1.weight[1]
        network.conv1.bias[4] = network.conv1.bias[1]
    pruned = refitted(network, dropped(Structure.of(network, IMAGES), 4))
    torch.testing.assert_close(pruned(IMAGES), network(IMAGES), atol=2e-4, rtol=0)


def test_a_norm_that_holds_its_activation_is_refitted_like_norm_and_activation():
    seen = images(24, 9)

    def build(*norm):
        convs = (nn.Conv2d(6, 5, 3, bias=False), nn.Conv2d(5, 4, 1))
        return Tail(convs[0], *norm, convs[1], nn.ReLU(), last=4)

    together, apart = lively(build(NormWithActivation(5))), build(nn.BatchNorm2d(5), nn.ReLU()).eval()
    apart.load_state_dict(dict(zip(apart.state_dict(), together.state_dict().values(), strict=True)))
    plan = dropped(Structure.of(together, seen), 1, 4, group="first")
    plans = plan, Plan.full(Structure.of(apart, seen).widths)
    plans[1].keep["first"] = plan.keep["first"]
    one, other = (refitted(network, own, seen) for network, own in zip((together, apart), plans, strict=True))
    sliced = Structure.of(together, seen).slice(together, plan)
    assert not torch.allclose(one(seen), sliced(seen), atol=1e-2)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_layer_that_activates_its_output_is_left_as_it_is():
    seen = images(24, 9)

    class Activated(nn.Conv2d):
        def forward(self, x):
            return F.relu(super().forward(x))

    network = lively(Tail(Activated(6, 5, 3), nn.Conv2d(5, 4, 1), nn.ReLU(), last=4))
    plan = dropped(Structure.of(network, seen), 1, group="first")
    sliced, pruned = Structure.of(network, seen).slice(network, plan), refitted(network, plan, seen)
    assert torch.equal(pruned.middle[0].weight, sliced.middle[0].weight)


def test_what_the_layers_before_gave_is_the_input_of_the_next():
    """Both widths halved: the second solution must be for the inputs that the first refit left."""
    network = lively(Second(nn.Conv2d(6, 5, 3, padding=1, bias=False), norm()))
    plan = Plan({"conv1": (0, 2, 3), "layer": (1, 2, 4)}, {"conv1": 6, "layer": 5})
    pruned = refitted(network, plan)
    inputs = F.relu(pruned.after(IMAGES)).mean((2, 3)).detach().double().numpy()
    inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
    wanted = network(IMAGES).detach().double().numpy()
    best = inputs @ np.linalg.lstsq(inputs, wanted, rcond=None)[0]
    np.testing.assert_allclose(pruned(IMAGES).detach().numpy(), best, atol=2e-4)


def test_kept_filters_have_the_targets_of_the_same_filters():
    network = lively(Second(nn.Conv2d(6, 5, 1), norm()))
    with torch.no_grad():
        network.conv1.weight[5] = network.conv1.weight[0]
        network.conv1.bias[5] = network.conv1.bias[0]
    plan = Plan({"conv1": (0, 1, 2, 3, 4), "layer": (1, 3, 4)}, {"conv1": 6, "layer": 5})
    pruned = refitted(network, plan)
    torch.testing.assert_close(pruned.after(IMAGES), network.after(IMAGES)[:, [1, 3, 4]], atol=2e-4, rtol=0)


class Residual(nn.Module):
    """stem -> x; branch(x) + shortcut(x), where the shortcut is a convolution of what may lose channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.shortcut = nn.Conv2d(6, 4, 1, groups=1, bias=False)
        self.branch = nn.Conv2d(6, 4, 1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4, 3)

    def block(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.shortcut(x) + self.bn(self.branch(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.block(x)).mean((2, 3)))


def test_at_an_addition_the_refit_makes_up_for_what_the_shortcut_lost():
    network = lively(Residual())
    structure = Structure.of(network, IMAGES)
    plan = dropped(structure, 0, 3, group="stem")
    refit = refitted(network, plan)
    # The reference: the sum is the target, the branch is free, the shortcut is what the refit left of it.
    inputs = F.relu(refit.stem(IMAGES))
    free = inputs.movedim(1, -1).flatten(0, -2).detach().double().numpy()
    free = np.hstack([free, np.ones((len(free), 1))])
    shortcut = refit.shortcut(inputs).movedim(1, -1).flatten(0, -2).detach().double().numpy()
    wanted = network.block(IMAGES).movedim(1, -1).flatten(0, -2).detach().double().numpy()
    best = shortcut + free @ np.linalg.lstsq(free, wanted - shortcut, rcond=None)[0]
    given = refit.block(IMAGES).movedim(1, -1).flatten(0, -2).detach().numpy()
    np.testing.assert_allclose(given, best, atol=2e-4)


class Read(nn.Module):
    """A convolution of what loses a dead filter, its norm, and a shortcut, put together by a function of all three."""

    def __init__(self, together) -> None:
        super().__init__()
        self.stem, self.shortcut, self.conv = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 1)
        self.norm, self.classifier, self.together = nn.BatchNorm2d(5), nn.Linear(5, 3), together

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        shortcut = self.shortcut(x)
        return self.classifier(F.relu(self.together(self.norm, self.conv(x), shortcut)).mean((2, 3)))


def scaled_in_place(norm, z, x):
    y = norm(z)
    y *= 0.5
    return x + y


READ = {
    "plain": lambda norm, z, x: x + norm(z),
    "gated": lambda norm, z, x: norm(z) * torch.sigmoid(z) + x,
    "raw": lambda norm, z, x: F.relu(norm(z)) + z + x,
    "raw, then normed": lambda norm, z, x: torch.cat([F.relu(z), norm(z)], 1)[:, :5] + x,
    "normed twice": lambda norm, z, x: norm(norm(z) + x),
    "norm of both": lambda norm, z, x: norm(z) + norm(x),
    "scaled in place": scaled_in_place,
    "torch.add": lambda norm, z, x: torch.add(x, norm(z), alpha=0.3),
    "torch.add, the other way round": lambda norm, z, x: torch.add(norm(z), x, alpha=0.3),
    "add": lambda norm, z, x: x.add(norm(z), alpha=-1),
    "add_": lambda norm, z, x: x.add_(norm(z), alpha=2),
}


@pytest.mark.parametrize("ridge", [TINY, 1e-3])
@pytest.mark.parametrize("name", READ)
def test_a_cut_that_loses_nothing_changes_nothing_whoever_reads_the_layers(name, ridge):
    network = lively(Read(READ[name]))
    with torch.no_grad():
        network.stem.weight[4], network.stem.bias[4] = 0, 0
    pruned = refitted(network, dropped(Structure.of(network, IMAGES), 4, group="stem"), ridge=ridge)
    torch.testing.assert_close(pruned(IMAGES), network(IMAGES), atol=1e-5, rtol=0)


def test_a_refit_that_finds_the_old_weights_leaves_the_network_as_it_is():
    """Weights that hold the scale of their norm give the same, but training changes them at another pace."""
    network = lively(Second(nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5, momentum=None)))
    with torch.no_grad():
        network.conv1.weight[4], network.conv1.bias[4] = 0, 0
        network.norm.reset_running_stats()
        network.train()(IMAGES)
    plan = dropped(Structure.of(network.eval(), IMAGES), 4)
    refit, sliced = refitted(network, plan), Structure.of(network, IMAGES).slice(network, plan)
    del refit.norm.num_batches_tracked, sliced.norm.num_batches_tracked
    for name, value in refit.state_dict().items():
        torch.testing.assert_close(value, sliced.state_dict()[name], atol=1e-3, rtol=0)


@pytest.mark.parametrize("nothing", [0.0, 1e-12, 1e-17, 1e-20, 1e-23, 1e-30, 1e-40])
def test_where_a_norm_gave_next_to_nothing_weights_keep_their_length(nothing):
    network = lively(Residual())
    with torch.no_grad():
        network.bn.weight[1:3] = nothing
        network.branch.weight[2] = 0
    structure = Structure.of(network, IMAGES)
    plan = dropped(structure, 0, 3, group="stem")
    sliced = structure.slice(network, plan)
    refit = refitted(network, plan)
    torch.testing.assert_close(refit.branch.weight[1].norm(), network.branch.weight[1].norm())
    assert all(bool(value.isfinite().all()) for value in refit.state_dict().values())
    assert (refit.block(IMAGES) - network.block(IMAGES)).square().mean() < 0.9 * (
        sliced.block(IMAGES) - network.block(IMAGES)
    ).square().mean()


@pytest.mark.parametrize("nothing", [1e-10, 1e-15, 1e-20, 1e-23, 1e-30, 1e-40])
def test_a_filter_that_its_norm_has_shut_stays_shut(nothing):
    """As weight decay leaves it; the weights that give so little have no length in float32."""
    network = lively(Second(nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)))
    with torch.no_grad():
        network.norm.weight[2], network.norm.bias[2] = nothing, 0
    refit = refitted(network, dropped(Structure.of(network, IMAGES), 4))
    assert all(bool(value.isfinite().all()) for value in refit.state_dict().values())
    assert (refit.after(IMAGES)[:, 2]).abs().max() < 10 * nothing + 1e-30
    others = [0, 1, 3, 4]
    assert (refit.after(IMAGES)[:, others] - network.after(IMAGES)[:, others]).abs().mean() < 1


class Tied(nn.Module):
    """Two heads of one weight, which read different poolings of what loses a filter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.one, self.other = nn.Conv2d(2, 6, 3), nn.Linear(6, 3), nn.Linear(6, 3)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        return torch.cat([self.one(x.mean((2, 3))), self.other(x.amax((2, 3)))], 1)


def test_a_weight_of_two_layers_is_fitted_to_neither():
    network = lively(Tied())
    structure = Structure.of(network, IMAGES)
    plan = dropped(structure, 4)
    refit, sliced = refitted(network, plan), structure.slice(network, plan)
    assert torch.equal(refit.one.weight, sliced.one.weight)
    assert torch.equal(refit(IMAGES), sliced(IMAGES))


@pytest.mark.parametrize("rest", [0.3, 0.01, 1e-3])
def test_a_filter_that_read_what_is_gone_is_trained_at_its_own_pace(rest):
    """It reads its double from now on; what slicing alone left of it is next to nothing, and no measure."""
    network = lively(Second(nn.Conv2d(6, 5, 1, bias=False), nn.BatchNorm2d(5)))
    with torch.no_grad():
        network.conv1.weight[3], network.conv1.bias[3] = network.conv1.weight[4], network.conv1.bias[4]
        network.layer.weight[1] *= rest
        network.layer.weight[1, 4] = 0.5
    refit = refitted(network, dropped(Structure.of(network, IMAGES), 4))
    lengths = [one.layer.weight[1].norm().item() for one in (refit, network)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.3)
    assert refit.after(IMAGES)[:, 1].sub(network.after(IMAGES)[:, 1]).abs().max() < 0.1


def test_a_block_makes_up_for_the_channels_that_its_stream_lost():
    network = lively(CifarResNet(1, 4, 2))
    structure = Structure.of(network, IMAGES)
    group = structure.groups[0].name
    plan = dropped(structure, 1, 5, 9, group=group)
    pruned, refit = structure.slice(network, plan), refitted(network, plan)
    stay = [i for i in range(16) if i not in (1, 5, 9)]

    def error(other: nn.Module) -> float:
        def block(n: nn.Module) -> Tensor:
            return n.layer1[0](F.relu(n.bn1(n.conv1(IMAGES))))

        return (block(other) - block(network)[:, stay]).detach().square().mean().item()

    assert error(refit) < 0.5 * error(pruned)


def half(network: nn.Module, structure: Structure) -> Plan:
    scores = {name: network.get_submodule(name).weight.detach().abs().sum((1, 2, 3)) for name in structure.widths}
    return Plan.top(scores, {name: width // 2 for name, width in structure.widths.items()})


@pytest.fixture
def bench(trained, digits):
    images = torch.cat([images for images, _ in digits.calibration.batches(250)])
    structure = Structure.of(trained, images)
    return trained, structure, images, half(trained, structure), digits.search


def accuracy(bench, compute: Compute | None = None, **options) -> tuple[float, nn.Module]:
    network, structure, images, plan, search = bench
    compute = compute or Compute()
    pruned = compute.place(structure.slice(network, plan))
    Compensation(network, structure, images, compute=compute, **options).refit(pruned, plan)
    return evaluate(pruned, search.batches(250), compute).accuracy, pruned


def test_accuracy_comes_back_without_any_training(bench):
    network, structure, _, plan, search = bench
    as_sliced = evaluate(structure.slice(network, plan), search.batches(250)).accuracy
    assert accuracy(bench)[0] > as_sliced + 0.15


def test_few_positions_are_nearly_as_good_and_always_the_same(bench):
    few, network = accuracy(bench, positions=2000)
    again = accuracy(bench, positions=2000)[1]
    other = accuracy(bench, positions=2000, seed=1)[1]
    assert few > accuracy(bench)[0] - 0.05
    assert torch.equal(network.conv3.weight, again.conv3.weight)
    assert not torch.equal(network.conv3.weight, other.conv3.weight)


def test_half_precision_goes_on_from_an_addition_with_the_new_weights():
    """The refitted branch is run anew at its addition; a cast of its old weights would spoil all that follows."""
    network = lively(CifarResNet(2, 4, 2))
    structure = Structure.of(network, IMAGES)
    plan = half(network, structure)

    def error(pruned: nn.Module) -> float:
        return (pruned(IMAGES) - network(IMAGES)).detach().square().mean().item()

    refit = refitted(network, plan, ridge=1e-3, compute=Compute(precision="bfloat16"))
    assert error(refit) < 0.1 * error(structure.slice(network, plan))


@pytest.mark.parametrize("channels_last", [False, True])
def test_half_precision_gives_about_the_same_accuracy(bench, channels_last):
    reduced = accuracy(bench, Compute(precision="bfloat16", channels_last=channels_last))[0]
    assert reduced == pytest.approx(accuracy(bench)[0], abs=0.03)


def test_a_strong_ridge_keeps_the_weights_that_slicing_left(bench):
    network, structure, _, plan, _ = bench
    # The norm's scale goes into the weights and its offset is refitted, so compare directions.
    pruned, refit = structure.slice(network, plan), accuracy(bench, ridge=1e6)[1]
    alike = F.cosine_similarity(pruned.conv3.weight.flatten(1), refit.conv3.weight.flatten(1))
    assert alike.abs().min() > 0.999


def test_only_what_lost_inputs_changes_and_the_original_never(bench):
    network, structure, images, _, _ = bench
    original = copy.deepcopy(network.state_dict())
    plan = dropped(structure, 0, 1, group="conv3")
    pruned = structure.slice(network, plan).train()
    pruned.bn2.eval()  # a frozen norm
    sliced = copy.deepcopy(pruned.state_dict())
    Compensation(network, structure, images).refit(pruned, plan)
    changed = {key for key, value in pruned.state_dict().items() if not torch.equal(value, sliced[key])}
    norm_keys = {f"bn4.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    assert changed == {"conv4.weight", *norm_keys}
    assert [name for name, module in pruned.named_modules() if not module.training] == ["bn2"]
    assert all(torch.equal(value, original[key]) for key, value in network.state_dict().items())


def test_the_full_plan_changes_nothing():
    network = lively(Conv4(10, 2, 4))
    structure = Structure.of(network, IMAGES)
    same = refitted(network, Plan.full(structure.widths))
    pairs = zip(same.state_dict().values(), network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_hooks_are_gone_afterwards(bench):
    network, pruned = bench[0], accuracy(bench)[1]
    for module in (*network.modules(), *pruned.modules()):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_a_layer_whose_norm_keeps_no_statistics_is_left_as_it_is():
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4, track_running_stats=False),
        nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3),
    )  # fmt: skip
    structure = Structure.of(network, torch.randn(2, 1, 8, 8))
    plan = Plan({"0": (0, 2, 4)}, {"0": 6})
    pruned = structure.slice(network, plan)
    before = pruned[2].weight.clone()
    Compensation(network, structure, torch.randn(16, 1, 8, 8)).refit(pruned, plan)
    assert torch.equal(pruned[2].weight, before)
