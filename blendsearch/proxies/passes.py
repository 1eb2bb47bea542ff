"""Counting the images that run through a candidate's network: what an estimate costs, whatever the machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

TRAINING_PASSES = 3
"""A training image counts as so many passes: one forward, and backward about two (gradients of inputs and weights)."""


@contextlib.contextmanager
def counted(network: nn.Module) -> Iterator[Callable[[], int]]:
    """Run a block and hand it a function that says how many passes the network, or copies of it, made in it so far.

    One image forward without gradients is one pass, with gradients TRAINING_PASSES: networks are run with gradients
    only to train them. What runs through other networks, such as a teacher, does not count.
    """
    passes = 0

    def count(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal passes
        passes += inputs[0].shape[0] * (TRAINING_PASSES if torch.is_grad_enabled() else 1)

    handle = network.register_forward_pre_hook(count)
    try:
        yield lambda: passes
    finally:
        handle.remove()
