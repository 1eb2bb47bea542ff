"""Where nothing is retrained and nothing is said, compensation is on; what is said counts."""

from __future__ import annotations

import pytest

from blendsearch.config import CompensationConfig, board_from_dict, migrate_space, space_from_dict
from blendsearch.experiment.experiment import Experiment
from blendsearch.validation.space import checked_from_dict

SPACE = {
    "name": "default",
    "data": {"name": "digits", "test": 100, "calibration": 60, "search": 50},
    "model": {"name": "conv4"},
    "training": {"epochs": 1},
    "budget": {"flops": 0.5},
}
NETWORK = {"name": "one", **{key: SPACE[key] for key in ("data", "model", "training")}}


def space(**changes):
    return space_from_dict({**SPACE, **changes})


def test_it_is_on_with_the_calibration_images_where_nothing_trains():
    assert space(retraining={"epochs": 0}).compensation == CompensationConfig(images=None)
    assert space(retraining={"epochs": 0.5}).compensation is None
    made = Experiment(checked_from_dict({**SPACE, "retraining": {"epochs": 0}}))
    assert len(made.compensation.images) == 60


@pytest.mark.parametrize("said", [None, {"images": 7}])
def test_what_is_said_counts(said):
    expected = said and CompensationConfig(images=7)
    assert space(retraining={"epochs": 0}, compensation=said).compensation == expected


def test_it_is_shown_and_read_again_as_it_is():
    on = space(retraining={"epochs": 0})
    assert "compensation:\n  images: null" in on.to_yaml()
    assert space_from_dict(on.to_dict()) == on
    off = space(retraining={"epochs": 0}, compensation=None)
    assert space_from_dict(off.to_dict()) == off


def test_runs_of_earlier_versions_had_none():
    assert space_from_dict(migrate_space({**SPACE, "search": {}, "retraining": {"epochs": 0}})).compensation is None


def test_boards_do_likewise():
    board = {"name": "board", "networks": [NETWORK], "budgets": [{"flops": 0.5}]}
    made = board_from_dict({**board, "retraining": {"epochs": 0}})
    assert made.compensation == CompensationConfig(images=None)
    assert made.space(made.networks[0]).compensation == made.compensation
    off = board_from_dict({**board, "retraining": {"epochs": 0}, "compensation": None})
    assert off.space(off.networks[0]).compensation is None
