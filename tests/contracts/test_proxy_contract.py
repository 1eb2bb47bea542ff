"""What every registered proxy must do, also one of another package."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.errors import ConfigError
from blendsearch.proxies import PROXIES, Estimate, ProxyContext
from blendsearch.structure import Plan, Structure
from blendsearch.training import evaluate

TRAINING = TrainingConfig(epochs=1, batch_size=64, lr=0.02, warmup_epochs=1)


class WithoutLabels:
    """A calibration split whose labels are all wrong; it takes the same images as the right one."""

    def __init__(self, split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    @property
    def labels(self) -> torch.Tensor:
        return (self.split.labels + 1) % 10

    def batches(self, batch_size, *, seed=None, augment=False):
        for images, labels in self.split.batches(batch_size, seed=seed, augment=augment):
            yield images, (labels + 1) % 10

    def take(self, count):
        return WithoutLabels(self.split.take(count))


@pytest.fixture(scope="module")
def context(trained, digits) -> ProxyContext:
    structure = Structure.of(trained, next(digits.calibration.batches(2))[0])
    return ProxyContext(trained, structure, digits.calibration, digits.search, digits.train, TRAINING, seed=3)


@pytest.fixture(params=PROXIES.names())
def proxy(request):
    return PROXIES.get(request.param)()


def plan(context: ProxyContext, share: float) -> Plan:
    network = context.network
    scores = {
        name: network.get_submodule(name).weight.detach().abs().sum((1, 2, 3)) for name in context.structure.widths
    }
    return Plan.top(scores, {name: max(1, int(share * len(score))) for name, score in scores.items()})


def estimate(proxy, context: ProxyContext, candidate: Plan) -> Estimate:
    return proxy.estimate(context.structure.slice(context.network, candidate), candidate)


def test_an_estimate_is_an_accuracy_and_has_a_cost(proxy, context):
    proxy.prepare(context)
    for share in (0.2, 0.5):
        result = estimate(proxy, context, plan(context, share))
        assert 0 <= result.value <= 1
        assert result.seconds > 0


def test_the_same_plan_is_always_worth_the_same(proxy, context):
    proxy.prepare(context)
    torch.manual_seed(1)
    first = estimate(proxy, context, plan(context, 0.5)).value
    estimate(proxy, context, plan(context, 0.2))
    torch.manual_seed(2)
    assert estimate(proxy, context, plan(context, 0.5)).value == first


def test_passes_are_counted_and_equal_for_equal_plans(proxy, context):
    proxy.prepare(context)
    found = [estimate(proxy, context, plan(context, share)).passes for share in (0.5, 0.5, 0.2)]
    assert found[0] == found[1] == found[2] > 0
    assert isinstance(found[0], int)


def test_sensitivities_are_of_layers_that_lose_inputs_and_the_same_again(proxy, context):
    proxy.prepare(context)
    half, before = plan(context, 0.5), copy.deepcopy(context.network.state_dict())
    torch.manual_seed(1)
    first = proxy.sensitivities(half, 60)
    torch.manual_seed(2)
    second = proxy.sensitivities(half, 60)
    assert first.keys() == second.keys() <= set(context.structure.pruned_inputs(half))
    for name, one in first.items():
        assert one.slope.shape == one.start.shape == one.moments.cross.shape
        assert one.curvature.shape == one.start.shape[1:]
        assert one.left.sum() == len(context.structure.kept_inputs(name, half))
        for values, again in ((one.slope, second[name].slope), (one.curvature, second[name].curvature)):
            assert values.isfinite().all()
            assert values.abs().max() > 0
            assert torch.equal(values, again)
    for name, tensor in context.network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    estimate(proxy, context, half)  # and it goes on estimating


def test_zero_shot_is_the_accuracy_of_the_sliced_network(context):
    proxy = PROXIES.get("zero_shot")()
    proxy.prepare(context)
    pruned = context.structure.slice(context.network, plan(context, 0.3))
    expected = evaluate(pruned, context.search.batches(500)).accuracy
    assert estimate(proxy, context, plan(context, 0.3)).value == expected


def test_the_global_generator_is_left_alone(proxy, context):
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    proxy.prepare(context)
    estimate(proxy, context, plan(context, 0.5))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_unpruned_network_is_left_alone(proxy, context, channels_last):
    context = dataclasses.replace(context, compute=Compute("cpu", channels_last=channels_last))
    before = copy.deepcopy(context.network.state_dict())
    strides = [value.stride() for value in context.network.state_dict().values()]
    flags = [module.training for module in context.network.modules()]
    proxy.prepare(context)
    estimate(proxy, context, plan(context, 0.5))
    assert all(torch.equal(value, before[key]) for key, value in context.network.state_dict().items())
    assert [value.stride() for value in context.network.state_dict().values()] == strides
    assert [module.training for module in context.network.modules()] == flags
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in context.network.modules())


def test_nothing_pruned_is_about_the_baseline(proxy, context):
    proxy.prepare(context)
    baseline = evaluate(context.network, context.search.batches(250)).accuracy
    assert baseline > 0.95
    assert estimate(proxy, context, plan(context, 1.0)).value == pytest.approx(baseline, abs=0.03)


def test_losing_nearly_everything_is_worse(proxy, context):
    proxy.prepare(context)
    assert estimate(proxy, context, plan(context, 0.01)).value < estimate(proxy, context, plan(context, 0.9)).value


def test_it_travels_to_a_worker_once_prepared(proxy, context):
    proxy.prepare(context)
    there = pickle.loads(pickle.dumps(proxy))
    here = estimate(proxy, context, plan(context, 0.5)).value
    assert estimate(there, there.context, plan(context, 0.5)).value == here


def test_labels_of_calibration_images_change_nothing(proxy, context):
    wrong = dataclasses.replace(context, calibration=WithoutLabels(context.calibration))
    proxy.prepare(context)
    right = estimate(proxy, context, plan(context, 0.5)).value
    proxy.prepare(wrong)
    assert estimate(proxy, wrong, plan(context, 0.5)).value == right


def test_no_proxy_is_given_the_test_split(context):
    assert not [field.name for field in dataclasses.fields(context) if "test" in field.name]


def test_fewer_search_images_may_be_asked_for(context):
    proxy = PROXIES.get("zero_shot")(search_images=50)
    proxy.prepare(context)
    value = estimate(proxy, context, plan(context, 0.5)).value
    assert value * 50 == pytest.approx(round(value * 50), abs=1e-6)
    assert len(proxy.search) == 50
    more = PROXIES.get("zero_shot")(search_images=10_000)
    more.prepare(context)
    assert len(more.search) == len(context.search)


@pytest.mark.parametrize(("batch_size", "steps"), [(64, 3), (100, 7), (500, 5), (2000, 2)])
def test_short_finetune_takes_as_many_steps_as_it_says(context, monkeypatch, batch_size, steps):
    taken = []
    module = "blendsearch.proxies.short_finetune.train"
    monkeypatch.setattr(module, lambda network, split, config, **rest: taken.append(count(network, split, config)))

    def count(network, split, config):
        from blendsearch.training import train

        return train(network, split, config, seed=0).steps

    training = TRAINING.model_copy(update={"batch_size": batch_size})
    proxy = PROXIES.get("short_finetune")(steps=steps)
    proxy.prepare(dataclasses.replace(context, training=training))
    estimate(proxy, context, plan(context, 0.2))
    assert taken == [steps]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("zero_shot", {"search_images": 0}, "proxy.search_images: 0 given, more than 0 expected"),
        ("bn_recalibrated", {"images": 0}, "proxy.images: 0"),
        ("compensated", {"ridge": 0.0}, "proxy.ridge: 0"),
        ("compensated", {"positions": -1}, "proxy.positions: -1"),
        ("short_finetune", {"steps": 0}, "proxy.steps: 0"),
    ],
)
def test_impossible_options_are_one_line(name, options, words):
    with pytest.raises(ConfigError) as caught:
        PROXIES.get(name)(**options)
    assert words in str(caught.value)


def test_every_proxy_says_what_it_is():
    for name in PROXIES:
        proxy = PROXIES.get(name)
        assert proxy.name == name
        assert proxy.__doc__
        assert proxy.source
