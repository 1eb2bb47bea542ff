"""What a loss makes of refitted weights, against the sliced network and differences of the loss itself."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Mixed, OptionA, conv4, images, randomised, resnet20
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.resnet import BasicBlock, ResNet

from blendsearch.structure import Plan, Structure
from blendsearch.training import Compensation
from blendsearch.training import sensitivity as module
from blendsearch.training.compensation import feature_rows
from blendsearch.training.sensitivity import sensitivities


def torchvision_resnet():
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3)
    network.conv1.stride = network.maxpool.stride = 1
    return network


NETWORKS = {
    "conv4": (conv4, 8),
    "option A": (OptionA, 8),
    "mixed": (Mixed, 8),
    "resnet20": (resnet20, 16),
    "torchvision": (torchvision_resnet, 16),
}


@pytest.fixture(params=NETWORKS)
def built(request):
    build, side = NETWORKS[request.param]
    torch.manual_seed(0)
    network = randomised(build(), seed=1)
    structure = Structure.of(network, images(size=side))
    compensation = Compensation(network, structure, images(24, side, seed=3), positions=10_000, ridge=1e-3)
    plan = Plan({g.name: tuple(range(1, g.width, 2)) for g in structure.groups}, structure.widths)
    return network, structure, compensation, plan, images(6, side, seed=9)


def squared(x):
    """A loss: half the squared outputs, in batches of four images."""

    def losses(network):
        for first in range(0, len(x), 4):
            yield network(x[first : first + 4]).double().square().sum(1) / 2

    return losses


@pytest.fixture
def kept(monkeypatch):
    """The networks at full size that were worked on, in evaluation mode."""
    found = []
    init = module._InFull.__init__

    def remember(self, *given):
        init(self, *given)
        found.append(self)

    monkeypatch.setattr(module._InFull, "__init__", remember)
    return found


def test_the_network_at_full_size_computes_what_the_sliced_one_does(built, kept):
    network, structure, compensation, plan, x = built
    before = copy.deepcopy(network.state_dict())
    found = sensitivities(compensation, network, plan, squared(x))
    assert found
    for name in compensation.losing(plan):  # those with more inputs than positions are refitted, but not among them
        weight = network.get_submodule(name).weight
        assert (name in found) == (weight[0].numel() <= len(compensation.targets[name].index)), name
    sliced = structure.slice(network, plan).eval()
    compensation.refit(sliced, plan)
    with torch.no_grad():
        wanted, got = sliced(x), kept[0].network(x)
    # Rounding grows from layer to layer where a layer has hardly more positions than rows.
    assert (got - wanted).abs().max() <= 0.03 * wanted.abs().max()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_slope_is_the_difference_of_the_loss_where_the_offset_keeps_up(built, kept):
    network, _, compensation, plan, x = built
    found = sensitivities(compensation, network, plan, squared(x))
    run = kept[0]
    whole = run.network.double()
    compensation_norms = compensation.norms
    for name, one in found.items():
        layer = whole.get_submodule(name)
        norm = whole.get_submodule(compensation_norms[name]) if name in compensation_norms else None
        step = torch.randn(one.slope.shape, generator=torch.Generator().manual_seed(3)).double()
        step = step / step.norm() * one.start.double().norm() * 1e-6
        columns = step.T
        if layer.weight.dim() == 4:
            out, _, kh, kw = layer.weight.shape
            columns = columns.reshape(out, kh, kw, -1).permute(0, 3, 1, 2)
        scale = 1.0 if norm is None else norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = one.moments.mean_in.double() @ step
        offset = layer.bias if norm is None else norm.bias
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight, bias = layer.weight.clone(), None if offset is None else offset.clone()
                layer.weight += sign * columns / (scale if norm is None else scale[(...,) + (None,) * 3])
                if offset is not None:
                    offset -= sign * shift
                values.append(sum(float(batch.sum()) for batch in squared(x.double())(whole)) / len(x))
                layer.weight.copy_(weight)
                if offset is not None:
                    offset.copy_(bias)
        difference = (values[0] - values[1]) / 2
        scale_of_it = float((one.slope.double().abs() * step.abs()).sum())
        assert float((one.slope.double() * step).sum()) == pytest.approx(difference, abs=1e-3 * scale_of_it), name


def test_the_curvature_is_of_squared_slopes_at_every_position(built, kept):
    network, _, compensation, plan, x = built
    found = sensitivities(compensation, network, plan, squared(x))
    whole = kept[0].network
    for name in list(found)[-3:]:
        given = []
        watched = compensation.norms.get(name, name)

        def hook(module, inputs, output, given=given):
            output.retain_grad()
            given.append(output)
            return output * 1

        handle = whole.get_submodule(watched).register_forward_hook(hook)
        for batch in squared(x)(whole):
            batch.sum().backward()
        handle.remove()
        rows = [feature_rows(whole.get_submodule(name), one.grad).square().sum(0) for one in given]
        assert found[name].curvature == pytest.approx((sum(rows) / len(x)).detach(), rel=1e-3), name


def test_a_linear_layer_that_reads_maps_has_its_channels_last():
    """ConvNeXt's. (Its layer norms see filters that went: at full size it is near the sliced one, and not the same.)"""
    network = randomised(ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=3))
    structure = Structure.of(network, images(size=32))
    compensation = Compensation(network, structure, images(8, 32, seed=3), positions=10_000, ridge=1e-3)
    plan = Plan({g.name: tuple(range(1, g.width, 2)) for g in structure.groups}, structure.widths)
    found = sensitivities(compensation, network, plan, squared(images(4, 32)))
    linear = [name for name in found if isinstance(network.get_submodule(name), torch.nn.Linear)]
    assert len(linear) > 1
    for name in linear:
        assert found[name].left.tolist() == [number % 2 == 1 for number in range(len(found[name].left))]
        assert found[name].slope.isfinite().all()
