"""Ratings of several people with a fallback, through the jobs: scoring and pruning, in one go and layer by layer."""

from __future__ import annotations

import json

import pytest

from blendsearch.campaigns.single import run_prune, run_score
from blendsearch.cli.tables import raters_lines
from blendsearch.errors import ConfigError
from blendsearch.validation.space import checked_from_dict

RATERS = {
    "ann": {"conv1": {"0": "drop", "1": "keep", "2": "unsure", "3": "drop"}},
    "bob": {"conv1": {"0": "drop", "1": "keep", "2": "drop", "3": "unsure"}},
}


@pytest.fixture
def ratings(tmp_path):
    path = tmp_path / "ratings.json"
    raters = {name: {"groups": groups} for name, groups in RATERS.items()}
    path.write_text(json.dumps({"schema": 2, "raters": raters}))
    return str(path)


def tiny(path, **changes):
    data = {
        "name": "tiny",
        "data": {"name": "digits", "test": 100, "calibration": 60, "search": 60, "limit": 200},
        "model": {"name": "conv4", "arguments": {"width": 8}},
        "training": {"epochs": 0.5, "batch_size": 64, "lr": 0.1},
        "criteria": ["subjective", "l1"],
        "ratings": {"file": path, "fallback": "taylor"},
        "budget": {"filters": 0.5},
        "retraining": {"epochs": 1, "batch_size": 64, "lr": 0.02},
        "compute": {"device": "cpu", "workers": 1},
    }
    return checked_from_dict({**data, **changes})


def test_scoring_tells_who_rated_and_how_far_they_agree(tmp_path, ratings):
    result = run_score(tiny(ratings), tmp_path / "run").summary.ratings
    assert result.to_dict() == {
        "raters": {"ann": 4, "bob": 4},
        "shared": 4,
        "kappa": pytest.approx(0.2),
        "fallback": "taylor",
    }
    assert raters_lines(result) == [
        "rated by ann (4 filters), bob (4 filters); Fleiss' kappa 0.20 over 4; the others by taylor"
    ]
    assert raters_lines(None) == []


@pytest.mark.parametrize("schedule", ["one_shot", "progressive"])
def test_pruning_by_ratings_with_a_fallback(tmp_path, ratings, schedule):
    result = run_prune(tiny(ratings, schedule=schedule), "subjective", tmp_path / "run").summary
    assert result.ratings.fallback == "taylor"
    kept = json.loads((tmp_path / "run/plan.json").read_text())["groups"]
    first = kept["conv1"]["keep"]
    assert 1 in first
    assert 0 not in first
    assert all(len(entry["keep"]) < entry["width"] for entry in kept.values())


def test_a_path_alone_is_the_file(ratings):
    space = tiny(ratings, ratings=ratings)
    assert (space.ratings.file, space.ratings.fallback) == (ratings, None)
    with pytest.raises(ConfigError, match=r"ratings: .*a path, a mapping with file and fallback, or null"):
        tiny(ratings, ratings=3)
