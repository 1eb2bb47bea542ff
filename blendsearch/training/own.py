"""Retraining by a function of the user's own, under the seed and in the place that our loop would have had."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from blendsearch.compute import Compute, drawing_from
from blendsearch.errors import TrainingError, first_line
from blendsearch.training.loop import History


def train_by(function: Callable[[nn.Module], Any], network: nn.Module, seed: int, compute: Compute) -> History:
    """Let a function train a network, in place; return a history that knows the seconds alone.

    The function gets a copy of the network on the compute's device, in training mode, and trains it in place or
    returns another object with the trained weights. These alone are taken: what else it changes, as activations or
    hooks, is not in the network that is measured and handed out. torch, numpy and random draw from the seed, the same
    for all that are compared. Raises TrainingError for what it raises, for weights of another form, for some that are
    not finite, and for weights that it returns in another way.
    """
    compute.place(network)
    start = time.perf_counter()
    given = copy.deepcopy(network).train()
    try:
        with drawing_from(seed):
            returned = function(given)
    except Exception as error:
        reason, frame = f"{type(error).__name__}: {first_line(error)}", extract_tb(error.__traceback__)[-1]
        raise TrainingError(
            f"train_fn: it raised {reason} (in {Path(frame.filename).name}, line {frame.lineno}); what was done before "
            "is kept: resume=True goes on there"
        ) from error
    _check_returned(returned, given)
    trained = (returned if isinstance(returned, nn.Module) else given).state_dict()
    if _form(trained) != _form(network.state_dict()):
        if isinstance(returned, nn.Module) and returned is not given:
            raise TrainingError(
                "train_fn: the network that it returned has tensors of other names or shapes than its own"
            )
        raise TrainingError("train_fn: it changed names or shapes of the network's tensors; only weights may change")
    network.load_state_dict(trained)
    tensors = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    broken = [name for name, one in tensors.items() if one.is_floating_point() and not bool(one.isfinite().all())]
    if broken:
        raise TrainingError(f"train_fn: after it '{broken[0]}' is not finite (nan or infinity)")
    network.eval()
    return History(seconds=time.perf_counter() - start, own=True)


def _form(state: Mapping[str, Any]) -> dict[str, torch.Size | None]:
    """Return the shape of each tensor; None for what a module keeps beside them."""
    return {name: value.shape if isinstance(value, Tensor) else None for name, value in state.items()}


def _check_returned(returned: Any, given: nn.Module) -> None:
    """Raise TrainingError for a trained network in a form in which it would be overlooked, beside it untrained."""
    if isinstance(returned, nn.Module):
        return
    inside = any(isinstance(one, nn.Module) for one in tree_leaves(returned))
    if inside or (isinstance(returned, Mapping) and set(given.state_dict()) <= set(returned)):
        what = "with a network in it" if inside else "of weights"
        raise TrainingError(
            f"train_fn: it returned a {type(returned).__name__} {what}, allowed: the trained network, or None where it "
            "was trained in place"
        )
