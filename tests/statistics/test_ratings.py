"""A person's ratings: what a file may hold, and how it becomes scores."""

from __future__ import annotations

import json

import pytest
import torch
from small_networks import conv4, images, randomised

from blendsearch.criteria import applicable, measures_of, score_groups
from blendsearch.criteria.ranking import rank
from blendsearch.errors import DataError
from blendsearch.statistics import gather
from blendsearch.statistics.kappa import fleiss_kappa
from blendsearch.statistics.ratings import Ratings, ratings_of, read_ratings
from blendsearch.structure import Structure
from blendsearch.validation.space import mistakes_in_names


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
    assert ratings.means == {"conv1": {0: 1.0, 2: 0.0, 3: 0.25}}
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
        ({"schema": 3, "groups": {}}, "schema: 3 given, allowed: 1 or 2"),
        ({"schema": True, "groups": {}}, "schema: true given, allowed: 1 or 2"),
        ({"schema": 2, "groups": {}}, 'must be a JSON object with "schema" and "raters" and nothing else'),
        ({"schema": 2, "raters": {"ann": {}}}, r'raters\.ann: a JSON object with "groups" and nothing else'),
        ({"schema": 2, "raters": {"ann": {"groups": {"c": {"0": 2}}}}}, r"raters\.ann\.groups\.c\.0: 2 given; allowed"),
        ({"schema": 1, "groups": {"conv1": []}}, r"groups\.conv1: \[\] given; a mapping"),
        ({"schema": 1, "groups": {"conv1": {"-1": 1}}}, r"groups\.conv1: '-1' is no filter index"),
        ({"schema": 1, "groups": {"conv1": {"01": 1}}}, "'01' is no filter index"),
        ({"schema": 1, "groups": {"conv1": {"7" * 5000: 1}}}, r"'7{20}\.\.\.' is no filter index"),
        ({"schema": 1, "groups": {"conv1": {"1": 10**400}}}, "0 given; allowed"),
        ("[" * 100_000, "these are no ratings: nested too deeply"),
        ('{"a": ' * 60 + "1" + "}" * 60, "these are no ratings: nested too deeply"),
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
        ratings_of(structure, Ratings.of({"conv11": {0: 1.0}}))
    with pytest.raises(DataError, match="group 'conv1' has no filter 4; allowed: 0 to 3"):
        ratings_of(structure, Ratings.of({"conv1": {4: 1.0}}))


def rated_by(**raters):
    return {"schema": 2, "raters": {name: {"groups": groups} for name, groups in raters.items()}}


def test_several_raters_give_the_mean_of_their_marks(write, structure):
    path = write(rated_by(ann={"conv1": {"0": "keep", "1": "unsure"}}, bob={"conv1": {"0": "drop", "2": "drop"}}))
    ratings = read_ratings(path)
    assert ratings.means == {"conv1": {0: 0.5, 1: 0.5, 2: 0.0}}
    assert ratings.shared == [("conv1", 0)]


def test_unrated_filters_fall_back_to_a_criterion_between_drop_and_keep(structure):
    network = randomised(conv4())
    ratings = Ratings.of({"conv1": {0: 0.0, 2: 1.0}}, fallback="l1")
    assert measures_of(["subjective"], ratings) == {"ratings", "weights"}
    assert measures_of(["bn_scale"], ratings) == measures_of(["bn_scale"])
    statistics = gather(network, structure, [], measures_of(["subjective"], ratings), ratings=ratings)
    scores = score_groups(structure, statistics, ["subjective", "l1"])
    places = rank(scores["l1"]["conv1"])
    squeezed = 0.25 + places / 2
    expected = torch.tensor([0.0, squeezed[1], 1.0, squeezed[3]])
    torch.testing.assert_close(scores["subjective"]["conv1"], expected)
    torch.testing.assert_close(scores["subjective"]["conv3"], 0.25 + rank(scores["l1"]["conv3"]) / 2)


def test_a_fallback_that_cannot_score_is_told(structure):
    statistics = gather(randomised(conv4()), structure, [], ["ratings"], ratings=Ratings.of({}, fallback="bn_scale"))
    statistics.norms.clear()
    (reason,) = applicable(["subjective"], structure, statistics).values()
    assert reason.startswith("its fallback 'bn_scale': ")


@pytest.mark.parametrize(("name", "words"), [("subjective", "reads ratings itself"), ("l11", "did you mean 'l1'")])
def test_a_wrong_fallback_is_a_mistake_in_the_space(name, words):
    (mistake,) = mistakes_in_names({"ratings": {"file": "ratings.json", "fallback": name}})
    assert mistake[0] == ("ratings", "fallback")
    assert words in mistake[1]


FLEISS_1971 = [
    [0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0], [2, 0, 4, 0, 0],
    [0, 0, 4, 0, 2], [2, 0, 3, 1, 0], [2, 0, 0, 4, 0], [0, 0, 0, 0, 6], [1, 0, 0, 5, 0], [1, 1, 0, 4, 0],
    [0, 3, 3, 0, 0], [1, 0, 0, 5, 0], [0, 2, 0, 3, 1], [0, 0, 5, 0, 1], [3, 0, 0, 1, 2], [5, 1, 0, 0, 0],
    [0, 2, 0, 4, 0], [1, 0, 2, 0, 3], [0, 0, 0, 0, 6], [0, 1, 0, 5, 0], [0, 2, 0, 1, 3], [2, 0, 0, 4, 0],
    [1, 0, 0, 4, 1], [0, 5, 0, 1, 0], [4, 0, 0, 0, 2], [0, 2, 0, 4, 0], [1, 0, 5, 0, 0], [0, 0, 0, 0, 6],
]  # fmt: skip
"""Fleiss 1971, table 1: 30 patients, 6 psychiatrists, 5 diagnoses; kappa 0.430 in the paper."""

FOURTEEN_RATERS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
"""The worked example of textbooks: 10 subjects, 14 raters, 5 categories; kappa 0.210."""


def test_kappa_of_published_tables():
    assert round(fleiss_kappa(FLEISS_1971), 3) == 0.430
    assert round(fleiss_kappa(FOURTEEN_RATERS), 3) == 0.210


def test_kappa_at_its_ends():
    assert fleiss_kappa([[2, 0], [0, 2]]) == 1
    assert fleiss_kappa([[1, 1], [1, 1]]) == -1
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([[2, 0], [2, 0]]) is None  # chance alone would agree as well


@pytest.mark.parametrize("nothing", [{}, {"conv1": {}}])
def test_a_rater_without_marks_in_a_file_is_none(write, nothing):
    marks = {"conv1": {"0": "keep", "1": "drop"}}
    raters = {"ann": {"groups": marks}, "bob": {"groups": marks}, "carl": {"groups": nothing}}
    ratings = read_ratings(write({"schema": 2, "raters": raters}))
    assert list(ratings.raters) == ["ann", "bob"]
    assert ratings.kappa == 1


def test_kappa_of_ratings_counts_filters_that_all_rated_and_numbers_as_the_nearest_mark():
    ann = {"a": {0: 1.0, 1: 0.0, 2: 0.4, 9: 1.0}}
    bob = {"a": {0: 0.8, 1: 0.1, 2: 1.0}}
    assert Ratings({"ann": ann, "bob": bob}).kappa == pytest.approx(fleiss_kappa([[0, 0, 2], [2, 0, 0], [0, 1, 1]]))
    assert Ratings.of(ann).kappa is None
    assert Ratings({"ann": ann, "bob": {}}).kappa is None
