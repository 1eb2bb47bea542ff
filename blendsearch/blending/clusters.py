"""Groups of criteria that rank filters alike, found unit by unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from blendsearch.blending.ranks import Scores, spearman
from blendsearch.errors import BlendsearchError, quoted, unknown_name
from blendsearch.plain import State, Unchecked

SAME = 1e-9
"""Distances up to this count as no difference: ranks are float32."""


@dataclass(frozen=True)
class Clusters:
    """Which criteria rank alike, for every unit that shares one set of genes.

    unit: "network", "stage" or "layer". groups: unit name -> its groups. members: unit name -> its clusters,
    each a tuple of criteria; within a unit every criterion is in exactly one cluster.
    """

    unit: str
    groups: dict[str, tuple[str, ...]]
    members: dict[str, tuple[tuple[str, ...], ...]]

    def to_dict(self) -> State:
        """Return plain lists and strings for JSON."""
        return {
            "unit": self.unit,
            "groups": {unit: list(groups) for unit, groups in self.groups.items()},
            "members": {unit: [list(one) for one in clusters] for unit, clusters in self.members.items()},
        }

    @classmethod
    def from_dict(cls, data: Unchecked) -> Clusters:
        """Read what `to_dict` returned; raises BlendsearchError when a part is missing or of another form."""
        try:
            return cls(
                unit=str(data["unit"]),
                groups={unit: tuple(groups) for unit, groups in data["groups"].items()},
                members={unit: tuple(tuple(one) for one in clusters) for unit, clusters in data["members"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            kind = type(error).__name__
            raise BlendsearchError(f"clusters: not a clusters record ({kind}: {error})") from None


def cluster(
    ranked: Scores,
    units: Mapping[str, tuple[str, ...]],
    *,
    unit: str,
    count: int | str = "auto",
    method: str = "agglomerative",
    max_count: int = 6,
    seed: int = 0,
) -> Clusters:
    """Cluster the criteria of every unit by how they rank its filters.

    ranked: what `rank_all` returns. units: unit name -> its groups. count: clusters a unit, "each" for as many as there
    are criteria, or "auto" for the number between 2 and `max_count` with the greatest silhouette (the smaller one on
    equal terms).
    method: "agglomerative" (average linkage on 1 - Spearman's rho, mean over the unit's groups) or "kmeans"
    (on the concatenated ranks; the seed places the first centres). Criteria that rank exactly alike are never
    parted, so a unit may have fewer clusters than `count`. Clusters and members keep the order of `ranked`.
    Raises BlendsearchError for an unknown method, an impossible count, or groups that were not scored.
    Source: He et al., 2021 (arXiv 2107.05033), criteria clustering; Rousseeuw, 1987 (silhouette).
    """
    if method not in METHODS:
        raise unknown_name("clustering method", method, METHODS, "clusters.method")
    _check_count(count, max_count, len(ranked))
    _check_groups(ranked, units)
    members = {}
    if count == "each":
        count = len(ranked)
    for name, groups in units.items():
        view = METHODS[method](ranked, groups, seed)
        labels = _best_labels(view, max_count) if count == "auto" else view.labels(int(count))
        members[name] = _members(tuple(ranked), labels)
    return Clusters(unit, {name: tuple(groups) for name, groups in units.items()}, members)


class RankDistances:
    """Average linkage on the mean over groups of 1 - Spearman's rho."""

    def __init__(self, ranked: Scores, groups: tuple[str, ...], seed: int) -> None:
        matrices = [spearman(torch.stack([scores[group] for scores in ranked.values()])) for group in groups]
        self.distances = (1.0 - torch.stack(matrices).mean(dim=0)).clamp(min=0.0).numpy()
        self.distances[self.distances < SAME] = 0.0
        self.distinct = len(np.unique(self.distances == 0.0, axis=0))

    def labels(self, count: int) -> np.ndarray:
        """Return one label a criterion, at most `count` different ones."""
        count = min(count, self.distinct)
        if count == 1:
            return np.zeros(len(self.distances), dtype=int)
        from sklearn.cluster import AgglomerativeClustering  # 86 MB that workers, who do not cluster, can do without

        model = AgglomerativeClustering(n_clusters=count, metric="precomputed", linkage="average")
        return model.fit_predict(self.distances)

    def silhouette(self, labels: np.ndarray) -> float:
        """Return the mean silhouette of the labels."""
        from sklearn.metrics import silhouette_score

        return float(silhouette_score(self.distances, labels, metric="precomputed"))


class RankVectors:
    """k-means on the ranks of all the unit's filters, concatenated."""

    def __init__(self, ranked: Scores, groups: tuple[str, ...], seed: int) -> None:
        rows = [torch.cat([scores[group] for group in groups]) for scores in ranked.values()]
        self.vectors = torch.stack(rows).double().numpy()
        self.distinct = len(np.unique(self.vectors, axis=0))
        self.seed = seed % 2**32

    def labels(self, count: int) -> np.ndarray:
        """Return one label a criterion, at most `count` different ones."""
        from sklearn.cluster import KMeans

        count = min(count, self.distinct)
        return KMeans(n_clusters=count, n_init=10, random_state=self.seed).fit_predict(self.vectors)

    def silhouette(self, labels: np.ndarray) -> float:
        """Return the mean silhouette of the labels."""
        from sklearn.metrics import silhouette_score

        return float(silhouette_score(self.vectors, labels))


METHODS: dict[str, type[RankDistances] | type[RankVectors]] = {
    "agglomerative": RankDistances,
    "kmeans": RankVectors,
}


def _best_labels(view: RankDistances | RankVectors, max_count: int) -> np.ndarray:
    criteria = len(view.labels(1))
    # A silhouette needs 2 clusters at least and one cluster of two; below that there is nothing to choose.
    counts = range(2, min(max_count, criteria - 1, view.distinct) + 1)
    if not counts:
        return view.labels(min(max_count, view.distinct))
    candidates = [view.labels(count) for count in counts]
    return max(candidates, key=lambda labels: round(view.silhouette(labels), 12))


def _members(criteria: tuple[str, ...], labels: np.ndarray) -> tuple[tuple[str, ...], ...]:
    found: dict[int, list[str]] = {}
    for criterion, label in zip(criteria, labels.tolist(), strict=True):
        found.setdefault(label, []).append(criterion)
    return tuple(tuple(one) for one in found.values())


def _check_count(count: int | str, max_count: int, criteria: int) -> None:
    if criteria == 0:
        raise BlendsearchError("clusters: no criteria given, at least one expected")
    if count == "auto":
        if max_count < 1:
            raise BlendsearchError(f"clusters.max_count: {max_count} given, at least 1 expected")
    elif count != "each" and not (isinstance(count, int) and 1 <= count <= criteria):
        raise BlendsearchError(
            f"clusters.count: {quoted(count)} given, 'auto', 'each' or 1 to {criteria} (the criteria) allowed"
        )


def _check_groups(ranked: Scores, units: Mapping[str, tuple[str, ...]]) -> None:
    for unit, groups in units.items():
        if not groups:
            raise BlendsearchError(f"clusters: unit '{unit}' has no groups")
        for criterion, scores in ranked.items():
            missing = [group for group in groups if group not in scores]
            if missing:
                names = ", ".join(missing)
                raise BlendsearchError(f"clusters: unit '{unit}': criterion '{criterion}' has no scores for {names}")
