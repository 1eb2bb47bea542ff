"""The networks that runs keep, read back: that of a search, a pruning and a training, without their data."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tiny_campaign import TINIER

import blendsearch
from blendsearch.campaigns.search.run import run_search
from blendsearch.campaigns.single import run_prune, run_score, run_train
from blendsearch.errors import RunError, StructureError, WeightsError
from blendsearch.models.zoo import MODELS
from blendsearch.results.run_folder import RunFolder
from blendsearch.validation.space import checked_from_dict

SPACE = checked_from_dict({**TINIER, "search": {**TINIER["search"], "random_search": False, "rivals": False}})
X = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def searched(tmp_path_factory, without_report):
    return run_search(SPACE, tmp_path_factory.mktemp("runs") / "search").run_dir


@pytest.fixture(scope="module")
def run_of_prune(tmp_path_factory):
    return run_prune(SPACE, "l1", tmp_path_factory.mktemp("runs") / "prune").run_dir


def whole(width=8):
    return MODELS.get("conv4")(num_classes=10, in_channels=1, image_size=8, width=width)


def weights_are(network, folder, name):
    kept = RunFolder(folder).read_tensors(name)
    return all(torch.equal(tensor, kept[key]) for key, tensor in network.state_dict().items())


@pytest.fixture
def without_data(monkeypatch):
    """Fail where a data set is read."""

    def fail(*given):
        raise AssertionError("data were read")

    monkeypatch.setattr("blendsearch.experiment.experiment.load_splits", fail)


def test_of_a_search_comes_the_network_to_ship(searched, without_data):
    network = blendsearch.load(searched)
    assert weights_are(network, searched, "network.safetensors")
    assert not network.training
    kept = json.loads((searched / "plan.json").read_text())["groups"]
    assert network.conv2.out_channels == len(kept["conv2"]["keep"]) < 16


def test_an_instance_gives_the_same_network_and_stays_whole(searched, without_data):
    model = whole()
    network = blendsearch.load(searched, model=model)
    with torch.no_grad():
        assert torch.equal(network(X), blendsearch.load(searched)(X))
    assert model.conv2.out_channels == 8


def test_contenders_whose_networks_are_there_are_found_by_name(searched, tmp_path, without_data):
    folder = tmp_path / "run"
    shutil.copytree(searched, folder)
    (folder / "networks/criterion-taylor-seed0.safetensors").unlink()
    for name in ("l1", "criterion-l1"):
        assert weights_are(blendsearch.load(folder, contender=name), folder, "networks/criterion-l1-seed0.safetensors")
    assert weights_are(blendsearch.load(folder, contender="unpruned"), folder, "baseline.safetensors")
    with pytest.raises(RunError, match=r"no network of contender 'taylor' \(there: blend, l1, unpruned\)"):
        blendsearch.load(folder, contender="taylor")
    with pytest.raises(RunError, match="did you mean 'blend'"):
        blendsearch.load(folder, contender="blent")


def test_of_a_pruning_and_of_a_training(run_of_prune, tmp_path, without_data):
    assert weights_are(blendsearch.load(run_of_prune), run_of_prune, "network.safetensors")


def test_of_a_training_comes_the_whole_network(tmp_path):
    folder = run_train(SPACE, tmp_path / "train").run_dir
    assert weights_are(blendsearch.load(folder), folder, "baseline.safetensors")
    assert blendsearch.load(folder).conv1.out_channels == 8


def test_a_folder_of_an_earlier_version_reads_its_data_for_the_shape(run_of_prune, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(run_of_prune, folder)
    (folder / "model.json").unlink()
    assert weights_are(blendsearch.load(folder), folder, "network.safetensors")
    space = json.loads((folder / "space.json").read_text())
    space["data"] = {**space["data"], "name": "folder", "root": str(tmp_path / "gone"), "test": None}
    (folder / "space.json").write_text(json.dumps(space))
    with pytest.raises(RunError, match="the size of its images is not known without its data"):
        blendsearch.load(folder, model=whole())


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), whole(12), torch.nn.Conv2d(1, 3, 3)])
def test_another_model_is_refused_in_one_line(run_of_prune, model):
    with pytest.raises((StructureError, WeightsError)) as caught:
        blendsearch.load(run_of_prune, model=model)
    assert f"the {type(model).__name__}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_told(run_of_prune, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(run_of_prune, folder)
    shutil.copyfile(folder / "baseline.safetensors", folder / "network.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit the Conv4: .* of another shape"):
        blendsearch.load(folder)


def test_other_jobs_and_unfinished_runs_are_told(run_of_prune, tmp_path):
    folder = run_score(SPACE, tmp_path / "score").run_dir
    with pytest.raises(RunError, match="was made by 'blendsearch score', which keeps no network to ship; allowed"):
        blendsearch.load(folder)
    stopped = tmp_path / "stopped"
    shutil.copytree(run_of_prune, stopped)
    (stopped / "network.safetensors").unlink()
    with pytest.raises(RunError, match=r"has no network.safetensors with plan.json yet; continue the run"):
        blendsearch.load(stopped)
