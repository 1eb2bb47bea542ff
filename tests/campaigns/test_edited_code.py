"""A run is gone on with by the network code that began it, and by no other."""

from __future__ import annotations

import json
import sys

import pytest

from blendsearch.campaigns.search.run import run_search
from blendsearch.campaigns.single import run_prune
from blendsearch.errors import RunError
from blendsearch.validation.space import checked_from_dict

CODE = """
from torch import nn


def head(width, classes):
    return nn.Linear(width, classes)


def build(num_classes, in_channels, width=6):
    convs = nn.Conv2d(in_channels, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(width, num_classes))
"""
SPACE = {
    "name": "edited",
    "data": {"name": "digits", "test": 200, "calibration": 100, "search": 100, "limit": 400},
    "model": {"name": "edited_network:build"},
    "training": {"epochs": 0},
    "criteria": ["l1", "taylor"],
    "budget": {"flops": 0.5},
    "blend": {"unit": "network"},
    "proxy": {"name": "bn_recalibrated", "images": 50},
    "search": {"population": 4, "generations": 1, "rivals": False, "random_search": False},
    "retraining": {"epochs": 0},
    "compute": {"device": "cpu", "workers": 1},
}
pytestmark = pytest.mark.usefixtures("without_report")


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(code):
        sys.modules.pop("edited_network", None)
        (tmp_path / "edited_network.py").write_text(code)
        return checked_from_dict(SPACE)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield written
    sys.modules.pop("edited_network", None)


@pytest.mark.parametrize("job", ["search", "prune"])
@pytest.mark.parametrize(
    ("old", "new"), [("return nn.Linear(width", "return nn.Linear(1 * width"), ("width=6", "width=8")]
)
def test_a_run_is_not_gone_on_with_by_edited_code(job, old, new, write, tmp_path):
    def go(space, resume=False):
        if job == "search":
            return run_search(space, tmp_path / "run", resume=resume).summary.blend
        return run_prune(space, "l1", tmp_path / "run", resume=resume).summary

    first = go(write(CODE))
    assert go(write(f"# a word\n{CODE}"), resume=True) == first
    noted = (tmp_path / "run" / "job.json").read_text()
    with pytest.raises(RunError, match="was made with other code of edited_network:build than there is now; undo"):
        go(write(CODE.replace(old, new)), resume=True)
    assert (tmp_path / "run" / "job.json").read_text() == noted
    assert go(write(CODE), resume=True) == first


def test_a_folder_of_an_earlier_version_did_not_note_it(write, tmp_path):
    run_search(write(CODE), tmp_path / "run")
    job = tmp_path / "run" / "job.json"
    facts = json.loads(job.read_text())
    assert len(facts.pop("code")) == 16
    job.write_text(json.dumps(facts))
    run_search(write(CODE.replace("nn.ReLU(), nn.Ada", "nn.ELU(), nn.Ada")), tmp_path / "run", resume=True)
