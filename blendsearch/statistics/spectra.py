"""Matrix rank and nuclear norm of many small matrices at once, without a singular value decomposition of each."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def matrix_rank(maps: Tensor) -> Tensor:
    """Return the number of singular values above max(H, W) eps times the largest one, of matrices [..., H, W].

    By Sylvester's law of inertia it is the number of positive pivots in the LDL decomposition of the Gram matrix
    minus the squared threshold, a third of the cost of the singular values. Float64 holds the squares of
    what float32 maps tell apart. The largest singular value is taken as the fourth root of the sum of the
    singular values' fourth powers.
    """
    eps = torch.finfo(maps.dtype).eps * max(maps.shape[-2:])
    flat = maps.flatten(0, -3).double()
    gram = flat @ flat.mT if maps.shape[-2] <= maps.shape[-1] else flat.mT @ flat
    largest = gram.square().sum((1, 2)).sqrt()
    gram.diagonal(dim1=1, dim2=2).sub_((eps**2 * largest)[:, None])
    factor, pivots, _ = torch.linalg.ldl_factor_ex(gram)
    alone = pivots > 0
    pairs = (~alone).sum(1) // 2  # a 2 x 2 pivot has one eigenvalue of either sign
    positive = ((factor.diagonal(dim1=1, dim2=2) > 0) & alone).sum(1)
    return (positive + pairs).reshape(maps.shape[:-2])


def nuclear_norm_shares(rows: Tensor) -> Tensor:
    """Return by how much the nuclear norm of each matrix [N, C, M] falls when one of its rows is zeroed: [N, C].

    Exact to about seven digits from one eigendecomposition of the Gram matrix G = Q diag(l) Q^T, where C singular
    value decompositions would be the plain way. Removing row i leaves a principal submatrix of G, and
    det(G_-i + t) / det(G + t) is the diagonal element i of (G + t)^-1, so that with sqrt(l) = 1/pi int
    l / (l + t) t^(-1/2) dt the fall is

        2/pi int_0^inf  [sum_k q_ik^2 l_k / (l_k + u^2)^2] / [sum_k q_ik^2 / (l_k + u^2)]  du,

    and the trapezoidal rule in log(u) converges exponentially.
    """
    rows = rows.double()
    values, vectors = torch.linalg.eigh(rows @ rows.mT)
    values = values.clamp(min=0)
    scale = values.amax(1)
    scale = torch.where(scale > 0, scale, 1.0)
    values, squares = values / scale[:, None], vectors.square()
    step = 0.5
    nodes = torch.arange(-16 * math.log(10) / 2, 16 * math.log(10) / 2, step, dtype=torch.double, device=rows.device)
    u = nodes.exp()
    inverse = 1 / (values[:, :, None] + u.square())  # [N, C, nodes]
    ratio = squares @ (values[:, :, None] * inverse.square()) / (squares @ inverse)
    return 2 / math.pi * step * (ratio * u).sum(2) * scale[:, None].sqrt()
