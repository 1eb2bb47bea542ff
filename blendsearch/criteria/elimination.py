"""Backward elimination with refit: what dropping one more filter costs, given those already dropped.

For a layer that reads the group, with H the covariance of what it sees and W its weights [rows, outputs], dropping
filter j (its rows) and refitting the other rows by least squares raises the weighted squared error by

    m_j = tr(W_j^T [(H^-1)_jj]^-1 W_j G),   G = diag of the outputs' importance,

after which W -= (H^-1)_:j [(H^-1)_jj]^-1 W_j and H^-1 -= (H^-1)_:j [(H^-1)_jj]^-1 (H^-1)_j:, and so on.
Sources: Hassibi & Stork, Optimal Brain Surgeon, NIPS 1993; Frantar & Alistarh, Optimal Brain Compression, NeurIPS 2022;
Kurtic et al., ZipLM, NeurIPS 2023 (blocks of rows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blendsearch.progress import Progress, silent
from blendsearch.statistics import Statistics
from blendsearch.structure import Group, Structure

RIDGE = 1e-3
"""Share of the Gram matrix's mean diagonal that is added to its diagonal, as compensation does by default."""

NOTHING = 1e-12
"""A loss below this share of the mean over the group counts as this much: its logarithm must be finite."""

REMEMBERED = 20_000
"""Eliminations of one group that are remembered; a search asks for the same ones again and again."""

NEEDS = ("activations.reader_gram", "weights.readers", "gradients.reader_outputs")
"""What statistics must hold for a `DropLoss`; the last only where outputs are weighted by Fisher information."""


@dataclass(frozen=True)
class Reader:
    """One layer that reads a group: gram [D, D] of its inputs, and its weights [D, N], each scaled by its importance.

    D = filters x rows of each filter. importance [C_out]: Fisher information of its outputs, where that weighs them.
    """

    gram: Tensor
    weights: Tensor
    importance: Tensor | None = None


@dataclass(frozen=True)
class Elimination:
    """What became of each filter: its place, 0 for the first to go, and the error once it had gone; float64 [C].

    error: of everything that reads the group, without the filter and all that went before it. Not a number where the
    readers' inputs or weights are none.
    """

    place: Tensor
    error: Tensor


