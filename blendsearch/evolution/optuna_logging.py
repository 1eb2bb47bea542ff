"""Keep Optuna's log lines and warnings about its own interfaces out of our users' terminals."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import optuna


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Run a block without Optuna's messages below ERROR; verbosity and warning filters are put back after."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"optuna(\..*)?")
            yield
    finally:
        optuna.logging.set_verbosity(before)
