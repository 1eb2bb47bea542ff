"""Retraining by a function of the user's own, under the seed and in the place that our loop would have had."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import nn

from blendsearch.compute import Compute, drawing_from
from blendsearch.errors import TrainingError, first_line
from blendsearch.training.loop import History


def train_by(function: Callable[[nn.Module], Any], network: nn.Module, seed: int, compute: Compute) -> History:
    """Let a function train a network, in place; return a history that knows the seconds alone.

    The function gets the network on the compute's device, in training mode, and may return another object with the
    trained weights. torch, numpy and random draw from the seed, the same for all that are compared. Raises
    TrainingError for what it raises, for weights of another form, and for some that are not finite.
    """
    compute.place(network)
    start = time.perf_counter()
    form = {name: tensor.shape for name, tensor in network.state_dict().items()}
    try:
        with drawing_from(seed):
            returned = function(network.train())
    except Exception as error:
        reason, frame = f"{type(error).__name__}: {first_line(error)}", extract_tb(error.__traceback__)[-1]
        raise TrainingError(
            f"train_fn: it raised {reason} (in {Path(frame.filename).name}, line {frame.lineno}); what was done before "
            "is kept: resume=True goes on there"
        ) from error
    if isinstance(returned, nn.Module) and returned is not network:
        trained = returned.state_dict()
        if {name: tensor.shape for name, tensor in trained.items()} != form:
            raise TrainingError(
                "train_fn: the network that it returned has tensors of other names or shapes than its own"
            )
        network.load_state_dict(trained)
    compute.place(network)
    state = network.state_dict()
    if {name: tensor.shape for name, tensor in state.items()} != form:
        raise TrainingError("train_fn: it changed names or shapes of the network's tensors; only weights may change")
    broken = [
        name for name, tensor in state.items() if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if broken:
        raise TrainingError(f"train_fn: after it '{broken[0]}' is not finite (nan or infinity)")
    network.eval()
    return History(seconds=time.perf_counter() - start, own=True)
