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
    flat = maps.flatten(0, -3)
    at_once = max(2**18 // (maps.shape[-1] * maps.shape[-2]), 1)  # what stays in the cache
    return torch.cat([_rank(part) for part in flat.split(at_once)]).reshape(maps.shape[:-2])


def _rank(maps: Tensor) -> Tensor:
    eps = torch.finfo(maps.dtype).eps * max(maps.shape[1:])
    rows = maps.double() if maps.shape[1] <= maps.shape[2] else maps.double().mT
    gram = rows @ rows.mT
    largest = torch.linalg.matrix_norm(gram)
    gram.diagonal(dim1=1, dim2=2).sub_((eps**2 * largest)[:, None])
    factor, pivots, _ = torch.linalg.ldl_factor_ex(gram)
    alone = pivots > 0
    pairs = (~alone).sum(1) // 2  # a 2 x 2 pivot has one eigenvalue of either sign
    return ((factor.diagonal(dim1=1, dim2=2) > 0) & alone).sum(1) + pairs


def nuclear_norm_shares(rows: Tensor) -> Tensor:
    """Return by how much the nuclear norm of each matrix [N, C, M] falls when one of its rows is zeroed: [N, C].

    Exact to about seven digits of the largest singular value, from one eigendecomposition of the smaller Gram matrix
    A^T A = V diag(l) V^T or A A^T, where C singular value decompositions would be the plain way. Removing row i
    leaves a principal submatrix of G = A A^T, and det(G_-i + t) / det(G + t) is the diagonal element i of
    (G + t)^-1 = (1 - sum_k p_ik / (l_k + t)) / t with p_ik = (A V)_ik^2, so that with
    sqrt(l) = 1/pi int_0^inf l / (l + t) t^(-1/2) dt the fall is

        2/pi int_0^inf  [sum_k p_ik u^2 / (l_k + u^2)^2] / [1 - sum_k p_ik / (l_k + u^2)]  du,

    an integrand in [0, 1] that the trapezoidal rule in log(u) sums with exponential convergence.
    """
    rows = rows.double()
    if rows.shape[1] <= rows.shape[2]:
        values, vectors = torch.linalg.eigh(rows @ rows.mT)
        parts = vectors.square() * values.clamp(min=0)[:, None] * (rows != 0).any(2, keepdim=True)
    else:
        values, vectors = torch.linalg.eigh(rows.mT @ rows)
        parts = (rows @ vectors).square()
    largest = values.amax(1)
    scale = torch.where(largest > 0, largest, 1.0)[:, None, None]
    values, parts = values.clamp(min=0)[:, :, None] / scale, parts / scale
    step, reach = 0.5, 8 * math.log(10)
    u = torch.arange(-reach, reach, step, dtype=torch.double, device=rows.device).exp()
    inverse = 1 / (values + u.square())  # [N, min(C, M), nodes]
    outer = parts @ (inverse.square() * u.square())
    inner = 1 - parts @ inverse
    ratio = torch.where(outer > 0, outer / inner.clamp(min=1e-300), 0.0).clamp(max=1)
    return 2 / math.pi * step * (ratio * u).sum(2) * scale[:, :, 0].sqrt()
