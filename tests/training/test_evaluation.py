"""Accuracy, loss, and batch-norm statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from pretended_device import pretended_device
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from blendsearch.compute import Compute
from blendsearch.data.loaders import KeptPairs
from blendsearch.errors import DataError
from blendsearch.training import evaluate, recalibrate
from blendsearch.training.evaluation import correct_mask, predict, score_images


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(0.5)
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(self.drop(F.relu(self.bn(self.conv(x)))).mean((2, 3)))


def batches(sizes=(8, 8, 5)):
    torch.manual_seed(0)
    return [(torch.randn(n, 1, 6, 6) * (i + 1), torch.randint(3, (n,))) for i, n in enumerate(sizes)]


def net() -> Net:
    torch.manual_seed(1)
    return Net()


def test_accuracy_and_loss_are_means_over_images():
    network, data = net(), batches()
    result = evaluate(network, data, Compute())
    assert network.training
    network.eval()
    images, labels = (torch.cat(parts) for parts in zip(*data, strict=True))
    logits = network(images).detach()
    assert result.count == 21
    assert result.accuracy == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert result.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)


def test_evaluation_changes_nothing():
    network = net()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    evaluate(network, batches())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_half_precision_in_channels_last_is_close():
    compute = Compute(precision="bfloat16", channels_last=True)
    full = evaluate(net(), batches())
    assert evaluate(compute.place(net()), batches(), compute).loss == pytest.approx(full.loss, rel=0.02)


def test_recalibration_averages_the_statistics_of_the_batches():
    network, data = net(), batches((8, 8, 8))
    before = [parameter.clone() for parameter in network.parameters()]
    network.bn.running_mean.fill_(100)
    recalibrate(network, data, Compute())
    with torch.no_grad():
        features = [network.conv(images) for images, _ in data]
    means = torch.stack([x.mean((0, 2, 3)) for x in features]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in features]).mean(0)
    torch.testing.assert_close(network.bn.running_mean, means)
    torch.testing.assert_close(network.bn.running_var, variances)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))


def test_recalibration_puts_momentum_and_flags_back():
    network = net().eval()
    network.drop.train()
    recalibrate(network, batches())
    assert network.bn.momentum == 0.3
    assert not network.bn.training
    assert network.drop.training


@pytest.mark.parametrize("action", [evaluate, recalibrate])
def test_no_images_is_an_error(action):
    with pytest.raises(DataError, match="no image given"):
        action(net(), [])


def test_right_tells_the_images_that_accuracy_counts():
    network, data = net(), batches()
    found = correct_mask(network, data, Compute())
    assert network.training
    assert found.dtype == torch.bool
    assert found.float().mean().item() == pytest.approx(evaluate(network, data, Compute()).accuracy)
    network.eval()
    images, labels = data[-1]
    assert torch.equal(found[-5:], network(images).argmax(1) == labels)
    with pytest.raises(DataError):
        correct_mask(network, [])


def test_predictions_are_the_largest_logits_in_evaluation_mode():
    network, data = net(), batches()
    found = predict(network, data)
    assert network.training
    network.eval()
    logits = network(torch.cat([images for images, _ in data])).detach()
    assert found.dtype == torch.int64
    assert torch.equal(found, logits.argmax(1))
    with pytest.raises(DataError, match="no image given"):
        predict(network, [])


class Shared(nn.Module):
    """One norm for two layers: it is called twice in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.bn = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(self.second(self.bn(self.first(x)))).mean((2, 3))


@pytest.mark.parametrize("build", [Net, Shared])
def test_recalibrated_statistics_of_equal_batches_are_torchs_own_cumulative_averages(build):
    torch.manual_seed(1)
    network = build()
    plain = copy.deepcopy(network).eval()
    plain.bn.reset_running_stats()
    plain.bn.momentum = None
    plain.bn.train()
    with torch.no_grad():
        for images, _ in batches((8, 8, 8)):
            plain(images)
    momentum = network.bn.momentum
    recalibrate(network, batches((8, 8, 8)))
    for name, found in network.bn.state_dict().items():
        assert torch.equal(found, plain.bn.state_dict()[name]), name
    assert network.bn.momentum == momentum
    assert not network.bn._forward_pre_hooks


