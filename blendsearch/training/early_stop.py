"""Stopping when the accuracy on the search split no longer rises, with the weights of the best epoch put back."""

from __future__ import annotations

from torch import Tensor, nn

from blendsearch.config import EarlyStopConfig
from blendsearch.plain import State


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's parameters and buffers on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


class EarlyStop:
    """Keeps the best epoch so far and its weights; epochs count from 1.

    Source: Prechelt, Early Stopping - But When?, 1998 (stop after a number of epochs without a gain).
    """

    def __init__(self, training: EarlyStopConfig) -> None:
        self.patience, self.min_delta = training.patience, training.min_delta
        self.best_epoch = 0
        self.best = 0.0
        self.weights: dict[str, Tensor] = {}

    def see(self, epoch: int, accuracy: float, network: nn.Module) -> bool:
        """Take note of an epoch's accuracy in [0, 1]; return True when it is time to stop."""
        if self.best_epoch == 0 or accuracy > self.best + self.min_delta:
            self.best_epoch, self.best, self.weights = epoch, accuracy, weights_of(network)
        return epoch - self.best_epoch >= self.patience

    def put_back(self, network: nn.Module) -> None:
        """Give a network the weights of the best epoch, in place."""
        network.load_state_dict(self.weights)

    def state_dict(self) -> State:
        """Return what a checkpoint must hold to go on."""
        return {"best_epoch": self.best_epoch, "best": self.best, "weights": self.weights}

    def load_state_dict(self, state: State) -> None:
        """Go on from a checkpoint."""
        self.best_epoch, self.best, self.weights = state["best_epoch"], state["best"], dict(state["weights"])
