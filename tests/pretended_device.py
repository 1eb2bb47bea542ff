"""A CUDA device pretended on the CPU: tensors say they are there, and what crosses between it and the host is counted.

What runs on it gives the CPU's numbers, so that a path can be compared with the plain one; tensors of both sides in one
operation are the error that they are on a real device.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda:0")
aten = torch.ops.aten
INDEXING = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)


class OnDevice(Tensor):
    """A tensor that says it is on the device; its numbers lie in `here`."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> OnDevice:
        form = {"strides": here.stride(), "storage_offset": here.storage_offset(), "dtype": here.dtype}
        found: OnDevice = Tensor._make_wrapper_subclass(cls, here.shape, **form, device=DEVICE)
        found.here = here
        return found

    # Torch's own look for a driver before they do anything.
    def __getitem__(self, index: Any) -> OnDevice:
        _count_indices(index)
        return OnDevice(self.here[tree_map(_unwrapped, index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        _count_indices((index, value))
        self.here[tree_map(_unwrapped, index)] = _unwrapped(value)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
        found: Tensor = aten.contiguous.default(self, memory_format=memory_format)
        return found

    def copy_(self, other: Tensor, non_blocking: bool = False) -> Tensor:
        found: Tensor = aten.copy_.default(self, other, non_blocking)
        return found

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on the device, but no device is pretended any more")


class PretendedDevice(TorchDispatchMode):
    """Runs a block with the device there.

    reads: how often the host waited for a number or a tensor of the device. copies: how often one of the host's was
    copied to the device. launches: operations on the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE  # else torch looks for a driver at the first "cuda"
        self.reads, self.copies, self.launches = 0, 0, 0
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        flat = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
        there = [isinstance(one, OnDevice) for one in flat]
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        to_device = torch.device(asked).type == "cuda" if asked is not None else any(there)
        if func is aten._local_scalar_dense.default and any(there):
            self.reads += 1
        elif func in (aten._to_copy.default, aten.copy_.default):
            to_device = isinstance(args[0], OnDevice) if func is aten.copy_.default else to_device
            source = args[1] if func is aten.copy_.default else args[0]
            self.reads += isinstance(source, OnDevice) and not to_device
            self.copies += not isinstance(source, OnDevice) and to_device
        elif any(there):
            self._check(func, args, flat, there)
        if to_device:
            self.launches += 1
            self.operations[str(func)] += 1
        result = func(*tree_map(_unwrapped, args), **tree_map(_unwrapped, kwargs))
        return self._wrapped(func, args, result) if to_device else result

    def _check(self, func: Any, args: Any, flat: list[Tensor], there: list[bool]) -> None:
        """Raise for tensors of the host beside the device's, but for single numbers, which operations take along."""
        if func in INDEXING:
            assert isinstance(args[0], OnDevice), f"{func}: a tensor of the host indexed by one of the device"
            _count_indices(list(args[1]))
            return
        strangers = [one for one, on in zip(flat, there, strict=True) if not on and one.dim()]
        assert not strangers, f"{func}: tensors of the device and of the host {[tuple(one.shape) for one in strangers]}"

    def _wrapped(self, func: Any, args: Any, result: Any) -> Any:
        given = {id(one.here): one for one in tree_flatten(args)[0] if isinstance(one, OnDevice)}

        def wrapped(one: Any) -> Any:
            if not isinstance(one, Tensor):
                return one
            return given[id(one)] if id(one) in given else OnDevice(one)

        return tree_map(wrapped, result)


# The device that is there; at most one.
_PRESENT: list[PretendedDevice] = []


def _unwrapped(one: Any) -> Any:
    return one.here if isinstance(one, OnDevice) else one


def _count_indices(index: Any) -> None:
    """Count the tensors of the host by which one of the device is indexed: each is copied first, and waited for."""
    given = [one for one in tree_flatten(index)[0] if isinstance(one, Tensor)]
    _PRESENT[-1].copies += sum(not isinstance(one, OnDevice) for one in given)


@contextlib.contextmanager
def pretended_device() -> Iterator[PretendedDevice]:
    """Run a block with a pretended device "cuda:0" and yield what counts the crossings."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else parameters would lose what they hold
    try:
        with torch.backends.cudnn.flags(enabled=False), PretendedDevice() as device:  # its operations the CPU has not
            _PRESENT.append(device)
            yield device
    finally:
        _PRESENT.clear()
        torch.__future__.set_overwrite_module_params_on_conversion(before)
