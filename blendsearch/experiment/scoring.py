"""Scoring a network by a criterion or a blend: known scores at first, fresh statistics once it was pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from blendsearch.blending import Blend, Scores
from blendsearch.compute import Compute
from blendsearch.criteria import measures_of, score_groups
from blendsearch.data.batches import Split
from blendsearch.statistics import gather
from blendsearch.statistics.ratings import Ratings
from blendsearch.statistics.relevance import PER_CLASS
from blendsearch.structure import Structure


def blended(blend: Blend, scores: Scores) -> dict[str, Tensor]:
    """Score groups by a blend; one of a single criterion or member is that one, with its scores as they are."""
    if len(blend.terms) > 1:
        return blend.score(scores)
    name = blend.terms[0]
    return dict(scores[name]) if name in scores else blended(blend.members[name], scores)


@dataclass
class BlendScorer:
    """Scores a network by a blend (a base criterion is a blend of one).

    known: scores of the network as it was when `structure` was read from it; any other network gets statistics of
    its own from the calibration split. ratings: of the filters of the unpruned network. group_rule: how the scores
    of coupled convolutions become one. relevance_per_class: images of each class for LRP; None: all.
    """

    blend: Blend
    known: Scores
    structure: Structure
    calibration: Split
    compute: Compute
    seed: int
    ratings: Ratings | None = None
    group_rule: str = "mean_rank"
    relevance_per_class: int | None = PER_CLASS

    def __call__(self, network: nn.Module, structure: Structure) -> dict[str, Tensor]:
        if structure is self.structure:
            return blended(self.blend, self.known)
        names: Sequence[str] = self.blend.criteria
        batches = self.calibration.batches(128)
        statistics = gather(
            network, structure, batches, measures_of(names, self.ratings),
            compute=self.compute, seed=self.seed, ratings=self.ratings,
            relevance_per_class=self.relevance_per_class,
        )  # fmt: skip
        return blended(self.blend, score_groups(structure, statistics, names, group_rule=self.group_rule))
