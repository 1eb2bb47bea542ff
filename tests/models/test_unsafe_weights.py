"""Weights files that are damaged, or that would run code when unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from blendsearch.errors import WeightsError
from blendsearch.models.weights import read_state_dict


class Trap:
    """Creates a file when it is unpickled by a loader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th"])
@pytest.mark.parametrize("place", ["alone", "beside the weights"])
def test_pickled_code_is_refused_and_never_run(tmp_path, suffix, place):
    path, mark = tmp_path / f"trap{suffix}", tmp_path / "it ran"
    weights = {"state_dict": {"linear.weight": torch.zeros(2)}, "extra": Trap(mark)}
    torch.save(Trap(mark) if place == "alone" else weights, path)
    with pytest.raises(WeightsError, match=r"pickled code is never run; save network\.state_dict") as caught:
        read_state_dict(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)  # torch's own message is coloured


def test_a_pickled_network_and_a_plain_pickle_are_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "network.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"linear.weight": [1.0, 2.0]}, protocol=2))
    for name in ("network.pt", "plain.pt"):
        with pytest.raises(WeightsError, match=rf"^model\.weights: '.*{name}'"):
            read_state_dict(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("size", [0, 1, 10, 100, 500])
def test_a_cut_file_is_one_line(tmp_path, suffix, size):
    path = tmp_path / f"weights{suffix}"
    state = {"linear.weight": torch.randn(20, 20)}
    if suffix == ".pt":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith("()")
