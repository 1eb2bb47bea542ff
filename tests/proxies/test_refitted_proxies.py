"""The proxies that start from the closed-form refit, against what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr

from blendsearch.config import TrainingConfig
from blendsearch.proxies import PROXIES, Bench
from blendsearch.structure import Plan, Structure
from blendsearch.training import evaluate


@pytest.fixture(scope="module")
def bench(trained, digits) -> Bench:
    structure = Structure.of(trained, next(digits.calibration.batches(2))[0])
    training = TrainingConfig(epochs=1, batch_size=64, lr=0.02)
    return Bench(trained, structure, digits.calibration, digits.search, digits.train, training, seed=3)


@pytest.fixture(scope="module")
def plan(bench) -> Plan:
    return Plan({g: tuple(range(0, width, 2)) for g, width in bench.structure.widths.items()}, bench.structure.widths)


def logits(network, split):
    with torch.no_grad():
        return torch.cat([network.eval()(images) for images, _ in split.batches(100)]).double().numpy()


def test_agreement_is_scipys_relative_entropy(bench, plan):
    proxy, refitted = PROXIES.get("agreement")(), PROXIES.get("compensated")()
    for one in (proxy, refitted):
        one.prepare(bench)
    network = bench.structure.slice(bench.network, plan)
    refitted.adapt(network, plan)
    wanted, given = (np.exp(log_softmax(logits(one, bench.search), axis=1)) for one in (bench.network, network))
    divergence = rel_entr(wanted, given).sum(1).mean()
    value = proxy.estimate(bench.structure.slice(bench.network, plan), plan).value
    assert value == pytest.approx(np.exp(-divergence), rel=1e-4)


def test_agreement_of_the_unpruned_network_is_complete(bench):
    proxy = PROXIES.get("agreement")()
    proxy.prepare(bench)
    whole = Plan.full(bench.structure.widths)
    assert proxy.estimate(bench.structure.slice(bench.network, whole), whole).value == pytest.approx(1.0, abs=1e-5)


def test_compensated_finetune_is_the_refit_and_then_the_steps(bench, plan):
    both = PROXIES.get("compensated_finetune")(steps=6)
    parts = [PROXIES.get("compensated")(), PROXIES.get("short_finetune")(steps=6)]
    for one in (both, *parts):
        one.prepare(bench)
    network = bench.structure.slice(bench.network, plan)
    for one in parts:
        one.adapt(network, plan)
    expected = evaluate(network, bench.search.batches(250)).accuracy
    assert both.estimate(bench.structure.slice(bench.network, plan), plan).value == expected
