"""The callback of PyTorch Lightning, in a trainer that does what Lightning's does, and in Lightning where it is."""

from __future__ import annotations

import importlib
import sys
import types

import pytest
import torch
from small_networks import conv4, images, randomised
from torch import nn
from torch.nn import functional as F

from blendsearch.errors import BlendsearchError

BATCHES = [(images(8), torch.arange(8) % 3)]
HOME = "blendsearch.integrations.lightning"


class Trainer:
    """Calls the hook of each epoch, trains, steps the schedules; the strategy makes optimisers as Lightning's does."""

    fast_dev_run = False

    def __init__(self, callback, epochs, max_epochs=-1):
        self.callback, self.epochs, self.current_epoch, self.strategy, self.rates = callback, epochs, 0, self, []
        self.max_epochs = max_epochs

    def setup_optimizers(self, trainer):
        assert trainer is self
        optimiser, schedule = self.model.configure_optimizers()
        self.optimizers = [optimiser]
        self.lr_scheduler_configs = [types.SimpleNamespace(scheduler=schedule)]

    def fit(self, module):
        self.model = module
        self.callback.on_fit_start(self, module)
        self.setup_optimizers(self)
        for epoch in range(self.epochs):
            self.current_epoch = epoch
            self.callback.on_train_epoch_start(self, module)
            (optimiser,) = self.optimizers
            self.rates.append(optimiser.param_groups[0]["lr"])
            for x, y in BATCHES:
                optimiser.zero_grad()
                F.cross_entropy(module.network(x), y).backward()
                optimiser.step()
            self.lr_scheduler_configs[0].scheduler.step()
        self.callback.on_fit_end(self, module)


class Module(nn.Module):
    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.network = randomised(conv4(8)).train()

    def configure_optimizers(self):
        optimiser = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9)
        return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4)


@pytest.fixture
def callback_class(monkeypatch):
    """The class, with a stand-in for Lightning where that is not installed."""
    try:
        import lightning.pytorch  # noqa: F401
    except ImportError:
        stand_in = types.ModuleType("lightning.pytorch")
        stand_in.Callback = object
        monkeypatch.setitem(sys.modules, "lightning", types.ModuleType("lightning"))
        monkeypatch.setitem(sys.modules, "lightning.pytorch", stand_in)
    monkeypatch.delitem(sys.modules, HOME, raising=False)
    yield importlib.import_module(HOME).PruneCallback
    sys.modules.pop(HOME, None)


def test_the_network_is_pruned_at_its_epochs_and_the_schedule_goes_on(callback_class):
    callback, module, plain = callback_class(BATCHES, by="l1", at_epochs=[1, 2], budget={"flops": 0.3}), Module(), None
    seen = []
    take_step = callback.on_train_epoch_start

    def noted(trainer, pl_module):
        take_step(trainer, pl_module)
        seen.append(sum(p.numel() for p in pl_module.network.parameters()))

    callback.on_train_epoch_start = noted
    trainer = Trainer(callback, 4)
    trainer.fit(module)
    assert seen[0] > seen[1] > seen[2] == seen[3]
    assert module.network is callback.pruned.network
    assert callback.pruned.flops_ratio <= 0.3
    assert module.network.training
    held = {id(one) for group in trainer.optimizers[0].param_groups for one in group["params"]}
    assert held == {id(one) for one in module.network.parameters()}
    plain = Trainer(callback_class(BATCHES, by="l1", at_epochs=[9], budget={"flops": 0.3}), 4)
    with pytest.warns(UserWarning, match="ended before epochs"):
        plain.fit(Module())
    assert trainer.rates == pytest.approx(plain.rates)
    assert callback.state_dict()["plan"] == callback.pruned.plan.to_dict()


