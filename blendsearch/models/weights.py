"""Reading weights files and putting them into a network; never a pickle of code."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blendsearch.errors import WeightsError

SUFFIXES = (".pt", ".pth", ".th", ".safetensors")
LEVELS = ("state_dict", "model_state_dict", "model", "net")
PREFIXES = ("module.", "_orig_mod.")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a .pt, .pth, .th or .safetensors file; unwrap a `state_dict` level and `module.` prefixes.

    Raises WeightsError when the file is missing, of another kind, or holds no tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"model.weights: '{path}' is no file (looked in '{Path.cwd()}')")
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"model.weights: '{path}' ends in '{path.suffix}', allowed: {', '.join(SUFFIXES)}")
    try:
        loaded: Any = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except pickle.UnpicklingError:  # also what torch raises for pickled code, with advice to run it
        raise WeightsError(
            f"model.weights: '{path}' cannot be read (damaged, or it holds more than tensors: pickled code is never "
            "run; save network.state_dict() alone)"
        ) from None
    except Exception as error:  # a damaged file can raise nearly anything
        reason = (str(error).splitlines() or [""])[0][:160]
        raise WeightsError(f"model.weights: '{path}' cannot be read ({type(error).__name__}: {reason})") from None
    for level in LEVELS:
        if isinstance(loaded, dict) and isinstance(loaded.get(level), dict):
            loaded = loaded[level]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(f"model.weights: '{path}' holds no table of tensors (a state dict)")
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in loaded):
            loaded = {key[len(prefix) :]: tensor for key, tensor in loaded.items()}
    return loaded


def _torch_load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a weights file into a network, in place; WeightsError names the keys that do not match."""
    given = read_state_dict(path)
    own = network.state_dict()
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    strange = [key for key in given if key not in own]
    shapes = [
        f"{key} {tuple(given[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    faults = [_listed("missing", missing), _listed("not in the network", strange), _listed("of another shape", shapes)]
    if any(faults):
        raise WeightsError(f"model.weights: '{path}' does not fit the network: {'; '.join(f for f in faults if f)}")
    network.load_state_dict(given, strict=False)


def _listed(what: str, keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{len(keys)} {what} ({', '.join(keys[:3])}{more})" if keys else ""
