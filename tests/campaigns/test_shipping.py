"""Which network a campaign ships: by the search images, among nearly equal ones by the proxy."""

import pytest

from blendsearch.campaigns.search.shipping import choose_winner
from blendsearch.results.records.retraining import RetrainingOutcome


def outcomes(**accuracies):
    return [
        RetrainingOutcome(
            name=name, kind="blend" if name == "blend" else "criterion", seed=seed,
            search_accuracy=value, test_accuracy=0.5, flops_ratio=0.5, params_ratio=0.5,
        )
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("accuracies", "proxies", "wins"),
    [
        ({"blend": [0.80], "l1": [0.90]}, {"blend": 0.9, "l1": 0.1}, "l1"),  # ten points are no chance
        ({"blend": [0.895], "l1": [0.90]}, {"blend": 0.9, "l1": 0.1}, "blend"),  # 0.5 of 0.95 points of standard error
        ({"blend": [0.889], "l1": [0.90]}, {"blend": 0.9, "l1": 0.1}, "l1"),
        ({"blend": [0.9], "l1": [0.9]}, {"blend": 0.5, "l1": 0.5}, "blend"),
        ({"blend": [0.80, 0.99], "l1": [0.89, 0.91]}, {"blend": 0.1, "l1": 0.2}, "l1"),  # by the mean over the seeds
    ],
)
def test_nearly_equal_ones_are_told_apart_by_the_proxy(accuracies, proxies, wins):
    assert choose_winner(outcomes(**accuracies), proxies, images=1000).name == wins
