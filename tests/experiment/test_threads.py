"""Results do not depend on how many threads the process was started with, since the space says how many work."""

import pytest
import torch
from safetensors.torch import load_file

from blendsearch.campaigns.single import run_train
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


def test_work_in_a_run_has_the_threads_of_its_space(tmp_path, with_threads):
    with_threads(1)
    seen = set()
    space = checked_from_dict({**SPACE, "compute": {**SPACE["compute"], "threads": 2}})
    run_train(space, tmp_path / "run", progress=lambda *step: seen.add((step[0], torch.get_num_threads())))
    assert ("training", 2) in seen
    assert ("training", 1) not in seen
