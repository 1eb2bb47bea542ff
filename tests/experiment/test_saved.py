"""A saved network: one file that carries its plan, read without running anything, refused in one line."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_networks import OptionA, Tail, conv4, images, randomised

import blendsearch
from blendsearch.errors import BlendsearchError, RunError, StructureError, WeightsError
from blendsearch.experiment.loading import plain_arguments
from blendsearch.experiment.saved import METADATA, read_saved, save_pruned
from blendsearch.models.zoo import MODELS
from blendsearch.results.records.shipping import NetworkRecord

ABOUT = NetworkRecord(name="conv4", arguments={"width": 4}, classes=("a", "b", "c"), shape=(3, 8, 8), mean=(0.5,) * 3)
BATCHES = [(images(4), torch.arange(4) % 3)]


@pytest.fixture
def pruned():
    network = randomised(conv4())
    return network, blendsearch.prune(network, BATCHES, by="l1", budget={"flops": 0.5}, device="cpu")


def written(tmp_path, found, **facts):
    return save_pruned(found.network, found.plan, tmp_path / "deep" / "net.safetensors", **facts)


def answers_alike(one, other):
    with torch.no_grad():
        return torch.equal(one(images(3, seed=1)), other.eval()(images(3, seed=1)))


def test_the_file_alone_makes_the_network_and_draws_nothing(tmp_path, pruned):
    _, found = pruned
    path = written(tmp_path, found, about=ABOUT)
    state = torch.get_rng_state()
    network = blendsearch.load(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert not network.training
    assert answers_alike(network, found.network)
    assert load_file(path).keys() == found.network.state_dict().keys()
    assert read_saved(path).plan == found.plan


def test_an_instance_is_copied_and_left_alone(tmp_path, pruned):
    model, found = pruned
    path = written(tmp_path, found)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    network = blendsearch.load(str(path), model=model)
    assert answers_alike(network, found.network)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_what_no_state_dict_holds_comes_back(tmp_path):
    network = randomised(OptionA())
    found = blendsearch.prune(network, BATCHES, by="l1", budget={"flops": 0.5}, device="cpu")
    assert answers_alike(blendsearch.load(written(tmp_path, found), model=OptionA()), found.network)


def test_a_whole_network_is_saved_without_a_plan(tmp_path):
    network = randomised(conv4())
    path = save_pruned(network, None, tmp_path / "whole.safetensors", about=ABOUT)
    assert read_saved(path).plan is None
    assert answers_alike(blendsearch.load(path), network)


def test_half_precision_is_kept(tmp_path, pruned):
    _, found = pruned
    path = save_pruned(found.network.bfloat16(), found.plan, tmp_path / "half.safetensors", about=ABOUT)
    assert blendsearch.load(path).conv1.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: conv4(6), "'conv1' has 6 filters in the Conv4 given, 4 in the plan"),
        (
            lambda: MODELS.get("resnet20")(num_classes=3, in_channels=3, image_size=8),
            "has no module 'conv2' (the nearest is 'conv1')",
        ),
        (lambda: Tail(), "Tail has no module 'conv1'"),
        (lambda: torch.nn.Linear(2, 2), "Linear has no module 'conv1'"),
        (lambda: "conv4", "str given, a torch.nn.Module expected"),
        (lambda: MODELS.get("conv4")(num_classes=3, in_channels=1, image_size=8, width=4), "conv1.weight"),
    ],
)
def test_another_model_is_refused_in_one_line(tmp_path, pruned, model, told):
    _, found = pruned
    path = written(tmp_path, found)
    with pytest.raises((StructureError, WeightsError)) as caught:
        blendsearch.load(path, model=model())
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_with_the_original_at_hand_another_number_of_classes_is_refused(tmp_path, pruned):
    model, found = pruned
    other = MODELS.get("conv4")(num_classes=5, in_channels=3, image_size=8, width=4)
    path = written(tmp_path, found, original=model)
    with pytest.raises(WeightsError, match=r"2 of another shape \(linear.weight \(3, 8\) for \(5, 8\)"):
        blendsearch.load(path, model=other)
    assert answers_alike(blendsearch.load(path, model=model), found.network)


def test_a_file_that_does_not_say_how_it_is_built_needs_a_model(tmp_path, pruned):
    with pytest.raises(WeightsError, match="does not say how its network is built; give model="):
        blendsearch.load(written(tmp_path, pruned[1]))


def forged(tmp_path, text):
    path = tmp_path / "forged.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"blendsearch": text})
    return path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is damaged"),
        ("[1]", "is damaged"),
        ('{"schema": 7}', "schema 7 given, 1 allowed"),
        ('{"schema": 1, "sizes": 3}', "sizes"),
        ('{"schema": 1, "plan": {"schema": 9}}', "plan.schema: input should be 1 (given 9)"),
    ],
)
def test_damaged_metadata_are_told(tmp_path, text, told):
    with pytest.raises(BlendsearchError) as caught:
        blendsearch.load(forged(tmp_path, text))
    assert told in str(caught.value)
    assert "forged" in str(caught.value) or "plan" in str(caught.value)


def test_a_file_cannot_set_other_attributes(tmp_path):
    path = forged(tmp_path, json.dumps({"schema": 1, "sizes": {"conv1": {"forward": 1}}}))
    with pytest.raises(StructureError, match="sizes of 'conv1': forward given"):
        blendsearch.load(path, model=conv4())


@pytest.mark.parametrize("size", [[3, 3], 0, -1, 3.5, 64])
def test_a_size_that_slicing_cannot_have_left_is_told(tmp_path, size):
    network = conv4()
    record = {"schema": 1, "sizes": {"conv1": {"groups": size}}}
    save_file(network.state_dict(), tmp_path / "forged.safetensors", metadata={METADATA: json.dumps(record)})
    with pytest.raises(BlendsearchError, match="groups"):
        blendsearch.load(tmp_path / "forged.safetensors", model=network)


def test_sizes_that_do_not_go_with_the_weights_are_told(tmp_path):
    network = conv4()
    record = {"schema": 1, "sizes": {"conv1": {"out_channels": 3}}}
    save_file(network.state_dict(), tmp_path / "forged.safetensors", metadata={METADATA: json.dumps(record)})
    with pytest.raises(WeightsError, match=r"its sizes do not go with its weights: 'conv1' has a weight of"):
        blendsearch.load(tmp_path / "forged.safetensors", model=network)


@pytest.mark.parametrize("name", ["os:system", "torch.hub:load", "blendsearch.models.zoo:conv4", "__main__:run"])
def test_a_file_cannot_have_code_run_that_is_not_in_the_working_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "os.py").write_text("")  # a file of that name does not make it the one that Python finds
    network = {"name": name, "arguments": {"command": "touch gone"}, "classes": ["a"], "shape": [3, 8, 8]}
    path = forged(tmp_path, json.dumps({"schema": 1, "network": network}))
    with pytest.raises(WeightsError, match="code that is not in"):
        blendsearch.load(path)
    assert not (tmp_path / "gone").exists()


def test_own_code_in_the_working_folder_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net_of_my_own.py").write_text(
        "from torch import nn\n"
        "def build(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(8, num_classes))\n"
    )
    about = ABOUT.model_copy(update={"name": "net_of_my_own:build", "arguments": {}})
    namespace: dict = {}
    exec((tmp_path / "net_of_my_own.py").read_text(), namespace)
    found = blendsearch.prune(namespace["build"](3), BATCHES, by="l1", budget={"flops": 0.5}, device="cpu")
    path = save_pruned(found.network, found.plan, tmp_path / "own.safetensors", about=about)
    assert answers_alike(blendsearch.load(path), found.network)


def test_nothing_is_fetched():
    assert plain_arguments({"weights": "DEFAULT", "pretrained": True, "width_mult": 0.5}) == {"width_mult": 0.5}


def test_other_files_are_told(tmp_path, pruned):
    _, found = pruned
    with pytest.raises(WeightsError, match=r"ends in '\.pt', allowed: \.safetensors"):
        save_pruned(found.network, found.plan, tmp_path / "net.pt")
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(1)}, plain)
    with pytest.raises(WeightsError, match="carries no plan"):
        blendsearch.load(plain)
    with pytest.raises(RunError, match="there is no such run folder or file"):
        blendsearch.load(tmp_path / "nothing")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        blendsearch.load(tmp_path / "text.safetensors")
    with pytest.raises(RunError, match="no run folder of blendsearch"):
        blendsearch.load(tmp_path)
    with pytest.raises(RunError, match="a file holds one network"):
        blendsearch.load(written(tmp_path, found, about=ABOUT), contender="l1")


def test_a_failed_write_leaves_the_earlier_file(tmp_path, pruned, monkeypatch):
    path = written(tmp_path, pruned[1], about=ABOUT)
    before = path.read_bytes()

    def fail(*given, **named):
        raise OSError("full")

    monkeypatch.setattr("blendsearch.experiment.saved.save_file", fail)
    with pytest.raises(OSError, match="full"):
        written(tmp_path, pruned[1])
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
