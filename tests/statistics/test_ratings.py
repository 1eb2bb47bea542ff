"""A person's ratings: what a file may hold, and how it becomes scores."""

from __future__ import annotations

import json

import pytest
import torch
from small_networks import conv4, images, randomised

from blendsearch.campaigns.checking import mistakes_in_names
from blendsearch.criteria import applicable, score_groups
from blendsearch.errors import DataError
from blendsearch.statistics import gather
from blendsearch.statistics.ratings import ratings_of, read_ratings
from blendsearch.structure import Structure


@pytest.fixture(scope="module")
def structure():
    return Structure.of(randomised(conv4()), images())


@pytest.fixture
def write(tmp_path):
    def write(data):
        path = tmp_path / "ratings.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return write


def test_ratings_become_scores_and_unrated_filters_are_in_the_middle(write, structure):
    path = write({"schema": 1, "groups": {"conv1": {"0": "keep", "2": "drop", "3": 0.25}}})
    ratings = read_ratings(path)
    assert ratings == {"conv1": {0: 1.0, 2: 0.0, 3: 0.25}}
    statistics = gather(randomised(conv4()), structure, [], ["ratings"], ratings=ratings)
    scores = score_groups(structure, statistics, ["subjective"])["subjective"]
    assert scores["conv1"].tolist() == [1.0, 0.5, 0.0, 0.25]
    assert torch.equal(scores["conv3"], torch.full((8,), 0.5))


def test_without_ratings_the_criterion_is_left_out_with_the_reason(structure):
    statistics = gather(randomised(conv4()), structure, [], ["ratings"])
    reasons = applicable(["subjective", "l1"], structure, statistics)
    assert reasons == {"subjective": "no ratings of this network's filters are given"}


def test_naming_the_criterion_without_a_file_is_a_mistake_in_the_space():
    (mistake,) = mistakes_in_names({"criteria": ["subjective"]})
    assert mistake == (("criteria", 0), "'subjective' reads a ratings file; name one with ratings: PATH")
    assert not list(mistakes_in_names({"criteria": ["subjective"], "ratings": "ratings.json"}))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{", "these are no ratings"),
        ('{"schema": 1, "schema": 1, "groups": {}}', "'schema' is given twice"),
        ([], 'must be a JSON object with "schema" and "groups" and nothing else'),
        ({"schema": 1}, 'must be a JSON object with "schema" and "groups" and nothing else'),
        ({"schema": 1, "groups": {}, "more": 1}, "nothing else"),
        ({"schema": 2, "groups": {}}, "schema: 2 given, allowed: 1"),
        ({"schema": True, "groups": {}}, "schema: true given, allowed: 1"),
        ({"schema": 1, "groups": {"conv1": []}}, r"groups\.conv1: \[\] given; a mapping"),
        ({"schema": 1, "groups": {"conv1": {"-1": 1}}}, r"groups\.conv1: '-1' is no filter index"),
        ({"schema": 1, "groups": {"conv1": {"01": 1}}}, "'01' is no filter index"),
        ({"schema": 1, "groups": {"conv1": {"1": 1.5}}}, r"groups\.conv1\.1: 1.5 given; allowed: a number from 0 to 1"),
        ({"schema": 1, "groups": {"conv1": {"1": "yes"}}}, r'"yes" given; allowed'),
        ({"schema": 1, "groups": {"conv1": {"1": True}}}, "true given; allowed"),
        ({"schema": 1, "groups": {"conv1": {"1": float("nan")}}}, "NaN given; allowed"),
    ],
)  # fmt: skip
def test_wrong_files_are_one_clear_line(write, data, expected):
    path = write(data)
    with pytest.raises(DataError, match=expected) as caught:
        read_ratings(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="the ratings cannot be read"):
        read_ratings(tmp_path / "none.json")


def test_groups_and_filters_must_be_the_networks(structure):
    with pytest.raises(DataError, match="no group 'conv11'; did you mean 'conv1'"):
        ratings_of(structure, {"conv11": {0: 1.0}})
    with pytest.raises(DataError, match="group 'conv1' has no filter 4; allowed: 0 to 3"):
        ratings_of(structure, {"conv1": {4: 1.0}})
