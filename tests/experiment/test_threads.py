"""Results do not depend on how many threads the process was started with, since the space says how many work."""

import time

import pytest
import torch
from safetensors.torch import load_file
from short_cuts import leave_out_reports

from blendsearch.blending import Blend
from blendsearch.campaigns.single import run_train
from blendsearch.campaigns.transfer.run import run_transfer
from blendsearch.review.sessions import ReviewOptions, open_loop, open_review
from blendsearch.validation.space import checked_from_dict

SPACE = {
    "name": "threads",
    "data": {"name": "digits", "test": 300, "calibration": 100, "search": 200},
    "model": {"name": "conv4", "arguments": {"width": 16}},
    "training": {"epochs": 1, "lr": 0.1},
    "compute": {"device": "cpu", "workers": 1, "threads": 1},
}


@pytest.fixture
def with_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_the_trained_network_is_the_same_however_many_threads_the_process_has(tmp_path, with_threads):
    found = []
    for count in (1, 2):
        with_threads(count)
        folder = run_train(checked_from_dict(SPACE), tmp_path / str(count)).run_dir
        assert torch.get_num_threads() == count, "what was set before is set again"
        found.append(load_file(folder / "baseline.safetensors"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


class Seen(set):
    """A progress callback that notes the number of threads; told from the thread that works."""

    def __call__(self, task, done, total, detail=""):
        self.add((task, torch.get_num_threads()))


@pytest.fixture
def space():
    """One with two threads, and little to do."""
    return checked_from_dict(
        {
            **SPACE,
            "data": {**SPACE["data"], "limit": 200},
            "criteria": ["l1"],
            "budget": {"filters": 0.5},
            "schedule": "progressive",
            "retraining": {"epochs": 4, "lr": 0.02},
            "compute": {**SPACE["compute"], "threads": 2},
        }
    )


def test_work_in_a_run_has_the_threads_of_its_space(space, tmp_path, with_threads):
    with_threads(1)
    seen = Seen()
    run_train(space, tmp_path / "run", progress=seen)
    assert ("training", 2) in seen
    assert ("training", 1) not in seen


def test_a_review_has_the_threads_of_its_space(space, tmp_path, with_threads):
    with_threads(1)
    seen = Seen()
    with open_review(space, ReviewOptions(run_dir=tmp_path / "run"), seen):
        pass
    assert ("training", 2) in seen
    assert {count for _, count in seen} == {2}
    assert torch.get_num_threads() == 1


def test_the_progressive_loop_trains_on_the_threads_of_its_space(space, tmp_path, with_threads):
    with_threads(1)
    seen = Seen()
    with open_loop(space, ReviewOptions(run_dir=tmp_path / "run")) as review:
        review.loop.place.job.progress = seen
        review.loop.advance()
        while review.loop.status().working:
            time.sleep(0.01)
        assert not review.loop.status().error
    assert {count for _, count in seen} == {2}


def test_a_transfer_has_the_threads_of_each_space(space, tmp_path, with_threads, monkeypatch):
    leave_out_reports(monkeypatch)
    with_threads(1)
    seen = Seen()
    Blend("network", {"network": {"l1": 1.0}}).save(tmp_path / "blend.json")
    run_transfer(tmp_path / "blend.json", [space], tmp_path / "run", progress=seen, searches=False)
    assert ("training", 2) in seen
    assert {count for _, count in seen} == {2}
    assert torch.get_num_threads() == 1
