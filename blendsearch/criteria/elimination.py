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

from blendsearch.criteria.downdating import COMPACTED, Leaving, Systems
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
    readers' inputs or weights are none. turns: how many were dropped; all others have that as their place, and 0 as
    their error.
    """

    place: Tensor
    error: Tensor
    turns: int


@dataclass
class DropLoss:
    """The loss that dropping filters of one group causes in all layers that read it, each refitted.

    width: filters of the group. readers: at least one; their losses are summed.
    """

    width: int
    readers: Sequence[Reader]
    _systems: list[Systems] | None = field(default=None, repr=False)
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
        return _summed([one.losses() for one in self._solved()])

    def eliminate(
        self,
        alpha: float = 1.0,
        tilt: Tensor | None = None,
        *,
        turns: int | None = None,
        progress: Progress = silent,
    ) -> Elimination:
        """Drop all filters, or so many `turns` at least, one after the other.

        Each turn drops the filter with the least alpha * log(loss) + tilt; of equal ones the last, so that, as
        elsewhere, the lower index stays. tilt: [C], by default 0.
        """
        turns = self.width if turns is None else turns
        wish = torch.zeros(self.width, dtype=torch.double) if tilt is None else tilt.double()
        key = (alpha, wish.numpy().tobytes())
        if key not in self._known or self._known[key].turns < turns:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = _eliminate(self._solved(), self.width, alpha, wish, turns, progress)
        return self._known[key]

    def _solved(self) -> list[Systems]:
        """Return the inverses of the readers' Gram matrices beside their weights, those of one size together."""
        if self._systems is None:
            sizes: dict[int, list[tuple[Tensor, Tensor]]] = {}
            for reader in self.readers:
                sizes.setdefault(len(reader.gram), []).append(_inverted(reader))
            self._systems = [Systems.of(pairs, self.width) for pairs in sizes.values()]
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


def _inverted(reader: Reader) -> tuple[Tensor, Tensor]:
    return torch.cholesky_inverse(_factor(reader.gram.double())), reader.weights.double()


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


def _summed(losses: list[Tensor]) -> Tensor:
    return sum(losses[1:], losses[0])


def _eliminate(
    systems: list[Systems], width: int, alpha: float, wish: Tensor, turns: int, progress: Progress = silent
) -> Elimination:
    """Drop filter after filter, so many turns."""
    place, error = torch.full((width,), turns, dtype=torch.double), torch.zeros(width, dtype=torch.double)
    if not all(one.finite for one in systems):
        return Elimination(place * torch.nan, error * torch.nan, width)
    left, open_wish = torch.arange(width), wish.clone()
    leaving = [Leaving(one, turns) for one in systems]
    total = least = 0.0
    for turn in range(turns):
        loss = _summed([one.losses() for one in leaving])
        if turn == 0:
            least = max(NOTHING * float(loss.mean()), 1e-300)
        harm = alpha * loss.clamp(min=least).log() + open_wish
        gone = len(left) - 1 - int(harm.flip(0).argmin())
        total += float(loss[gone])
        place[left[gone]], error[left[gone]] = turn, total
        progress("elimination", turn + 1, turns)
        if turn + 1 == turns:
            break
        for one in leaving:
            one.drop(gone)
        open_wish[gone] = torch.inf
        if int(open_wish.isinf().sum()) * COMPACTED >= len(left):
            stays = open_wish.isfinite().nonzero().flatten()
            left, open_wish = left[stays], open_wish[stays]
            for one in leaving:
                one.keep(stays)
    return Elimination(place, error, turns)
