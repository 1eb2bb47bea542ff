"""Bringing dropped filters back, pointing where neither they nor the filters that stayed have looked."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.compute import generator
from blendsearch.structure import Plan, Structure
from blendsearch.structure.slicing import channels_first, tensor_dims

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LayerNorm)
PARALLEL = 1e-7  # of the largest singular value: below it, rows add no direction of their own


def bring_back(network: nn.Module, structure: Structure, plan: Plan, seed: int) -> None:
    """Re-initialise, in place, the filters of a full network that `plan` drops; they hold their old values till now.

    Their convolution rows become orthogonal to the layer's surviving and old rows (see `fresh_directions`), as long
    as the mean surviving row. Biases become 0, batch norms 1 and 0 with mean 0 and variance 1, slopes of PReLU 0.25.
    Surviving filters of later layers read them with weight 0, so that the network computes at first what it computed
    without them (unless a normalisation over channels or a parameter-free shortcut lets them through); these weights
    have a gradient from the first step on, the filters themselves from the second. Free-standing parameters keep
    their old values. Source: Prakash et al., RePr, CVPR 2019, algorithm 1.
    """
    kept, _ = structure.kept_channels(network, plan)
    with torch.no_grad():
        for path, sides in kept.items():
            if "in" in sides:
                _ignore_inputs(network.get_submodule(path), sides["in"], sides.get("out"))
        for path, sides in kept.items():
            if "out" in sides:
                _renew(network.get_submodule(path), sides["out"], generator(seed, path))


def _ignore_inputs(module: nn.Module, kept_in: Tensor, kept_out: Tensor | None) -> None:
    """Set to zero what the surviving outputs of a convolution or linear layer read from returned inputs."""
    dims = (tensor_dims(module) or {}).get("weight", {})
    if "in" not in dims:
        return
    weight = module.get_parameter("weight")
    survivors = torch.arange(weight.shape[dims["out"]]) if kept_out is None else kept_out
    lost = _others(kept_in, weight.shape[dims["in"]])
    places = {dims["out"]: survivors[:, None].to(weight.device), dims["in"]: lost[None, :].to(weight.device)}
    weight[places[0], places[1]] = 0.0


def _renew(module: nn.Module, kept: Tensor, draws: torch.Generator) -> None:
    if isinstance(module, CONVOLUTIONS):
        _renew_rows(module, kept, draws)
    elif isinstance(module, NORMS):
        for name, value in {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}.items():
            _fill(getattr(module, name, None), kept, value)
    elif isinstance(module, nn.PReLU):
        _fill(module.weight, kept, 0.25)


def _renew_rows(module: nn.Conv2d | nn.ConvTranspose2d, kept: Tensor, draws: torch.Generator) -> None:
    view = channels_first(module, module.weight, "out")
    rows = view.detach().flatten(1).cpu().double()
    lost = _others(kept, len(rows))
    new = fresh_directions(rows[kept], rows[lost], draws) * rows[kept].norm(dim=1).mean()
    view[lost.to(view.device)] = new.reshape(len(lost), *view.shape[1:]).to(view.device, view.dtype)
    _fill(module.bias, kept, 0.0)


def _fill(tensor: Tensor | None, kept: Tensor, value: float) -> None:
    if tensor is not None:
        tensor[_others(kept, len(tensor)).to(tensor.device)] = value


def _others(kept: Tensor, size: int) -> Tensor:
    stays = torch.zeros(size, dtype=torch.bool)
    stays[kept] = True
    return (~stays).nonzero().flatten()


def fresh_directions(survivors: Tensor, old: Tensor, draws: torch.Generator) -> Tensor:
    """Return unit rows float64 [D, M] orthogonal to the rows `survivors` [S, M] and `old` [D, M] and to each other.

    They are drawn evenly from the null space of the given rows. When it has fewer than D dimensions, the rest get one
    after the other the direction that overlaps least with all rows so far, given and new: that of the smallest sum of
    squared cosines, the last right singular vector of the stacked normalised rows.
    """
    rows = F.normalize(torch.cat([survivors, old]).double(), dim=1)
    basis = _span(rows)
    free = min(len(old), rows.shape[1] - basis.shape[1])
    rows = torch.cat([rows, _drawn_outside(basis, free, draws)])
    for _ in range(len(old) - free):
        rows = torch.cat([rows, least_overlapping(rows)[None]])
    return rows[len(survivors) + len(old) :]


def least_overlapping(rows: Tensor) -> Tensor:
    """Return the unit vector [M] with the smallest sum of squared inner products with `rows` [N, M]."""
    return torch.linalg.eigh(rows.T @ rows).eigenvectors[:, 0]


def _span(rows: Tensor) -> Tensor:
    """Return an orthonormal basis [M, rank] of the span of `rows` [N, M]."""
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    return directions[sizes > PARALLEL * sizes.amax().clamp(min=1e-30)].T


def _drawn_outside(basis: Tensor, count: int, draws: torch.Generator) -> Tensor:
    """Return `count` orthonormal rows [count, M], drawn evenly from what is orthogonal to `basis` [M, rank]."""
    drawn = torch.randn(len(basis), count, generator=draws, dtype=torch.float64)
    for _ in range(2):  # once leaves rounding errors along the basis
        drawn = drawn - basis @ (basis.T @ drawn)
    return torch.linalg.qr(drawn).Q.T
