"""Weights files of every kind, and what is said when one does not fit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from blendsearch.errors import WeightsError
from blendsearch.models.weights import load_weights, read_state_dict
from blendsearch.models.zoo import MODELS


def conv4(seed: int = 0, classes: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    return MODELS.get("conv4")(num_classes=classes, in_channels=1, image_size=8, width=4)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def prefixed(state: dict, prefix: str) -> dict:
    return {prefix + key: value for key, value in state.items()}


FORMS = {
    "bare": lambda state: state,
    "state_dict level": lambda state: {"state_dict": state, "best_prec1": 91.7, "epoch": 3},
    "model level": lambda state: {"model": state, "args": {"lr": 0.1}},
    "module. prefix": lambda state: prefixed(state, "module."),
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "all at once": lambda state: {"state_dict": prefixed(state, "module.")},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th"])
def test_torch_files(tmp_path, form, suffix):
    path = tmp_path / f"weights{suffix}"
    saved, loaded = conv4(1), conv4(2)
    torch.save(FORMS[form](saved.state_dict()), path)
    load_weights(loaded, path)
    assert same(saved, loaded)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors(tmp_path, prefix):
    path = tmp_path / "weights.safetensors"
    saved, loaded = conv4(1), conv4(2)
    save_file(prefixed(saved.state_dict(), prefix), path)
    load_weights(loaded, path)
    assert same(saved, loaded)


def test_counters_of_batches_may_be_missing(tmp_path):
    saved, loaded = conv4(1), conv4(2)
    state = {key: value for key, value in saved.state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "old.pt")
    load_weights(loaded, tmp_path / "old.pt")
    assert same(saved, loaded)


def test_a_mismatch_counts_and_names_the_keys_and_changes_nothing(tmp_path):
    state = conv4(1).state_dict()
    for key in ("bn1.weight", "bn2.weight", "bn3.weight", "bn4.weight"):
        del state[key]
    state["head.weight"] = torch.zeros(3)
    state["linear.weight"] = torch.zeros(100, 8)
    torch.save(state, tmp_path / "other.pt")
    network = conv4(2)
    with pytest.raises(WeightsError) as caught:
        load_weights(network, tmp_path / "other.pt")
    assert str(caught.value).endswith(
        "does not fit the network: 4 missing (bn1.weight, bn2.weight, bn3.weight and 1 more); "
        "1 not in the network (head.weight); 1 of another shape (linear.weight (100, 8) for (10, 8))"
    )
    assert same(network, conv4(2))


class Code:
    """Something that torch.load may not bring to life."""


def test_files_that_are_no_weights_are_one_line(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "weights.bin").write_bytes(b"")
    torch.save({"model": Code()}, tmp_path / "code.pt")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    for name, words in {
        "text.pt": "cannot be read",
        "text.safetensors": "cannot be read",
        "weights.bin": "ends in '.bin', allowed: .pt, .pth, .th, .ckpt, .safetensors",
        "code.pt": "pickled code is never run",
        "none.pt": "no table of tensors",
        "absent.pt": "is no file",
    }.items():
        with pytest.raises(WeightsError, match=r"^model\.weights: ") as caught:
            read_state_dict(tmp_path / name)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
