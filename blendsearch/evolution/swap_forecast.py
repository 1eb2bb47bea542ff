"""What single filters are likely to change, swapped or moved, all at once: by refitted layers' slopes and curvatures.

With S the filters that stay, a reader's refit is a ridge regression on them. A filter that goes, and one that comes,
change its weights in closed form; how the loss follows is its slope in these weights, to first order, and to second the
squared error that the reader is left with, each output counting as the loss curves with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from blendsearch.statistics.readers import readers_of, taps_apart
from blendsearch.structure import Group, Plan
from blendsearch.structure.groups import Member
from blendsearch.training.sensitivity import Sensitivity

NEAREST = 24
"""So many filters that stay, and that go, are paired with each other in each group: those that cost least to lose, and
that bring most."""
ERROR_WEIGHT = 10.0
"""What a unit of weighted squared error counts beside a unit of slope, where filters are put in order by both."""


@dataclass(frozen=True)
class SwapTable:
    """What the swaps of a group's filters `gone` [K] for `come` [L] are likely to change the loss by, times minus one.

    slope [K, L]: to first order. error [K, L]: by how much less the readers miss their targets, each output's squared
    error weighted by the curvature; it lacks the factor that makes it a second-order term, which depends on the loss.
    """

    gone: np.ndarray
    come: np.ndarray
    slope: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class Ends:
    """What each filter of a group is likely to change the loss by, times minus one, if it alone leaves or comes.

    stay [S], out [L]: their numbers. lost [S, 2]: of each of those who stay, if it leaves; gained [L, 2]: of each of
    those who are out, if it comes. Slope and error, see `SwapTable`.
    """

    stay: np.ndarray
    out: np.ndarray
    lost: np.ndarray
    gained: np.ndarray


def forecast_ends(
    network: nn.Module, groups: Sequence[Group], plan: Plan, found: Mapping[str, Sensitivity]
) -> dict[str, Ends]:
    """Return group -> what its filters are worth one by one, for groups as in `forecast_swaps`, which lose some."""
    ends = {}
    for group, kept, readers in _foreseeable(network, groups, plan, found):
        lost, gained = (np.sum(of, axis=0) for of in zip(*((r.lost(), r.gained()) for r in readers), strict=True))
        ends[group.name] = Ends(np.array(kept), np.array(readers[0].left), lost, gained)
    return ends


def forecast_swaps(
    network: nn.Module,
    groups: Sequence[Group],
    plan: Plan,
    found: Mapping[str, Sensitivity],
    nearest: int = NEAREST,
) -> dict[str, SwapTable]:
    """Return group -> table, for those that lose filters and all of whose readers are known and narrow enough.

    None either where rounding leaves a reader's regression without a Cholesky factor.

    network: the unpruned one. found: layer -> sensitivity under the plan. nearest: see NEAREST.
    What a shortcut without weights hands on to another group is left out.
    """
    return {
        group.name: _table(readers, kept, group.width, nearest)
        for group, kept, readers in _foreseeable(network, groups, plan, found)
    }


def _foreseeable(
    network: nn.Module, groups: Sequence[Group], plan: Plan, found: Mapping[str, Sensitivity]
) -> Iterator[tuple[Group, Sequence[int], list[_Reader]]]:
    """Yield the groups that have a forecast, with the filters that stay and with those who read them."""
    for group in groups:
        kept = plan.keep[group.name]
        if len(kept) < group.width and (readers := _readers(network, group, found, kept)):
            yield group, kept, readers


def _readers(network: nn.Module, group: Group, found: Mapping[str, Sensitivity], kept: Sequence[int]) -> list[_Reader]:
    """Return the readers of a group; none where one of them has no forecast."""
    readers = []
    for _, member in readers_of(network, group):
        one = found.get(member.module)
        counts = np.bincount(member.root, minlength=group.width)
        if one is None or counts.min() != counts.max() or taps_apart(len(one.start)):
            return []
        try:
            readers.append(_Reader(one, member, group.width, kept))
        except torch.linalg.LinAlgError:
            return []
    return readers


def _table(readers: Sequence[_Reader], kept: Sequence[int], width: int, nearest: int) -> SwapTable:
    left = [number for number in range(width) if number not in set(kept)]
    gone, come = np.array(kept), np.array(left)
    if len(gone) > nearest:
        losses = np.sum([reader.lost() for reader in readers], axis=0) @ (-1, -ERROR_WEIGHT)
        gone = np.sort(gone[np.argsort(losses, kind="stable")[:nearest]])
    if len(come) > nearest:
        gains = np.sum([reader.gained() for reader in readers], axis=0) @ (1, ERROR_WEIGHT)
        come = np.sort(come[np.argsort(-gains, kind="stable")[:nearest]])
    tables = [reader.swaps(gone, come) for reader in readers]
    slope, error = (np.sum(of, axis=0) for of in zip(*tables, strict=True))
    return SwapTable(gone, come, slope, error)


class _Reader:
    """A layer that reads a group's filters, in double precision: the state of its regression on those that stay."""

    def __init__(self, found: Sensitivity, member: Member, width: int, kept: Sequence[int]) -> None:
        moments, start = found.moments, found.start.double().cpu()
        taps = len(start) // len(found.left)
        channels = torch.tensor(member.index)[torch.tensor(member.root).argsort(stable=True)].reshape(width, -1)
        # rows [width, readings x taps]: those that a filter has among the layer's inputs
        self.rows = torch.cat([channels + len(found.left) * tap for tap in range(taps)], 1)
        stay = found.left.cpu().repeat(taps).nonzero().flatten()
        gram = moments.gram.double().cpu()
        strength = found.ridge * gram.diagonal()[stay].mean().clamp(min=1e-12)
        gram = gram + strength * torch.eye(len(gram), dtype=torch.double)
        cross = moments.cross.double().cpu() + strength * start
        slope, self.curvature = found.slope.double().cpu(), found.curvature.double().cpu()
        self.place = torch.full((len(gram),), -1).index_put((stay,), torch.arange(len(stay)))
        self.kept, self.left = list(kept), [number for number in range(width) if number not in set(kept)]
        come = self.rows[self.left].flatten()
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram[stay][:, stay]))
        self.weights = self.inverse @ cross[stay]
        self.slopes = self.inverse @ slope[stay]
        beside = gram[stay][:, come]
        self.told = self.inverse @ beside  # [S, L x rows]: who comes, as far as those who stay tell it
        self.missing = cross[come] - beside.T @ self.weights
        self.missing_slope = slope[come] - self.told.T @ slope[stay]
        own = torch.stack([gram[rows][:, rows] for rows in self.rows[self.left]])
        self.count = self.rows.shape[1]
        self.own = own - torch.einsum("snp,snq->npq", self._filters(beside), self._filters(self.told))

    def _filters(self, columns: Tensor) -> Tensor:
        """View what has a column for each row of those who may come as [..., L, rows]."""
        return columns.reshape(len(columns), len(self.left), -1)

    def lost(self) -> np.ndarray:
        """Return slope and error of each of those who stay, [S, 2], if it leaves."""
        return np.array([self._lost(filter)[2:] for filter in self.kept])

    def gained(self) -> np.ndarray:
        """Return slope and error of each of those who are out, [L, 2], if it comes."""
        return np.stack(self._gained(self.missing, self.missing_slope, self.own), 1)

    def swaps(self, gone: np.ndarray, come: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return slope and error of a table, [K, L] each."""
        among = torch.tensor([self.left.index(filter) for filter in come.tolist()])
        columns = (among[:, None] * self.count + torch.arange(self.count)).flatten()
        told, missing, missing_slope = self.told[:, columns], self.missing[columns], self.missing_slope[columns]
        slopes, errors = [], []
        for filter in gone.tolist():
            places, block, slope, error = self._lost(filter)
            seen = told[places]
            changed = block @ self.weights[places]
            by_filter = seen.reshape(self.count, len(among), self.count)
            gained = self._gained(
                missing + seen.T @ changed,
                missing_slope + seen.T @ (block @ self.slopes[places]),
                self.own[among] + torch.einsum("anp,ab,bnq->npq", by_filter, block, by_filter),
            )
            slopes.append(gained[0] + slope)
            errors.append(gained[1] + error)
        return np.stack(slopes), np.stack(errors)

    def _lost(self, filter: int) -> tuple[Tensor, Tensor, float, float]:
        """Return a filter's places, the inverse of its block of the inverse, and what its loss changes: slope, error.

        The regression without it: weights less inverse[:, places] @ block @ weights[places].
        """
        places = self.place[self.rows[filter]]
        block = torch.linalg.inv(self.inverse[places][:, places])
        weights = self.weights[places]
        changed = block @ weights
        slope = float((self.slopes[places] * changed).sum())
        error = -float(((weights * changed).sum(0) * self.curvature).sum())
        return places, block, slope, error

    def _gained(self, missing: Tensor, missing_slope: Tensor, own: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return by how much filters that come lower the loss: slope and error, [L] each.

        missing [L x rows, C_out]: what they have in common with what is missed yet. own [L, rows, rows]: what nobody
        who stays tells of them.
        """
        missing = missing.reshape(len(own), self.count, -1)
        weights = torch.linalg.solve(own, missing)
        slope = -(missing_slope.reshape(missing.shape) * weights).sum((1, 2))
        error = (missing * weights * self.curvature).sum((1, 2))
        return slope.numpy(), error.numpy()
