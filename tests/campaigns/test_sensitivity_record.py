"""What `sensitivity` says of its own precision: intervals, possible ranks, and what there is too little of."""

from __future__ import annotations

import numpy as np
import pytest

from blendsearch.allocation.sensitivity import Sensitivity
from blendsearch.campaigns.sensitivity import rank_groups, tell_resolution
from blendsearch.cli.tables import sensitivity_table
from blendsearch.reports.figures import render
from blendsearch.reports.figures.sensitivity import draw_sensitivity
from blendsearch.results.rank_ranges import RankRanges, rank_ranges
from blendsearch.results.records.single import GroupSensitivity, SensitivityRecord


def ranges(apart, pairs, images_decide):
    return RankRanges({}, {}, apart, pairs, images_decide)


@pytest.mark.parametrize(
    ("given", "draws", "sentence"),
    [
        (
            ranges(2, 6, True),
            3,
            "Too few images: 40 images and 3 draws of the damage tell 2 of 6 pairs of layers apart; more of them "
            "(data.search, allocation.images) tell more.",
        ),
        (
            ranges(5, 6, False),
            3,
            "40 images and 3 draws of the damage tell 5 of 6 pairs of layers apart; too few draws for the others "
            "(allocation.draws).",
        ),
        (
            ranges(6, 6, True),
            1,
            "40 images and 1 draw of the damage tell all layers apart. Of what another draw would do one draw shows "
            "nothing (allocation.draws).",
        ),
        (ranges(0, 0, True), 3, ""),
    ],
)
def test_it_says_what_there_is_too_little_of(given, draws, sentence):
    assert tell_resolution(given, 40, draws) == sentence


@pytest.fixture
def record():
    allocation = Sensitivity()
    rng = np.random.default_rng(0)
    shares = {"conv1": 0.5, "conv2": 0.1, "conv3": 0.11}
    allocation.lost = {name: (rng.random((3, 300)) < share).astype(float) for name, share in shares.items()}
    allocation.drops = {name: [lost.mean()] * 3 for name, lost in allocation.lost.items()}
    groups = rank_groups(allocation, dict.fromkeys(shares, 8), rank_ranges(allocation.lost))
    return SensitivityRecord(
        accuracy=0.9,
        strengths=[0.25, 0.5, 1.0],
        groups=groups,
        images=300,
        draws=3,
        note="A note.",
        seed=0,
        versions={},
    )


def test_groups_have_intervals_and_the_ranks_that_they_may_have(record):
    first, second, third = record.groups
    assert (first.ranks, second.ranks, third.ranks) == ((1, 1), (2, 3), (2, 3))
    for group in record.groups:
        assert group.interval[0] < group.sensitiveness < group.interval[1]
    assert SensitivityRecord.model_validate(record.to_dict()) == record


def test_table_and_figure_show_them(record):
    columns = {column.header: list(column.cells) for column in sensitivity_table(record).columns}
    assert columns["rank"] == ["1", "2 to 3", "2 to 3"]
    low, high = columns["95 % interval"][0].split(" to ")
    assert float(low) < float(columns["sensitiveness"][0]) < float(high)
    assert "A note." in render(draw_sensitivity, record).alt


def test_records_of_older_versions_are_shown_as_before(record):
    old = [GroupSensitivity(**{**group.to_dict(), "interval": None, "ranks": None}) for group in record.groups]
    older = record.model_copy(update={"groups": old, "note": "", "images": None, "draws": None})
    columns = {column.header: list(column.cells) for column in sensitivity_table(older).columns}
    assert "95 % interval" not in columns
    assert columns["rank"] == [str(group.rank) for group in record.groups]
    assert render(draw_sensitivity, older).png