@pytest.mark.parametrize("sizes", [(8, 8, 5), (20, 2), (3, 17, 2)])
def test_every_image_counts_alike_however_small_the_last_batch_is(sizes):
    network, data = net(), batches(sizes)
    recalibrate(network, data)
    with torch.no_grad():
        features = [network.conv(images) for images, _ in data]
    weights = torch.tensor(sizes) / sum(sizes)
    means = torch.stack([x.mean((0, 2, 3)) for x in features])
    variances = torch.stack([x.var((0, 2, 3)) for x in features])
    torch.testing.assert_close(network.bn.running_mean, weights @ means)
    torch.testing.assert_close(network.bn.running_mean, torch.cat(features).mean((0, 2, 3)))
    torch.testing.assert_close(network.bn.running_var, weights @ variances)


def test_a_device_is_waited_for_once_however_many_batches_there_are():
    for data in (batches((8, 8)), batches((4,) * 9)):
        expected = evaluate(net(), data), correct_mask(net(), data), predict(net(), data)
        with pretended_device() as device:
            compute = Compute("cuda:0")
            network = compute.place(net())
            placed = [(images.to("cuda:0"), labels.to("cuda:0")) for images, labels in data]
            device.reads = device.copies = 0
            found = evaluate(network, placed, compute)
            assert (device.reads, device.copies) == (2, 0)  # hits and losses
            masks = correct_mask(network, placed, compute), predict(network, placed, compute)
            assert device.reads == 4
            recalibrate(network, placed, compute)
            assert (device.reads, device.copies) == (4, 0)
        assert found == expected[0]
        assert all(torch.equal(one, other) for one, other in zip(masks, expected[1:], strict=True))


@pytest.mark.parametrize("read", [evaluate, predict, correct_mask, recalibrate])
def test_batches_are_made_outside_the_networks_precision_and_weights_are_cast_once(read):
    kinds = set()

    def made():
        for images, labels in batches():
            kinds.add((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
            yield images, labels

    compute = Compute(precision="bfloat16")
    with CountingCasts() as casts:
        read(compute.place(net()), made(), compute)
    assert kinds == {torch.float32}
    assert casts.of_weights == 2  # of the convolution and the linear layer


class CountingCasts(TorchDispatchMode):
    """Counts how often a weight is cast to bfloat16."""

    of_weights = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and isinstance(args[0], nn.Parameter) and args[0].dim() > 1:
            self.of_weights += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("outputs", [lambda x: x, lambda x: {"scores": x}])
def test_a_metric_gets_outputs_in_full_precision(outputs):
    class Answering(Net):
        def forward(self, x):
            return outputs(super().forward(x).sigmoid())

    def metric(given, targets):
        given = given["scores"] if isinstance(given, dict) else given
        return 1 / (1 + F.binary_cross_entropy(given, F.one_hot(targets, 3).float()))

    network, split = Answering(), KeptPairs(*batches((10,))[0], metric)
    half = score_images(network, split, Compute(precision="bfloat16"))
    torch.testing.assert_close(half, score_images(network, split), rtol=0.02, atol=0)


class OnePlace(Net):
    """Its norm sees one number a channel and image."""

    def forward(self, x):
        return self.linear(self.bn(self.conv(x).mean((2, 3), keepdim=True)).flatten(1))


def test_a_lone_last_image_is_recalibrated_on_with_the_batch_before_it():
    torch.manual_seed(1)
    found, expected = OnePlace(), OnePlace()
    expected.load_state_dict(found.state_dict())
    one, two, last = batches((8, 8, 1))
    recalibrate(found, [one, two, last])
    recalibrate(expected, [one, tuple(torch.cat(both) for both in zip(two, last, strict=True))])
    torch.testing.assert_close(found.state_dict(), expected.state_dict())


def test_one_image_alone_is_an_error_where_a_norm_needs_two():
    with pytest.raises(DataError, match=r"recalibration: one image given, .* at least two expected"):
        recalibrate(OnePlace(), batches((1,)))
    recalibrate(net(), batches((1,)))
