"""The decision at the head of a campaign's page."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
from fake_run import make_run

from blendsearch.reports.pages.shipping import decide
from blendsearch.results.outcomes import results
from blendsearch.results.records.search import Shipped
from blendsearch.results.runs import read_search_run


def shipping(run, name, best):
    """Return the run with the worst of a contender's networks as the one to ship."""
    means = {one.name: one.test_accuracy for one in results(run)}
    own = next(one for one in results(run) if one.name == name)
    shipped = Shipped(
        name=name, kind="blend" if name == "blend" else "criterion", candidates=3, search_accuracy=0.9,
        test_accuracy=min(own.accuracies.values()), lost=0.01, flops_ratio=0.5, params_ratio=0.5, megabytes=1.0,
        unpruned_megabytes=2.0, best_on_test=best, best_on_test_accuracy=means[best], sentence="Ship it.",
    )  # fmt: skip
    return replace(run, summary=run.summary.model_copy(update={"shipped": shipped}))


@pytest.fixture
def run(tmp_path):
    return read_search_run(make_run(tmp_path))


def test_one_of_the_best_contenders_networks_is_not_told_to_be_behind_that_contender(run):
    best = results(run)[0]
    assert min(best.accuracies.values()) < best.test_accuracy
    assert decide(shipping(run, best.name, best.name)).hindsight == ""


def test_who_was_better_in_hindsight_is_told_by_means_over_the_same_seeds(run):
    best, other = results(run)[0], results(run)[-1]
    gap = 100 * (fmean(best.accuracies.values()) - fmean(other.accuracies.values()))
    said = decide(shipping(run, other.name, best.name)).hindsight
    assert f"on the test images, +{gap:.2f} points (means over {best.seeds} seeds); which of many" in said
    alone = read_search_run(make_run(run.folder / "alone", seeds=1))
    names = [one.name for one in results(alone)]
    assert "means" not in decide(shipping(alone, names[-1], names[0])).hindsight