@dataclass
class DropLoss:
    """The loss that dropping filters of one group causes in all layers that read it, each refitted.

    width: filters of the group. readers: at least one; their losses are summed.
    """

    width: int
    readers: Sequence[Reader]
    _systems: list[Tensor] | None = field(default=None, repr=False)
    _known: dict[tuple[float, bytes], Elimination] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[type[DropLoss], tuple[int, Sequence[Reader]]]:
        """Travel to other processes without what is worked out from the readers."""
        return DropLoss, (self.width, self.readers)

    @classmethod
    def of(cls, group: Group, statistics: Statistics, *, fisher: bool = True) -> DropLoss:
        """Return the loss of a group from its statistics, with Fisher-weighted outputs, or each reader by its energy.

        Without the Fisher information readers have different units; each is then divided by what it gives in all.
        """
        layers = statistics.layers
        readers = []
        for key in reader_keys(group, statistics):
            gram, weights, importance = layers[NEEDS[0]][key], layers[NEEDS[1]][key], None
            if fisher:
                importance = layers[NEEDS[2]][key]
                weights = weights * importance.sqrt().repeat(weights.shape[1] // len(importance))
            else:
                energy = (weights.double() * (gram.double() @ weights.double())).sum()
                weights = weights / energy.sqrt().clamp(min=1e-30).float()
            readers.append(Reader(gram, _fewest_columns(weights), importance))
        return cls(group.width, readers)

    def losses(self) -> Tensor:
        """Return what dropping each filter alone would cost after a refit: float64 [C]."""
        systems = self._solved()
        return sum((_drop_losses(system, self.width) for system in systems[1:]), _drop_losses(systems[0], self.width))

    def eliminate(self, alpha: float = 1.0, tilt: Tensor | None = None, *, progress: Progress = silent) -> Elimination:
        """Drop all filters, one after the other.

        Each turn drops the filter with the least alpha * log(loss) + tilt; of equal ones the last, so that, as
        elsewhere, the lower index stays. tilt: [C], by default 0.
        """
        wish = torch.zeros(self.width, dtype=torch.double) if tilt is None else tilt.double()
        key = (alpha, wish.numpy().tobytes())
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = _eliminate(self._solved(), self.width, alpha, wish, progress)
        return self._known[key]

    def _solved(self) -> list[Tensor]:
        """Return, for each reader, the inverse of its Gram matrix beside its weights, [D, D + N] float64."""
        if self._systems is None:
            self._systems = [_inverted(reader) for reader in self.readers]
        return self._systems


DropLosses = Mapping[str, DropLoss]
"""group -> what dropping its filters costs."""


def drop_losses(structure: Structure, statistics: Statistics) -> dict[str, DropLoss]:
    """Return the Fisher-weighted loss of every group that some layer reads."""
    readable = [group for group in structure.groups if reader_keys(group, statistics)]
    return {group.name: DropLoss.of(group, statistics) for group in readable}


def reader_keys(group: Group, statistics: Statistics) -> list[str]:
    """Return the keys of the layers that read a group."""
    return [key for key in statistics.layers.get(NEEDS[0], {}) if key.rpartition("#")[0] == group.name]


def _fewest_columns(weights: Tensor) -> Tensor:
    """Return weights [D, at most D] with the same products W W^T, which are all that the losses look at."""
    rows, columns = weights.shape
    return weights if columns <= rows else torch.linalg.qr(weights.double().T, mode="r").R.T.float()


def _inverted(reader: Reader) -> Tensor:
    return torch.cat([torch.cholesky_inverse(_factor(reader.gram.double())), reader.weights.double()], dim=1)


def _factor(gram: Tensor) -> Tensor:
    """Return the Cholesky factor of a Gram matrix with a ridge, as high a one as its rounding errors ask for.

    Not a number where the matrix holds such.
    """
    strength = (RIDGE * gram.diagonal().mean()).clamp(min=1e-12)
    if not bool(gram.isfinite().all()):
        return torch.full_like(gram, torch.nan)
    while True:
        factor, failed = torch.linalg.cholesky_ex(gram + strength * torch.eye(len(gram), dtype=torch.double))
        if not failed:
            return factor
        strength = strength * 10


def _drop_losses(system: Tensor, filters: int) -> Tensor:
    """Return m [filters] of the filters that are left in a system [D, D + N]."""
    rows = len(system)
    size = rows // filters
    inverse = system[:, :rows].unflatten(1, (filters, size)).unflatten(0, (filters, size))
    blocks = inverse.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [filters, size, size]
    weights = system[:, rows:].unflatten(0, (filters, size))
    if size == 1:
        return weights.square().sum((1, 2)) / blocks[:, 0, 0]
    factor = torch.linalg.cholesky(blocks)
    return torch.linalg.solve_triangular(factor, weights, upper=False).square().sum((1, 2))


def _eliminate(
    systems: list[Tensor], width: int, alpha: float, tilt: Tensor, progress: Progress = silent
) -> Elimination:
    """Drop filter after filter; what is gone leaves the systems too, so that each turn costs less."""
    place, error = torch.zeros(width, dtype=torch.double), torch.zeros(width, dtype=torch.double)
    if not all(bool(system.isfinite().all()) for system in systems):
        return Elimination(place * torch.nan, error * torch.nan)
    left, wish, total, least = torch.arange(width), tilt, 0.0, 0.0
    for turn in range(width):
        loss = sum((_drop_losses(system, len(left)) for system in systems[1:]), _drop_losses(systems[0], len(left)))
        if turn == 0:
            least = max(NOTHING * float(loss.mean()), 1e-300)
        harm = alpha * loss.clamp(min=least).log() + wish
        gone = len(left) - 1 - int(harm.flip(0).argmin())
        total += float(loss[gone])
        place[left[gone]], error[left[gone]] = turn, total
        stays = torch.arange(len(left)) != gone
        systems = [_without(system, gone, stays) for system in systems]
        left, wish = left[stays], wish[stays]
        progress("elimination", turn + 1, width)
    return Elimination(place, error)


def _without(system: Tensor, gone: int, stays: Tensor) -> Tensor:
    """Return the system after a filter was dropped and the others were refitted."""
    rows = len(system)
    size = rows // len(stays)
    own = slice(gone * size, (gone + 1) * size)
    kept = stays.repeat_interleave(size)
    pivot = system[own]
    rest = system[kept]
    rest = rest.addmm(rest[:, own], torch.linalg.solve(pivot[:, own], pivot), alpha=-1)
    return torch.cat([rest[:, : own.start], rest[:, own.stop :]], dim=1)
