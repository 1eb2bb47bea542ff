"""What several rooms test with: the digits, and a small network trained on them once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from blendsearch.config import DataConfig, TrainingConfig
from blendsearch.data.splits import Splits, load_splits
from blendsearch.models.zoo import MODELS
from blendsearch.training import train


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory) -> Iterator[None]:
    """Keep the key of whoever runs the tests out of them, see `blendsearch.results.trust`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_sign_of_loading() -> Iterator[None]:
    """Keep the line out of what commands print that says, on a busy machine, that libraries are still being loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blendsearch.cli.session.shown_loading", lambda console: contextlib.nullcontext())
        yield


@pytest.fixture(scope="session")
def digits() -> Splits:
    """The digits: 250 images for calibration, 250 for search, 300 for test, the rest for training."""
    return load_splits(DataConfig(name="digits", calibration=250, search=250, test=300), 0)


@pytest.fixture(scope="session")
def trained(digits: Splits) -> nn.Module:
    """A Conv-4 of width 8 with about 97 % accuracy on the digits; shared, so no test may change it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MODELS.get("conv4")(num_classes=10, in_channels=1, image_size=8, width=8)
    train(network, digits.train, TrainingConfig(epochs=8, batch_size=64, lr=0.1, warmup_epochs=1), seed=0)
    return network
