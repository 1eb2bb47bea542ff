"""Exports: written, tried in another runtime or process, and refused where they would not give the same outputs."""

from __future__ import annotations

import json
import os
import runpy
import sys

import pytest
import torch
from safetensors.torch import load_file
from small_networks import OptionA, conv4, images, randomised
from torch import nn
from torchvision.models import resnet18

import blendsearch
from blendsearch.campaigns.export import checking
from blendsearch.campaigns.export.state_dict import put_files
from blendsearch.campaigns.export.subject import read_subject
from blendsearch.errors import BlendsearchError, DataError, ExportError, StructureError, UnknownNameError, WeightsError
from blendsearch.experiment.saved import save_pruned
from blendsearch.results.records.shipping import Figures, NetworkRecord

ABOUT = NetworkRecord(name="conv4", arguments={"width": 4}, classes=("a", "b", "c"), shape=(3, 8, 8), mean=(0.5,) * 3)
BATCHES = [(images(4), torch.arange(4) % 3)]


@pytest.fixture(scope="module")
def pruned():
    return blendsearch.prune(randomised(conv4()), BATCHES, by="l1", budget={"flops": 0.5}, device="cpu")


@pytest.fixture
def saved(pruned, tmp_path):
    return save_pruned(pruned.network, pruned.plan, tmp_path / "net.safetensors", about=ABOUT)


def answer(network, x):
    with torch.no_grad():
        return network(x)


