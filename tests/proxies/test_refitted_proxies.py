"""The proxies that start from the closed-form refit, against what they are made of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr, softmax

from blendsearch.config import TrainingConfig
from blendsearch.errors import BlendsearchError
from blendsearch.proxies import PROXIES, ProxyContext
from blendsearch.proxies.agreement import best_inverse_temperature, distance
from blendsearch.structure import Plan, Structure
from blendsearch.training import Compensation, evaluate, sensitivity


@pytest.fixture(scope="module")
def context(trained, digits) -> ProxyContext:
    structure = Structure.of(trained, next(digits.calibration.batches(2))[0])
    training = TrainingConfig(epochs=1, batch_size=64, lr=0.02)
    return ProxyContext(trained, structure, digits.calibration, digits.search, digits.train, training, seed=3)


@pytest.fixture(scope="module")
def plan(context) -> Plan:
    return Plan(
        {g: tuple(range(0, width, 2)) for g, width in context.structure.widths.items()}, context.structure.widths
    )


def logits(network, split):
    with torch.no_grad():
        return torch.cat([network.eval()(images) for images, _ in split.batches(100)]).double().numpy()


@pytest.mark.parametrize("name", ["short_finetune", "compensated_finetune"])
def test_a_loss_of_ones_own_is_what_a_short_training_lowers(context, plan, name):
    def loss(outputs, targets):
        return (outputs - 3).square().mean()

    proxy = PROXIES.get(name)(steps=60, lr_share=0.5)
    proxy.prepare(dataclasses.replace(context, loss=loss))
    network = context.structure.slice(context.network, plan)
    before = loss(torch.from_numpy(logits(network, context.search)), None)
    proxy.adapt(network, plan)
    assert loss(torch.from_numpy(logits(network, context.search)), None) < before / 10


def test_agreement_is_scipys_jensen_shannon_distance(context, plan):
    proxy, refitted = PROXIES.get("agreement")(), PROXIES.get("compensated")()
    for one in (proxy, refitted):
        one.prepare(context)
    network = context.structure.slice(context.network, plan)
    refitted.adapt(network, plan)
    wanted, found = softmax(logits(context.network, context.search), axis=1), logits(network, context.search)

    def divergence(inverse):
        return rel_entr(wanted, softmax(inverse * found, axis=1)).sum(1).mean()

    best = minimize_scalar(divergence, bounds=(1 / 8, 8), method="bounded")
    assert best.fun < divergence(1.0)
    value = proxy.estimate(context.structure.slice(context.network, plan), plan).value
    distances = jensenshannon(wanted, softmax(best.x * found, axis=1), base=2, axis=1)
    assert value == pytest.approx(1 - distances.mean(), rel=1e-4)


@pytest.mark.parametrize(("sharper", "inverse"), [(4.0, 0.25), (1.0, 1.0), (0.3, 1 / 0.3), (100.0, 1 / 8), (0.01, 8.0)])
def test_the_temperature_is_the_one_that_undoes_a_sharpening(sharper, inverse):
    wanted = (2 * torch.randn(200, 10, generator=torch.Generator().manual_seed(0))).log_softmax(1)
    found = best_inverse_temperature((wanted * sharper).log_softmax(1), wanted)
    assert found == pytest.approx(inverse, abs=1e-5)


def test_the_distance_is_none_of_equal_answers_and_one_of_those_that_share_no_class():
    sure = torch.tensor([[0.0, -1e4, -1e4], [-1e4, 0.0, -1e4]])
    assert distance(sure, sure).tolist() == [0.0, 0.0]
    assert distance(sure, sure.flip(0)).tolist() == pytest.approx([1.0, 1.0])
    alike = torch.randn(50, 10, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    assert distance(alike, alike.clone()).max() < 1e-7
    assert torch.equal(distance(alike, alike.flip(0)), distance(alike.flip(0), alike))


def test_what_sensitivities_are_of_is_the_distance_that_agreement_reads(context, plan, monkeypatch):
    """Of all images and the network at full size: its loss is 1 less the estimate."""
    proxy, found = PROXIES.get("agreement")(images=100), []

    class Watched(sensitivity._InFull):
        def found(self, losses):
            found.extend(loss.detach() for loss in losses(self.network))
            return super().found(losses)

    monkeypatch.setattr(sensitivity, "_InFull", Watched)
    proxy.prepare(context)
    assert set(proxy.sensitivities(plan, 10**6)) == set(proxy.compensation.losing(plan))
    value = proxy.estimate(context.structure.slice(context.network, plan), plan).value
    losses = torch.cat(found)
    assert len(losses) == len(context.search)
    assert 1 - float(losses.mean()) == pytest.approx(value, abs=1e-4)


def test_agreement_of_the_unpruned_network_is_complete(context):
    proxy = PROXIES.get("agreement")()
    proxy.prepare(context)
    whole = Plan.full(context.structure.widths)
    assert proxy.estimate(context.structure.slice(context.network, whole), whole).value == pytest.approx(1.0, abs=1e-3)


def test_compensated_finetune_is_the_refit_and_then_the_steps(context, plan):
    both = PROXIES.get("compensated_finetune")(steps=6)
    refit = PROXIES.get("compensated")(images=512, positions=20_000)
    parts = [refit, PROXIES.get("short_finetune")(steps=6, images=512, lr_share=0.1)]
    for one in (both, *parts):
        one.prepare(context)
    network = context.structure.slice(context.network, plan)
    for one in parts:
        one.adapt(network, plan)
    expected = evaluate(network, context.search.batches(250)).accuracy
    assert both.estimate(context.structure.slice(context.network, plan), plan).value == expected


def test_short_finetune_reads_the_accuracy_with_batch_norms_of_the_trained_network(context, plan):
    proxy = PROXIES.get("short_finetune")(steps=3, images=200)
    proxy.prepare(context)
    network = context.structure.slice(context.network, plan)
    proxy.adapt(network, plan)
    norm, inputs = network.bn1, []
    handle = network.conv1.register_forward_hook(lambda module, given, output: inputs.append(output))
    with torch.no_grad():
        for images, _ in context.calibration.take(200).batches(250):
            network.eval()(images)
    handle.remove()
    torch.testing.assert_close(norm.running_mean, torch.cat(inputs).mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_average_is_the_mean_of_its_proxies_each_on_a_network_of_its_own(context, plan):
    options = [{"name": "short_finetune", "steps": 2}, "compensated", "zero_shot"]
    average = PROXIES.get("average")(proxies=options)
    single = [PROXIES.get("short_finetune")(steps=2), PROXIES.get("compensated")(), PROXIES.get("zero_shot")()]
    for one in (average, *single):
        one.prepare(context)
    expected = np.mean([one.estimate(context.structure.slice(context.network, plan), plan).value for one in single])
    assert average.estimate(context.structure.slice(context.network, plan), plan).value == pytest.approx(expected)


def average_of(context, *proxies):
    average = PROXIES.get("average")(proxies=list(proxies))
    average.prepare(context)
    return average


def test_an_average_refits_a_candidate_once_for_all_who_refit_it_alike(context, plan, monkeypatch):
    proxies = ["compensated", "zero_shot", {"name": "agreement", "search_images": 30}]
    average, single = average_of(context, *proxies), [PROXIES.get(name)() for name in ("compensated", "zero_shot")]
    single.append(PROXIES.get("agreement")(search_images=30))
    for one in single:
        one.prepare(context)
    found = [one.estimate(context.structure.slice(context.network, plan), plan) for one in single]
    refits = []
    monkeypatch.setattr(Compensation, "refit", lambda *a, real=Compensation.refit: refits.append(1) or real(*a))
    estimate = average.estimate(context.structure.slice(context.network, plan), plan)
    assert len(refits) == 1
    assert estimate.value == pytest.approx(np.mean([one.value for one in found]), rel=1e-6)
    calibration = len(context.calibration)
    assert estimate.passes == sum(one.passes for one in found) - calibration


def test_proxies_that_refit_otherwise_refit_for_themselves(context):
    make = PROXIES.get
    assert make("compensated")().adapts_like(make("agreement")(search_images=9))
    for other in (make("agreement")(ridge=0.1), make("zero_shot")(), make("compensated_finetune")(), make("average")()):
        assert not make("compensated")().adapts_like(other)

    class Stranger(make("agreement")):
        """Of another package; what its own `prepare` does, nobody knows."""

    assert not make("compensated")().adapts_like(Stranger())


@pytest.mark.parametrize(
    ("proxies", "words"),
    [
        (["compensated"], "at least two proxies expected"),
        (["compensated", "agrement"], "did you mean 'agreement'"),
        (["compensated", 3], "proxy.proxies: 3 given, a name or a mapping"),
        (["compensated", {"name": "zero_shot", "imges": 3}], "imges"),
        (["compensated", {"name": "short_finetune", "steps": 0}], "proxy.steps: 0"),
        (["zero_shot", {"name": "zero_shot"}], "proxy.proxies: 'zero_shot' with the same options is named twice"),
    ],
)
def test_an_average_of_what_is_no_proxy_is_one_line(proxies, words):
    with pytest.raises(BlendsearchError) as caught:
        PROXIES.get("average")(proxies=proxies)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_learning_rate_is_a_share_of_the_retrainings(context, plan):
    whole = dataclasses.replace(context, training=context.training.model_copy(update={"lr": 0.06}))
    part = dataclasses.replace(context, training=context.training.model_copy(update={"lr": 0.3}))
    values = []
    for terms, share in ((whole, 1.0), (part, 0.2)):
        proxy = PROXIES.get("short_finetune")(steps=3, lr_share=share)
        proxy.prepare(terms)
        values.append(proxy.estimate(context.structure.slice(context.network, plan), plan).value)
    assert values[0] == values[1]
