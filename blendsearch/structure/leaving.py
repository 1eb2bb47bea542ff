"""Which layers are left alone: the filters of given modules, and those that given modules read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from torch import nn

from blendsearch.errors import StructureError, nearest
from blendsearch.progress import Progress, silent
from blendsearch.structure.example import Forward, call
from blendsearch.structure.structure import Structure


def read_structure(
    network: nn.Module,
    example: Any,
    *,
    scope: str = "all",
    ignore: Sequence[str] = (),
    ignore_inputs: Sequence[str] = (),
    forward: Forward = call,
    progress: Progress = silent,
) -> Structure:
    """Read the structure of a network as `Structure.of` does, and leave alone what given modules read.

    ignore_inputs: module paths (or prefixes of paths) that keep all their input channels, so that all groups that
    they read stay whole. Raises StructureError for modules that there are not, and when nothing else can be pruned.
    """
    check_modules(network, ignore_inputs, "structure.ignore_inputs")
    structure = Structure.of(network, example, scope=scope, ignore=ignore, forward=forward, progress=progress)
    read = {
        group.name: readers for group in structure.groups if (readers := _readers(structure, group.name, ignore_inputs))
    }
    if not read:
        return structure
    # Read once more, as one that leaves them alone by name: so will be what is read of a pruned copy.
    whole = [conv for group in structure.groups if group.name in read for conv in group.convolutions]
    rest = Structure.of(network, example, scope=scope, ignore=[*ignore, *whole], forward=forward)
    rest.refused.update(
        {name: f"'{readers[0]}' reads it, whose inputs are to be ignored" for name, readers in read.items()}
    )
    return rest


def check_modules(network: nn.Module, given: Iterable[str], where: str) -> None:
    """Raise StructureError with the nearest path for a module path that the network does not have."""
    modules = {name for name, _ in network.named_modules()}
    for path in given:
        if path not in modules:
            close = nearest(path, modules)
            raise StructureError(
                f"{where}: the network has no module '{path}'" + (f"; did you mean '{close}'?" if close else "")
            )


def _readers(structure: Structure, group: str, modules: Collection[str]) -> list[str]:
    inputs = (member.module for member in structure.group(group).members if member.side == "in")
    return [name for name in inputs if any(name == path or name.startswith(f"{path}.") for path in modules)]


def check_fits(structure: Structure, network: nn.Module) -> None:
    """Raise StructureError when a structure was not read from a network of these layers and widths."""
    modules = dict(network.named_modules())
    for name in structure.trace.order:
        module = modules.get(name)
        if module is None:
            close = nearest(name, modules)
            raise StructureError(
                f"structure: the network has no module '{name}'" + (f" (the nearest is '{close}')" if close else "")
            )
        for side, shape in (("output", structure.trace.output_shape), ("input", structure.trace.input_shape)):
            own, read = _channels(module, side), shape[name][1 if len(shape[name]) == 4 else -1]
            if own is not None and own != read:
                raise StructureError(
                    f"structure: '{name}' has {own} {side} channels in the network, {read} where it was read; "
                    "read it anew with Structure.of(model, images)"
                )


def _channels(module: nn.Module, side: str) -> int | None:
    """Return the channels of a convolution or linear layer on one side; None for other modules."""
    if isinstance(module, nn.Linear):
        return module.out_features if side == "output" else module.in_features
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return module.out_channels if side == "output" else module.in_channels
    return None
