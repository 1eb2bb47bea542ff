"""Checkpoints of training libraries: which of their entries is taken, and which values no network is given."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from blendsearch.errors import WeightsError
from blendsearch.models.weights import load_weights, read_state_dict


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), bn=nn.BatchNorm2d(2), linear=nn.Linear(2, 3)))


class Wrapped(nn.Module):
    """A network whose own keys all begin with a word that is taken off elsewhere."""

    def __init__(self, seed: int, name: str) -> None:
        super().__init__()
        self.add_module(name, network(seed))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def prefixed(state: dict, prefix: str) -> dict:
    return OrderedDict((prefix + key, value) for key, value in state.items())


def lightning(state: dict, **more) -> dict:
    """A checkpoint as PyTorch Lightning writes it after a step of training."""
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    optimizer.step()
    monitor = {"monitor": "val_acc", "best_model_score": torch.tensor(0.9), "best_k_models": {"a.ckpt": torch.ones(1)}}
    return {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_acc'}": monitor},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "name": "resnet18"},
        **more,
    }


PREFIXES = ("model.", "net.", "network.", "_orig_mod.", "module.", "_orig_mod.module.", "module._orig_mod.")


@pytest.mark.parametrize("prefix", [*PREFIXES, "model._orig_mod.", "_orig_mod.model.", "module.net._orig_mod.module."])
@pytest.mark.parametrize("level", [lightning, lambda state: state])
def test_prefixes_of_all_keys_are_taken_off(tmp_path, prefix, level):
    saved, loaded = network(1), network(2)
    torch.save(level(prefixed(saved.state_dict(), prefix)), tmp_path / "some.ckpt")
    load_weights(loaded, tmp_path / "some.ckpt")
    assert same(saved, loaded)


@pytest.mark.parametrize("name", ["model", "net", "network", "module"])
@pytest.mark.parametrize("outer", ["", "model.", "module."])
def test_a_word_that_the_network_itself_begins_with_stays(tmp_path, name, outer):
    saved, loaded = Wrapped(1, name), Wrapped(2, name)
    torch.save(prefixed(saved.state_dict(), outer), tmp_path / "some.pt")
    load_weights(loaded, tmp_path / "some.pt")
    assert same(saved, loaded)


@pytest.mark.parametrize("averaged", ["state_dict_ema", "model_ema", "ema_state_dict"])
@pytest.mark.parametrize("plain", ["state_dict", "model", "model_state", "model_state_dict", "net"])
def test_averaged_weights_go_before_plain_ones(tmp_path, averaged, plain):
    saved, loaded = network(1), network(2)
    torch.save({plain: network(3).state_dict(), averaged: saved.state_dict(), "epoch": 3}, tmp_path / "both.pth")
    load_weights(loaded, tmp_path / "both.pth")
    assert same(saved, loaded)


@pytest.mark.parametrize("entry", ["state_dict", "model", "model_state", "model_state_dict", "net"])
def test_plain_weights_without_averaged_ones(tmp_path, entry):
    saved, loaded = network(1), network(2)
    torch.save({entry: saved.state_dict(), "state_dict_ema": None, "optimizer": {"state": {}}}, tmp_path / "plain.pth")
    load_weights(loaded, tmp_path / "plain.pth")
    assert same(saved, loaded)


def test_an_entry_with_settings_is_passed_over(tmp_path):
    saved, loaded = network(1), network(2)
    torch.save({"model": {"name": "small", "width": 2}, "model_state": saved.state_dict()}, tmp_path / "some.pt")
    load_weights(loaded, tmp_path / "some.pt")
    assert same(saved, loaded)


def test_the_averaged_copy_of_torch_with_its_counter(tmp_path):
    averaged, loaded = AveragedModel(network(1), use_buffers=True), network(2)
    torch.save({"model": network(3).state_dict(), "model_ema": averaged.state_dict()}, tmp_path / "reference.pth")
    load_weights(loaded, tmp_path / "reference.pth")
    assert same(averaged.module, loaded)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (OrderedDict(root=Path("data")), r"pathlib\.(_local\.)?PosixPath"),
    ],
)
def test_hyper_parameters_that_are_code_are_refused_with_the_way_to_export(tmp_path, value, name):
    path = tmp_path / "last.ckpt"
    torch.save(lightning(prefixed(network().state_dict(), "model."), hyper_parameters=value), path)
    with pytest.raises(WeightsError, match=rf"it holds {name} beside tensors: pickled code is never run") as caught:
        read_state_dict(path)
    order = f"torch.save(torch.load('{path}', weights_only=False)['state_dict'], 'last.pt')"
    assert f"of a PyTorch Lightning file that you trust: {order}" in str(caught.value)
    assert "\n" not in str(caught.value)
    exec(order.replace("'last.pt'", f"'{tmp_path / 'last.pt'}'"))
    load_weights(network(2), tmp_path / "last.pt")


def refused(path: Path, state: dict) -> str:
    """Save weights and return the line with which they are refused; the network stays as it was."""
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    loaded = network(2)
    with pytest.raises(WeightsError) as caught:
        load_weights(loaded, path)
    assert same(loaded, network(2))
    assert str(caught.value).startswith(f"model.weights: '{path}'")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["conv.weight", "bn.running_var"])
def test_a_value_that_is_not_finite_is_refused_with_its_tensor(tmp_path, suffix, value, key):
    state = network(1).state_dict()
    state[key].view(-1)[1] = value
    message = refused(tmp_path / f"weights{suffix}", state)
    assert f"tensor '{key}' has 1 of {state[key].numel()} values that are NaN or infinite" in message


def test_a_mask_of_infinities_that_the_network_has_itself_is_loaded(tmp_path):
    networks = []
    for seed in (1, 2):
        networks.append(network(seed))
        networks[-1].register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    torch.save(networks[0].state_dict(), tmp_path / "mask.pt")
    load_weights(networks[1], tmp_path / "mask.pt")
    assert same(*networks)


def test_complex_weights_are_refused_by_name(tmp_path):
    state = network(1).state_dict()
    state["linear.weight"] = state["linear.weight"] + 1j
    assert (
        "tensor 'linear.weight' is complex (torch.complex64), allowed: real numbers, as the network's torch.float32"
        in refused(tmp_path / "complex.pt", state)
    )


def test_weights_of_eight_bits_are_read(tmp_path):
    state = network(1).state_dict()
    state["linear.weight"] = state["linear.weight"].to(torch.float8_e4m3fn)
    torch.save(state, tmp_path / "small.pt")
    loaded = network(2)
    load_weights(loaded, tmp_path / "small.pt")
    assert torch.equal(loaded.linear.weight, state["linear.weight"].float())


def test_what_does_not_fit_names_the_entry_that_was_taken(tmp_path):
    state = network(1).state_dict()
    state["conv.weight"] = torch.zeros(2, 1, 5, 5)
    message = refused(tmp_path / "both.pt", {"state_dict": network(3).state_dict(), "state_dict_ema": state})
    assert message.endswith(
        "(its entry 'state_dict_ema') does not fit the network: 1 of another shape (conv.weight (2, 1, 5, 5) for "
        "(2, 1, 3, 3))"
    )
