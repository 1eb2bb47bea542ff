"""A leaderboard's cells are known by the code that they come from: what it touches runs again, and nothing else."""

from __future__ import annotations

import pytest
import torch

from blendsearch.campaigns.leaderboard.keys import criterion_key, network_key, retraining_key
from blendsearch.campaigns.leaderboard.run import run_leaderboard
from blendsearch.config import NamedSection, ReconstructionConfig
from blendsearch.criteria import CRITERIA, FeatureMapCriterion, register_criterion
from blendsearch.experiment import Experiment
from blendsearch.experiment.source import code_digest
from blendsearch.statistics import MEASURES, Accumulator, Recorder, accumulated, measure, own_pass, recorded
from blendsearch.statistics.ratings import Ratings
from blendsearch.validation.board import checked_board_from_dict

BOARD = {
    "name": "tiny",
    "networks": [
        {
            "name": "small",
            "data": {"name": "digits", "test": 100, "calibration": 50, "search": 50, "limit": 200},
            "model": {"name": "conv4", "arguments": {"width": 8}},
            "training": {"epochs": 1, "batch_size": 64, "lr": 0.1},
        }
    ],
    "criteria": ["l1", "taylor", "peak"],
    "budgets": [{"flops": 0.5}],
    "retraining": {"epochs": 0.2, "batch_size": 64, "lr": 0.05, "seeds": 2},
    "compute": {"device": "cpu", "workers": 1},
}
NEED = "activations.peak"


def highest(a, g):
    return a.amax((2, 3))


def lowest(a, g):
    return -a.amax((2, 3))


class Summed(Accumulator):
    def add(self, a, g, labels):
        self.total = a.sum((0, 2, 3))


class Averaged(Accumulator):
    def add(self, a, g, labels):
        self.total = a.mean((0, 2, 3))


class Recording(Recorder):
    def value(self):
        return {}


class OtherRecording(Recording):
    def value(self):
        return {"conv1": torch.zeros(8)}


def flow(network, structure, batches):
    return {}


def other_flow(network, structure, batches):
    return dict.fromkeys(structure.widths, torch.zeros(1))


@pytest.fixture
def peak():
    """A criterion whose measure each test registers."""

    @register_criterion
    class Peak(FeatureMapCriterion):
        """What is measured at each filter."""

        name = "peak"
        needs = (NEED,)
        source = "here"

        def maps(self, averages):
            return averages[NEED]

    yield Peak
    CRITERIA.unregister("peak")
    MEASURES.unregister(NEED)


@pytest.mark.usefixtures("peak", "unreported")
def test_a_flipped_measure_runs_the_cells_that_it_decides_and_no_others(tmp_path):
    board = checked_board_from_dict(BOARD)
    measure(NEED)(highest)
    first = run_leaderboard(board, tmp_path / "run")
    assert first.cells_run == 3 * 2
    assert run_leaderboard(board, tmp_path / "run", resume=True).cells_run == 0
    MEASURES.unregister(NEED)
    measure(NEED)(lowest)
    again = run_leaderboard(board, tmp_path / "run", resume=True)
    assert again.cells_run == 2
    old, new = (result.summary.columns[0].results for result in (first, again))
    assert {name for name in old if old[name].files != new[name].files} == {"peak"}
    assert old["peak"].values != new["peak"].values


@pytest.mark.usefixtures("peak")
@pytest.mark.parametrize(
    ("register", "one", "other"),
    [
        (measure(NEED), highest, lowest),
        (lambda kind: accumulated(NEED, kind), Summed, Averaged),
        (recorded(NEED), Recording, OtherRecording),
        (own_pass(NEED, limit=0), flow, other_flow),
    ],
    ids=["measure", "accumulator", "recorder", "pass"],
)
def test_a_key_covers_whatever_stands_behind_a_need(register, one, other):
    keys, others = [], []
    for version in (one, other, one):
        MEASURES.unregister(NEED)
        register(version)
        keys.append(criterion_key("peak", None))
        others.append(criterion_key("hrank", None))
    assert keys[0] == keys[2] != keys[1]
    assert others == others[:1] * 3


@pytest.mark.usefixtures("peak")
def test_a_key_covers_the_fallback_of_ratings():
    measure(NEED)(highest)
    keys = [criterion_key("subjective", Ratings({}, fallback=fallback)) for fallback in (None, "l1", "peak")]
    assert len({key["code"] for key in keys}) == 3
    MEASURES.unregister(NEED)
    measure(NEED)(lowest)
    assert criterion_key("subjective", Ratings({}, fallback="peak")) != keys[2]


def test_every_criterion_has_a_key_of_its_own():
    assert len({criterion_key(name, None)["code"] for name in CRITERIA.names()}) == len(CRITERIA.names())


def helper(value):
    return value + 1


SCALE = 2


def uses_a_helper(value):
    return SCALE * sum(helper(one) for one in value)


def test_code_is_followed_through_helpers_and_constants(monkeypatch):
    before = code_digest(uses_a_helper)
    assert code_digest(uses_a_helper) == before
    monkeypatch.setitem(globals(), "SCALE", 3)
    scaled = code_digest(uses_a_helper)
    monkeypatch.setitem(globals(), "helper", lowest)
    assert len({before, scaled, code_digest(uses_a_helper)}) == 3


def test_what_a_board_does_not_use_is_not_in_its_keys():
    """Cells from before there were such keys are found again."""
    plain = checked_board_from_dict({**BOARD, "criteria": ["l1"]})
    schedule = NamedSection(name="one_shot")
    assert "reconstruction" not in retraining_key(plain, plain.budgets[0], schedule)
    used = plain.model_copy(update={"reconstruction": ReconstructionConfig(steps=7)})
    assert retraining_key(used, plain.budgets[0], schedule)["reconstruction"]["steps"] == 7
    network = plain.networks[0]
    experiment = Experiment(plain.space(network))
    assert "labels" not in network_key(plain, network, experiment)["data"]
    predicted = network.model_copy(update={"data": network.data.model_copy(update={"labels": "predicted"})})
    assert network_key(plain, predicted, experiment)["data"]["labels"] == "predicted"


def key_of(**changes):
    """Return the key of the board's network with other data or another model."""
    entry = {**BOARD["networks"][0], **changes}
    board = checked_board_from_dict({**BOARD, "criteria": ["l1"], "networks": [entry]})
    network = board.networks[0]
    return network_key(board, network, Experiment(board.space(network)))


def test_where_images_are_cached_is_not_in_a_key():
    given = BOARD["networks"][0]["data"]
    assert key_of(data={**given, "cache": False}) == key_of() == key_of(data={**given, "cache": "elsewhere"})
    assert key_of()["data"]["cache"] is True  # as the keys of earlier versions have it


NETWORK_CODE = """
from torch import nn


def activation():
    return nn.ReLU()


def make(num_classes):
    middle = [nn.Conv2d(1, 4, 3), activation(), nn.Conv2d(4, 4, 3), activation(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*middle, nn.Flatten(), nn.Linear(4, num_classes))
"""


def test_a_key_covers_the_code_of_ones_own_network(tmp_path, monkeypatch):
    """What it calls, too: with another activation the same weights are another network."""
    keys = []
    monkeypatch.syspath_prepend(tmp_path)
    for number, code in enumerate([NETWORK_CODE, NETWORK_CODE, NETWORK_CODE.replace("ReLU", "Sigmoid")]):
        (tmp_path / f"own_code_{number}.py").write_text(code)
        keys.append(key_of(model={"name": f"own_code_{number}:make"})["model"]["code"])
    assert keys[0] == keys[1] != keys[2]
    assert "code" not in key_of()["model"]