def test_the_second_step_scores_what_training_made_of_the_first(callback_class, monkeypatch):
    module, networks = Module(), []
    callback = callback_class(BATCHES, by="l1", at_epochs=[0, 1], budget={"flops": 0.3})
    from blendsearch.campaigns import given

    score = given.score_by_blend

    def noted(blend, network, *rest):
        networks.append(network)
        return score(blend, network, *rest)

    monkeypatch.setattr(given, "score_by_blend", noted)
    trainer = Trainer(callback, 1)
    with pytest.warns(UserWarning, match="ended before epochs"):
        trainer.fit(module)
    trained = module.network
    trainer.current_epoch = 1
    callback.on_train_epoch_start(trainer, module)
    assert networks[1] is trained


def test_a_second_fit_is_refused_and_changes_nothing(callback_class):
    callback, first, second = callback_class(BATCHES, by="l1", at_epochs=[0], budget={"flops": 0.3}), Module(), Module()
    Trainer(callback, 1).fit(first)
    network = second.network
    for module in (first, second):
        with pytest.raises(BlendsearchError, match="pruned in an earlier fit already; allowed: a new one for each fit"):
            Trainer(callback, 1).fit(module)
    assert second.network is network


def test_a_fit_that_is_too_short_for_the_last_step_is_refused(callback_class):
    callback = callback_class(BATCHES, by="l1", at_epochs=[1, 2], budget={"flops": 0.3})
    with pytest.raises(BlendsearchError, match=r"at_epochs: \[1, 2\] given, allowed: epochs below the max_epochs of 2"):
        Trainer(callback, 2, max_epochs=2).fit(Module())
    Trainer(callback, 3, max_epochs=3).fit(Module())


def test_a_fit_that_is_stopped_before_the_last_step_warns_that_the_budget_is_not_met(callback_class):
    callback = callback_class(BATCHES, by="l1", at_epochs=[0, 2], budget={"flops": 0.3})
    with pytest.warns(UserWarning, match=r"ended before epochs \[2\]: the budget {'flops': 0.3} is not met"):
        Trainer(callback, 2, max_epochs=4).fit(Module())


def test_a_trial_run_of_a_single_epoch_may_be_too_short(callback_class):
    callback = callback_class(BATCHES, by="l1", at_epochs=[1], budget={"flops": 0.3})
    trainer = Trainer(callback, 1, max_epochs=1)
    trainer.fast_dev_run = True
    with pytest.warns(UserWarning, match="ended before epochs"):
        trainer.fit(Module())


def test_wrong_use_is_told_in_one_line(callback_class):
    for epochs in ([], [2, 1], [1, 1], [-1]):
        with pytest.raises(BlendsearchError, match="at_epochs"):
            callback_class(BATCHES, by="l1", at_epochs=epochs, budget={"flops": 0.5})
    callback = callback_class(BATCHES, by="l1", at_epochs=[0], budget={"flops": 0.5}, attribute="net")
    with pytest.raises(BlendsearchError, match=r"Module.net is NoneType, allowed: an attribute that holds the network"):
        Trainer(callback, 1).fit(Module())
    wrapped = Trainer(callback, 1)
    wrapped.model = nn.Sequential()
    with pytest.raises(BlendsearchError, match="wraps the module"):
        callback.on_train_epoch_start(wrapped, Module())


def test_without_lightning_it_names_the_extra(monkeypatch):
    for name in ("lightning", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, HOME, raising=False)
    with pytest.raises(BlendsearchError, match=r"needs PyTorch Lightning; install blendsearch\[lightning\]"):
        importlib.import_module(HOME)


@pytest.mark.slow
def test_in_lightning_itself(callback_class, tmp_path):
    lightning = pytest.importorskip("lightning")

    class Fitted(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = randomised(conv4(8))

        def training_step(self, batch, number):
            return F.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9)

    module = Fitted()
    callback = callback_class(BATCHES, by="taylor", at_epochs=[1, 2], budget={"flops": 0.4})
    trainer = lightning.Trainer(
        max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[callback],
        enable_progress_bar=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(BATCHES, batch_size=None))
    assert callback.pruned.flops_ratio <= 0.4
    held = {id(one) for group in trainer.optimizers[0].param_groups for one in group["params"]}
    assert held == {id(one) for one in module.network.parameters()}
