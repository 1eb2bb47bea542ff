"""Pruning inside a fit of PyTorch Lightning: a callback that prunes the module's network at chosen epochs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from blendsearch.campaigns.api import Pruned, steps
from blendsearch.errors import BlendsearchError

try:
    if "pytorch_lightning" in sys.modules and "lightning" not in sys.modules:
        from pytorch_lightning import Callback
    else:
        from lightning.pytorch import Callback
except ImportError:
    raise BlendsearchError("PruneCallback needs PyTorch Lightning; install blendsearch[lightning]") from None


class PruneCallback(Callback):
    """Prunes a module's network step by step, at the start of chosen epochs, down to a budget.

    batches: what the criterion looks at, as in `blendsearch.steps`; a few hundred images are enough. by, budget, terms
    (such as allocation, ignore, loss, forward): as there. at_epochs: epochs, counted from 0 as Lightning does, before
    each of which a step is taken; the last one meets the budget. attribute: of the module, where its network is.
    After a step the optimisers are those of a new `configure_optimizers`: learning rates and schedulers go on as they
    were, what an optimiser has gathered (momentum) begins anew.
    pruned: what the last step left, None before the first. For one fit, in one process alone; a checkpoint of a pruned
    module has its shapes, so that a fit cannot be resumed from it.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        *,
        by: Any,
        at_epochs: Sequence[int],
        budget: Mapping[str, Any],
        attribute: str = "network",
        **terms: Any,
    ) -> None:
        epochs = list(at_epochs)
        if not epochs or epochs != sorted(set(epochs)) or epochs[0] < 0:
            raise BlendsearchError(f"at_epochs: {epochs} given, allowed: epochs from 0, ascending, each once")
        self.batches, self.by, self.budget, self.terms = batches, by, budget, terms
        self.at_epochs, self.attribute = epochs, attribute
        self.pruned: Pruned | None = None
        self._steps: Any = None
        self._left = list(epochs)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse a second fit, whose network is not the one that the steps go on with, and one that is too short."""
        if self._steps is not None:
            raise BlendsearchError("PruneCallback: pruned in an earlier fit already; allowed: a new one for each fit")
        most, last = trainer.max_epochs, self.at_epochs[-1]  # None and -1: as many as it takes
        if most is not None and 0 <= most <= last and not trainer.fast_dev_run:
            raise BlendsearchError(f"at_epochs: {self.at_epochs} given, allowed: epochs below the max_epochs of {most}")

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Take the step of this epoch, if there is one."""
        if trainer.current_epoch not in self._left:
            return
        if trainer.strategy.model is not pl_module:
            raise BlendsearchError(
                f"PruneCallback: {type(trainer.strategy).__name__} wraps the module, whose parameters change here; "
                "allowed: a fit in one process, such as devices=1"
            )
        network = getattr(pl_module, self.attribute, None)
        if not isinstance(network, nn.Module):
            raise BlendsearchError(
                f"PruneCallback: {type(pl_module).__name__}.{self.attribute} is {type(network).__name__}, allowed: an "
                "attribute that holds the network (attribute=)"
            )
        if self._steps is None:
            self._steps = steps(
                network,
                self.batches,
                by=self.by,
                budget=self.budget,
                steps=len(self.at_epochs),
                **{"device": str(pl_module.device), **self.terms},
            )
        self.pruned = next(self._steps)
        self._left.remove(trainer.current_epoch)
        setattr(pl_module, self.attribute, self.pruned.network)
        remake_optimisers(trainer)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Warn where the fit ended before the last step, as when another callback stops it."""
        if self._left:
            warnings.warn(
                f"PruneCallback: the fit ended before epochs {self._left}: the budget {self.budget} is not met",
                stacklevel=2,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the plan so far, which a checkpoint then holds."""
        return {"plan": None if self.pruned is None else self.pruned.plan.to_dict()}


def remake_optimisers(trainer: Any) -> None:
    """Let the module configure its optimisers anew, for its new parameters; settings and schedules go on."""
    strategy = trainer.strategy
    optimisers, schedules = list(strategy.optimizers), list(strategy.lr_scheduler_configs)
    strategy.setup_optimizers(trainer)
    for old, new in zip(optimisers, strategy.optimizers, strict=True):
        for before, after in zip(old.param_groups, new.param_groups, strict=True):
            after.update({name: value for name, value in before.items() if name != "params"})
    for old, new in zip(schedules, strategy.lr_scheduler_configs, strict=True):
        new.scheduler.load_state_dict(old.scheduler.state_dict())
