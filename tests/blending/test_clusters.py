"""Clustering against scipy's linkage, scikit-learn's silhouette and cases worked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.cluster.hierarchy
import scipy.spatial.distance
import scipy.stats
import torch
from sklearn.metrics import silhouette_score

from blendsearch.blending import Clusters, cluster, rank_all
from blendsearch.errors import BlendsearchError

# Two families and a loner. rho(a1, a2) = rho(b1, b2) = 0.9, and b1 is a1 turned round.
SCORES = {
    "a1": [1.0, 2, 3, 4, 5],
    "b1": [5.0, 4, 3, 2, 1],
    "a2": [1.0, 2, 3, 5, 4],
    "b2": [5.0, 4, 3, 1, 2],
    "loner": [3.0, 5, 1, 2, 4],
}
UNITS = {"network": ("conv",)}


def ranked(vectors):
    return rank_all({name: {"conv": torch.tensor(values)} for name, values in vectors.items()})


def as_sets(clusters):
    return {frozenset(members) for members in clusters}


def random_scores(seed, criteria=9, groups=(("g0", 12), ("g1", 7))):
    rng = np.random.default_rng(seed)
    base = {group: rng.normal(size=(3, width)) for group, width in groups}
    return {
        f"c{i}": {
            group: torch.tensor(base[group][i % 3] + 0.7 * rng.normal(size=width), dtype=torch.float32)
            for group, width in groups
        }
        for i in range(criteria)
    }


def mean_distances(scores):
    """1 - Spearman's rho by scipy, averaged over the groups."""
    matrices = [
        1 - scipy.stats.spearmanr(np.stack([one[group] for one in scores.values()]), axis=1).statistic
        for group in next(iter(scores.values()))
    ]
    return np.mean(matrices, axis=0)


@pytest.mark.parametrize("method", ["agglomerative", "kmeans"])
def test_families_worked_by_hand(method):
    found = cluster(ranked(SCORES), UNITS, unit="network", count=3, method=method)
    assert found.members["network"] == (("a1", "a2"), ("b1", "b2"), ("loner",))
    assert found.groups == {"network": ("conv",)}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_agglomerative_is_scipys_average_linkage(seed, count):
    scores = random_scores(seed)
    distances = mean_distances(scores)
    condensed = scipy.spatial.distance.squareform(distances, checks=False)
    tree = scipy.cluster.hierarchy.linkage(condensed, method="average")
    labels = scipy.cluster.hierarchy.fcluster(tree, count, criterion="maxclust")
    names = np.array(list(scores))
    expected = {frozenset(names[labels == label]) for label in np.unique(labels)}
    found = cluster(rank_all(scores), {"all": ("g0", "g1")}, unit="network", count=count)
    assert as_sets(found.members["all"]) == expected


@pytest.mark.parametrize("seed", range(5))
def test_auto_takes_the_greatest_silhouette(seed):
    scores = random_scores(seed)
    distances = mean_distances(scores).clip(min=0)
    np.fill_diagonal(distances, 0)
    ranks = rank_all(scores)
    names = list(scores)

    def silhouette(count):
        found = cluster(ranks, {"all": ("g0", "g1")}, unit="network", count=count).members["all"]
        labels = [next(i for i, members in enumerate(found) if name in members) for name in names]
        return silhouette_score(distances, labels, metric="precomputed")

    best = max(range(2, 6), key=silhouette)
    found = cluster(ranks, {"all": ("g0", "g1")}, unit="network", count="auto", max_count=5)
    assert len(found.members["all"]) == best


@pytest.mark.parametrize("method", ["agglomerative", "kmeans"])
def test_every_criterion_is_in_one_cluster_and_seeds_decide(method):
    ranks = rank_all(random_scores(3))
    units = {"first": ("g0",), "second": ("g1",)}
    found = cluster(ranks, units, unit="stage", method=method, seed=4)
    assert found == cluster(ranks, units, unit="stage", method=method, seed=4)
    for clusters in found.members.values():
        assert sorted(name for members in clusters for name in members) == sorted(ranks)
        assert 2 <= len(clusters) <= 6


@pytest.mark.parametrize("method", ["agglomerative", "kmeans"])
def test_each_makes_a_cluster_of_every_criterion(method):
    ranks = rank_all(random_scores(3))
    found = cluster(ranks, {"first": ("g0",), "second": ("g1",)}, unit="stage", count="each", method=method)
    assert all(sorted(clusters) == sorted((name,) for name in ranks) for clusters in found.members.values())


@pytest.mark.parametrize("method", ["agglomerative", "kmeans"])
@pytest.mark.parametrize("count", [1, 2, 3, "auto", "each"])
def test_criteria_that_rank_alike_are_never_parted(method, count):
    same = {"a": [1.0, 2, 3], "b": [10.0, 20, 30], "flat": [7.0, 7, 7], "flat_too": [0.0, 0, 0]}
    clusters = cluster(ranked(same), UNITS, unit="network", count=count, method=method).members["network"]
    assert len(clusters) <= 2
    assert any({"a", "b"} <= set(members) for members in clusters)
    assert any({"flat", "flat_too"} <= set(members) for members in clusters)


def test_auto_with_few_criteria():
    one = cluster(ranked({"a": [1.0, 2]}), UNITS, unit="network")
    two = cluster(ranked({"a": [1.0, 2], "b": [2.0, 1]}), UNITS, unit="network")
    alike = cluster(ranked({name: [1.0, 2] for name in "abc"}), UNITS, unit="network")
    assert one.members["network"] == (("a",),)
    assert two.members["network"] == (("a",), ("b",))
    assert alike.members["network"] == (("a", "b", "c"),)


def test_record_round_trip():
    found = cluster(ranked(SCORES), UNITS, unit="network")
    assert Clusters.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(BlendsearchError, match="not a clusters record"):
        Clusters.from_dict({"unit": "stage"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "kmean"}, "did you mean 'kmeans'"),
        ({"count": 0}, "clusters.count"),
        ({"count": 6}, "1 to 5"),
        ({"count": "many"}, "'auto', 'each' or"),
        ({"max_count": 0}, "clusters.max_count"),
    ],
)
def test_clear_errors(arguments, message):
    with pytest.raises(BlendsearchError, match=message):
        cluster(ranked(SCORES), UNITS, unit="network", **arguments)


def test_unscored_group_is_named():
    with pytest.raises(BlendsearchError, match="no scores for conv9"):
        cluster(ranked(SCORES), {"u": ("conv", "conv9")}, unit="stage")
