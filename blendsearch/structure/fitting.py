"""Whether a structure that is known already is that of a given network."""

from __future__ import annotations

from torch import nn

from blendsearch.errors import StructureError, nearest
from blendsearch.structure.structure import Structure


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
            own = _channels(module, side)
            if own is None:
                continue
            read = shape[name][-1 if isinstance(module, nn.Linear) else 1]
            if own != read:
                raise StructureError(
                    f"structure: '{name}' has {own} {side} channels in the network, {read} where it was read; "
                    "read it anew with Structure.of(model, images)"
                )


def _channels(module: nn.Module, side: str) -> int | None:
    """Return the channels of a convolution or linear layer on one side; None for other modules.

    A linear layer has them last whatever its input is, [N, C] or a map [N, H, W, C].
    """
    if isinstance(module, nn.Linear):
        return module.out_features if side == "output" else module.in_features
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return module.out_channels if side == "output" else module.in_channels
    return None
