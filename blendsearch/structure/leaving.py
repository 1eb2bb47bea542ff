"""Which groups are left alone: those of given modules, and those that given modules read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from blendsearch.errors import StructureError, nearest
from blendsearch.structure.groups import Group


def leave_out(
    network: nn.Module,
    groups: Sequence[Group],
    refused: dict[str, str],
    scope: str,
    ignore: Sequence[str],
    ignore_inputs: Sequence[str],
) -> list[Group]:
    """Return the groups that are not left alone; name the others in `refused`, with the reason.

    Raises StructureError with the nearest path for modules that the network does not have.
    """
    check_modules(network, ignore, "structure.ignore")
    check_modules(network, ignore_inputs, "structure.ignore_inputs")
    kept = []
    for group in groups:
        touched = below(group.convolutions, ignore)
        readers = below((member.module for member in group.members if member.side == "in"), ignore_inputs)
        if touched:
            refused[group.name] = f"'{touched[0]}' is to be ignored"
        elif scope == "inner" and not group.inner:
            refused[group.name] = "a residual addition ties it and the scope is 'inner'"
        elif readers:
            refused[group.name] = f"'{readers[0]}' reads it, whose inputs are to be ignored"
        else:
            kept.append(group)
    return kept


def check_modules(network: nn.Module, given: Iterable[str], where: str) -> None:
    """Raise StructureError with the nearest path for a module path that the network does not have."""
    modules = {name for name, _ in network.named_modules()}
    for path in given:
        if path not in modules:
            close = nearest(path, modules)
            raise StructureError(
                f"{where}: the network has no module '{path}'" + (f"; did you mean '{close}'?" if close else "")
            )


def below(names: Iterable[str], paths: Sequence[str]) -> list[str]:
    """Return the names that are one of the module paths, or below one."""
    return [name for name in names if any(name == path or name.startswith(f"{path}.") for path in paths)]
