"""Reading weights files and putting them into a network; never a pickle of code."""

from __future__ import annotations

import operator
import pickle
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blendsearch.errors import WeightsError
from blendsearch.models.checkpoints import find_table, unprefixed

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".safetensors")


def read_state_dict(path: str | Path, own: Collection[str] = ()) -> dict[str, Tensor]:
    """Read a .pt, .pth, .th, .ckpt or .safetensors file; unwrap entries such as `state_dict`, and prefixes.

    Of a file with averaged weights (EMA) beside plain ones, the averaged ones are taken. own: the keys of the network
    they are for, at which prefixes such as `module.` or `model.` end. Raises WeightsError when the file is missing,
    of another kind, or holds no tensors.
    """
    return _read(Path(path).expanduser(), own)[1]


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a weights file into a network, in place.

    WeightsError names the keys that do not match, and the tensor that is complex or not finite; nothing is changed.
    """
    own = network.state_dict()
    entry, given = _read(Path(path).expanduser(), own)
    where = f"model.weights: '{path}'" + (f" (its entry '{entry}')" if entry else "")
    faults = misfits(shapes_of(own), shapes_of(given))
    if faults:
        raise WeightsError(f"{where} does not fit the network: {faults}")
    for key, values in given.items():
        _check_values(values, own[key], f"{where}: tensor '{key}'")
    network.load_state_dict(given, strict=False)


def misfits(own: Shapes, given: Shapes, fits: Callable[[Shape, Shape], bool] = operator.eq) -> str:
    """Return in a line which given tensors do not match a network's own in key or shape; "" where all do.

    fits: tells whether a tensor of the network's may be of the given shape.
    """
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    strange = [key for key in given if key not in own]
    shapes = [f"{key} {given[key]} for {own[key]}" for key in own if key in given and not fits(own[key], given[key])]
    faults = [_listed("missing", missing), _listed("not in the network", strange), _listed("of another shape", shapes)]
    return "; ".join(fault for fault in faults if fault)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Return the shape of each tensor."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def _read(path: Path, own: Collection[str]) -> tuple[str, dict[str, Tensor]]:
    """Return the entry of a file that its weights are in, "" for none, and the weights."""
    if not path.is_file():
        raise WeightsError(f"model.weights: '{path}' is no file (looked in '{Path.cwd()}')")
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"model.weights: '{path}' ends in '{path.suffix}', allowed: {', '.join(SUFFIXES)}")
    try:
        loaded: Any = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except pickle.UnpicklingError as error:  # also what torch raises for pickled code, with advice to run it
        raise WeightsError(f"model.weights: '{path}' cannot be read ({_why_refused(error, path)})") from None
    except Exception as error:  # a damaged file can raise nearly anything
        reason = (str(error).splitlines() or [""])[0][:160]
        raise WeightsError(f"model.weights: '{path}' cannot be read ({type(error).__name__}: {reason})") from None
    found = find_table(loaded)
    if found is None:
        raise WeightsError(f"model.weights: '{path}' holds no table of tensors (a state dict)")
    return found[0], unprefixed(found[1], own)


def _torch_load(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            packed = [one.filename for one in file.infolist() if one.compress_type != zipfile.ZIP_STORED]
        if packed:  # kilobytes of it may grow to more than the memory holds
            raise ValueError(f"it is packed ('{packed[0]}'), which torch.save never does")
    return torch.load(path, map_location="cpu", weights_only=True)


def _why_refused(error: pickle.UnpicklingError, path: Path) -> str:
    """Say what torch would not unpickle, and how the weights get out of a checkpoint of PyTorch Lightning."""
    named = re.search(r"Unsupported global: GLOBAL ([\w.]+)", str(error))
    what = f"it holds {named[1]} beside tensors" if named else "damaged, or it holds more than tensors"
    words = f"{what}: pickled code is never run; save network.state_dict() alone"
    if named is None or path.suffix != ".ckpt":
        return words
    target = path.with_suffix(".pt").name
    return (
        f"{words}; of a PyTorch Lightning file that you trust: "
        f"torch.save(torch.load('{path}', weights_only=False)['state_dict'], '{target}')"
    )


def _check_values(given: Tensor, own: Tensor, where: str) -> None:
    """Raise WeightsError for complex numbers and for NaN or infinite ones, unless the network's own are so."""
    if given.is_complex() and not own.is_complex():
        raise WeightsError(f"{where} is complex ({given.dtype}), allowed: real numbers, as the network's {own.dtype}")
    values = given if given.is_complex() else given.float()  # isfinite does not know every type of 8 bits
    odd = int((~torch.isfinite(values)).sum())
    if odd and bool(torch.isfinite(own).all()):  # a buffer may be a mask of infinities
        raise WeightsError(
            f"{where} has {odd} of {given.numel()} values that are NaN or infinite, allowed: finite ones"
        )


def _listed(what: str, keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{len(keys)} {what} ({', '.join(keys[:3])}{more})" if keys else ""