def test_onnx_takes_any_number_of_images_and_says_what_they_are(saved, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    done = blendsearch.export(saved, to="onnx")
    file = tmp_path / "net.onnx"
    assert done.path == str(file)
    assert sorted(os.listdir(tmp_path)) == ["net.onnx", "net.safetensors"]  # one file, weights inside
    assert done.bytes == file.stat().st_size
    assert done.difference <= 1e-4 * done.largest_output
    assert done.batches == (2, 1, 3)
    model = onnx.load(file)
    assert done.opset == model.opset_import[0].version
    assert json.loads(model.metadata_props[0].value)["classes"] == ["a", "b", "c"]
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    x = images(7, seed=3)
    (found,) = session.run(["outputs"], {"images": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), answer(blendsearch.load(saved), x), rtol=1e-4, atol=1e-5)


def test_a_fixed_batch_is_that_of_the_example(pruned, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    done = blendsearch.export(
        pruned, tmp_path / "fixed.onnx", to="onnx", example=(images(4), torch.zeros(4)), dynamic_batch=False
    )
    assert done.batches == (4,)
    assert onnxruntime.InferenceSession(done.path).get_inputs()[0].shape == [4, 3, 8, 8]


def test_a_program_runs_where_this_package_is_out_of_reach(pruned, tmp_path):
    done = blendsearch.export(pruned, tmp_path / "net.pt2", to="torch_export", example=images(1))
    assert "without blendsearch" in done.checked
    program = torch.export.load(done.path).module()
    x = images(5, seed=3)
    torch.testing.assert_close(answer(program, x), answer(pruned.network.eval(), x))


def test_the_barrier_keeps_the_package_out(saved, tmp_path):
    """Otherwise the check of the formats would show nothing: here what is to be built is in the package itself."""
    subject = read_subject(saved, None, None, None, dynamic=True, trust_code=False)
    put_files(subject, tmp_path)
    build = {"library": "blendsearch.models.zoo", "name": "conv4", "arguments": {}}
    with pytest.raises(ExportError, match=checking.KEPT_OUT):
        checking.run_outside(subject, {"folder": str(tmp_path), "build": build}, "it")


def test_a_state_dict_comes_with_what_a_fresh_instance_needs(saved, tmp_path):
    done = blendsearch.export(saved, tmp_path / "plain", to="state_dict")
    assert sorted(os.listdir(tmp_path / "plain")) == ["apply_plan.py", "model.safetensors", "plan.json"]
    assert "models/zoo.py" in done.note
    network = blendsearch.load(saved)
    assert load_file(tmp_path / "plain" / "model.safetensors").keys() == network.state_dict().keys()
    snippet = (tmp_path / "plain" / "apply_plan.py").read_text()
    assert "blendsearch" not in snippet
    fresh = runpy.run_path(str(tmp_path / "plain" / "apply_plan.py"))["apply_plan"](conv4())
    assert torch.equal(answer(fresh, images(3)), answer(network, images(3)))
    assert torch.equal(answer(blendsearch.load(tmp_path / "plain"), images(3)), answer(network, images(3)))
    assert blendsearch.Plan.from_dict(json.loads((tmp_path / "plain" / "plan.json").read_text())).counts


@pytest.mark.slow
def test_a_network_of_torchvision_is_built_without_this_package(tmp_path):
    network = resnet18(num_classes=3)
    found = blendsearch.prune(network, [(images(2, 32), torch.arange(2))], by="l1", budget={"flops": 0.3}, device="cpu")
    about = NetworkRecord(name="torchvision:resnet18", classes=("a", "b", "c"), shape=(3, 32, 32))
    path = save_pruned(found.network, found.plan, tmp_path / "net.safetensors", about=about)
    done = blendsearch.export(path, to="state_dict")
    assert "a process without blendsearch" in done.checked
    assert done.note == "fresh instance: torchvision.models.get_model('resnet18', num_classes=3)"


def test_tables_of_shortcuts_reach_a_fresh_instance(tmp_path):
    network = randomised(OptionA())
    found = blendsearch.prune(network, BATCHES, by="l1", budget={"flops": 0.5}, device="cpu")
    done = blendsearch.export(found, tmp_path / "a", to="state_dict", example=images(), model=OptionA())
    assert done.checked == "a copy of the OptionA given"
    assert done.note == ""
    done = blendsearch.export(found, tmp_path / "b", to="state_dict", example=images())
    assert "give model=" in done.note


def test_another_output_is_an_error_and_leaves_no_file(saved, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    (tmp_path / "net.onnx").write_text("the earlier one")
    monkeypatch.setattr(checking, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match=r"net.onnx: the ONNX file in onnxruntime differs from the network by"):
        blendsearch.export(saved, to="onnx")
    assert (tmp_path / "net.onnx").read_text() == "the earlier one"
    assert sorted(os.listdir(tmp_path)) == ["net.onnx", "net.safetensors"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_outputs_that_are_not_finite_are_no_agreement_in_whatever_batch(number, which):
    good, bad = torch.ones(2, 3), torch.tensor([[1.0, number, 1.0]])
    expected, found = [good, good[:1]], [good, bad]
    if which:
        expected, found = [good, bad], [good, bad]
    with pytest.raises(ExportError, match="the file: outputs that are not finite"):
        checking.compared(expected, found, "the file")


def test_outputs_agree_in_shape_and_within_the_tolerance():
    with pytest.raises(ExportError, match=r"it gives \(3,\) where the network gives \(2,\)"):
        checking.compared([torch.ones(2)], [torch.ones(3)], "it")
    assert checking.compared([torch.ones(2) * 4], [torch.ones(2) * 4.001], "it") == (pytest.approx(0.001, rel=0.01), 4)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_what_is_not_installed_is_told_with_its_extra(saved, monkeypatch, package):
    pytest.importorskip("onnxscript")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=rf"export to onnx needs {package}; install blendsearch\[export\]"):
        blendsearch.export(saved, to="onnx")


class Refuses(nn.Module):
    """What no exporter can follow: the shape of the answer depends on the images."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        if float(self.conv(x).sum()) > 1e9:
            return x
        return self.conv(x).mean((2, 3))


def test_a_network_that_cannot_be_exported_is_told_in_one_line(tmp_path):
    with pytest.raises(ExportError) as caught:
        blendsearch.export(Refuses(), tmp_path / "net.pt2", to="torch_export", example=images())
    assert "Refuses cannot be written as torch_export" in str(caught.value)
    assert "--batch fixed" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_whose_files_no_export_wrote_is_left_as_it_is(saved, tmp_path):
    run, own, exported = tmp_path / "run", tmp_path / "own", tmp_path / "exported"
    for folder, name in ((run, "job.json"), (run, "plan.json"), (own, "plan.json"), (own, "model.safetensors")):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    with pytest.raises(ExportError, match=r"'.*run' is a run folder \(job.json\), allowed: one of its own, such as"):
        blendsearch.export(saved, run, to="state_dict")
    with pytest.raises(ExportError, match=r"'.*own' has files that no export wrote \(model.safetensors, plan.json\)"):
        blendsearch.export(saved, own, to="state_dict")
    assert all(file.read_text() == "mine" for folder in (run, own) for file in folder.iterdir())
    for _ in range(2):
        blendsearch.export(saved, exported, to="state_dict")
    (exported / "README.md").write_text("mine")
    with pytest.raises(ExportError, match=r"files that no export wrote \(README.md\)"):
        blendsearch.export(saved, exported, to="huggingface")


def test_a_file_in_the_place_of_a_folder_is_told_in_one_line(saved, pruned):
    for to, path in (("onnx", saved / "x.onnx"), ("torch_export", saved / "a" / "x.pt2"), ("state_dict", saved / "x")):
        with pytest.raises(ExportError, match=r"path: '.*' given, but '.*net\.safetensors' is a file"):
            blendsearch.export(pruned, path, to=to, example=images())
    with pytest.raises(WeightsError, match=r"'.*b\.safetensors' given, but '.*net\.safetensors' is a file"):
        pruned.save(saved / "b.safetensors")


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_wrong_input_is_told_in_one_line(saved, pruned, tmp_path):
    whole = images().int()
    wrong = [
        (UnknownNameError, "did you mean 'onnx'", (saved,), {"to": "onxn"}),
        (BlendsearchError, "int given, allowed: a run folder", (3, tmp_path / "x.onnx"), {}),
        (ExportError, "path: not given", (pruned,), {"example": images()}),
        (DataError, "example: not given", (pruned, tmp_path / "x.onnx"), {}),
        (
            DataError,
            r"example: a tensor \(2, 3, 8, 8\) given",
            (pruned, tmp_path / "x.onnx"),
            {"example": whole},
        ),
        (StructureError, "cannot take images of 2x3x2x2", (pruned, tmp_path / "x"), {"example": images(size=2)}),
        (StructureError, "Pair gives a tuple", (Pair(), tmp_path / "x"), {"example": images()}),
        (ExportError, r"allowed: a file that ends in \.onnx", (saved, tmp_path / "x.pb"), {}),
        (ExportError, "is a file, state_dict needs a folder", (saved, saved), {"to": "state_dict"}),
        (BlendsearchError, "which only a run folder has", (pruned, tmp_path / "x.onnx"), {"contender": "l1"}),
        (ExportError, "the network is conv4, allowed: one of timm", (saved,), {"to": "huggingface"}),
    ]
    for kind, told, given, named in wrong:
        with pytest.raises(kind, match=told):
            blendsearch.export(*given, **{"to": "state_dict" if str(given[-1]).endswith("/x") else "onnx", **named})


@pytest.mark.slow
def test_a_card_has_the_figures_and_plain_timm_builds_the_architecture_alone(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", num_classes=3)
    found = blendsearch.prune(network, [(images(2, 32), torch.arange(2))], by="l1", budget={"flops": 0.5}, device="cpu")
    about = NetworkRecord(
        name="timm:resnet10t", classes=("cat", "dog", "owl"), shape=(3, 32, 32), mean=(0.4, 0.5, 0.6), std=(0.2,) * 3
    )
    figures = Figures(test_accuracy=0.875, unpruned_test_accuracy=0.9, flops_ratio=found.flops_ratio)
    path = save_pruned(found.network, found.plan, tmp_path / "net.safetensors", about=about, figures=figures)
    folder = tmp_path / "hub"
    done = blendsearch.export(path, folder, to="huggingface")
    assert "without blendsearch" in done.checked
    files = ["README.md", "apply_plan.py", "config.json", "model.safetensors", "plan.json"]
    assert sorted(os.listdir(folder)) == files
    card = (folder / "README.md").read_text()
    assert "| test accuracy | 87.50 % |" in card
    assert "library_name: timm" in card

    config = json.loads((folder / "config.json").read_text())
    assert (config["architecture"], config["num_classes"]) == ("resnet10t", 3)
    built = timm.create_model(f"local-dir:{folder}", pretrained=False)
    assert built.pretrained_cfg["mean"] == [0.4, 0.5, 0.6]
    with pytest.raises(RuntimeError, match="size mismatch"):  # as the card says
        timm.create_model(f"local-dir:{folder}", pretrained=True)
    shipped = blendsearch.load(folder)
    assert torch.equal(answer(shipped, images(2, 32)), answer(found.network.eval(), images(2, 32)))
