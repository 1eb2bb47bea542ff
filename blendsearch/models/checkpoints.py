"""The table of tensors in what a training script saved, whatever it stored beside and around it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict")
PLAIN = ("state_dict", "model_state_dict", "model", "model_state", "net")
WRAPPERS = ("module.", "_orig_mod.")
"""Put before all keys by DataParallel, torch.compile and averaged copies, in any order."""
ATTRIBUTES = ("model.", "net.", "network.")
"""Put before all keys by modules that hold the network, such as those of PyTorch Lightning."""


DEEPEST = 5
"""Entries within entries that are looked into; a file may say that a table holds itself."""


def find_table(saved: Any, deepest: int = DEEPEST) -> tuple[str, dict[str, Tensor]] | None:
    """Return the table of tensors with the entries it lies in ("" for none, "model.state_dict"); None without one.

    Averaged weights (EMA) go before plain ones, as in timm: they are what is meant to be used. Entries beside the
    table, such as an optimizer's state, are left alone.
    """
    if not isinstance(saved, dict) or not saved:
        return None
    if all(isinstance(key, str) and isinstance(value, Tensor) for key, value in saved.items()):
        return "", saved
    for entry in AVERAGED + PLAIN if deepest else ():
        found = find_table(saved.get(entry), deepest - 1)
        if found is not None:
            return f"{entry}.{found[0]}".rstrip("."), found[1]
    return None


def unprefixed(table: dict[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Return a table without what wrappers and modules around the network put before all of its keys.

    own: the keys of the network, which may itself begin with such a word: nothing more is taken off once one is met.
    """
    while not any(key in own for key in table):
        # torch's AveragedModel counts beside the network that it wraps.
        keys = [key for key in table if key != "n_averaged"]
        prefix = next((p for p in WRAPPERS + ATTRIBUTES if keys and all(key.startswith(p) for key in keys)), None)
        if prefix is None:
            break
        table = {key[len(prefix) :]: table[key] for key in keys}
    return table
