"""Latency before and after, side by side, in the runtimes that are installed."""

import contextlib
import json
import os

import pytest
import torch
from tiny_campaign import TINIER
from torch import nn

import blendsearch
from blendsearch.campaigns.benchmark import RUNTIMES, Terms
from blendsearch.campaigns.search.run import run_search
from blendsearch.compute import Compute
from blendsearch.errors import BlendsearchError, ExportError, RunError
from blendsearch.results.run_folder import RunFolder
from blendsearch.validation.space import checked_from_dict


def network(width=64):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5),
    ).eval()  # fmt: skip


def batches():
    return [(torch.rand(8, 3, 16, 16), torch.arange(8) % 5)]


def broken(network, terms, file):
    raise ExportError("no compiler here")


def shown_to(told):
    return lambda task, done, total, detail="": told.append(detail)


@contextlib.contextmanager
def another_is_at_work(folder):
    raise RunError("another process is at work in this folder")
    yield


@pytest.fixture
def compiled(monkeypatch):
    """What torch.compile compiled, by a compiler that takes no time."""
    found, compile = [], torch.compile

    def backend(graph, inputs):
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda network, **options: compile(network, backend=backend, **options))
    return found


def test_a_pruned_network_is_timed_beside_its_unpruned_one():
    model = network()
    pruned = blendsearch.prune(model, batches(), by="l1", budget={"flops": 0.1})
    example = torch.rand(2, 3, 16, 16)
    done = blendsearch.benchmark(pruned, model=model, example=example, runtimes=["torch"], batches=(1, 16))
    assert [(pair.runtime, pair.images, pair.threads) for pair in done.pairs] == [("torch", 1, 1), ("torch", 16, 1)]
    assert done.pairs[1].shipped_ms < done.pairs[1].unpruned_ms, "a tenth of the work takes less time"
    assert done.left_out == {}


def test_it_is_timed_in_float32_inside_an_autocast():
    model = network(8)
    pruned = blendsearch.prune(model, batches(), by="l1")
    seen = set()
    model[1].register_forward_hook(lambda module, given, result: seen.add(result.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        blendsearch.benchmark(pruned, model=model, example=batches()[0][0], runtimes=["torch"], batches=(1,))
    assert seen == {torch.float32}


def test_onnxruntime_is_timed_where_it_is_installed():
    pytest.importorskip("onnxruntime")
    model = network(8)
    pruned = blendsearch.prune(model, batches(), by="l1")
    example = torch.rand(2, 3, 16, 16)
    done = blendsearch.benchmark(pruned, model=model, example=example, runtimes=["onnxruntime"], batches=(2,))
    assert [(pair.runtime, pair.device, pair.images) for pair in done.pairs] == [("onnxruntime", "cpu", 2)]


def test_what_is_measured_on_a_run_goes_into_its_report(tmp_path, monkeypatch):
    campaign = run_search(checked_from_dict(TINIER), tmp_path / "run")
    assert "(torch, cpu, 1 thread)" in campaign.report.read_text()
    blendsearch.benchmark(campaign.run_dir, runtimes=["torch"], batches=[3])
    kept = json.loads((campaign.run_dir / "records/benchmark.json").read_text())
    assert [pair["images"] for pair in kept] == [3]
    assert "latency of 3 images" in campaign.report.read_text()
    blendsearch.benchmark(campaign.run_dir, runtimes=["torch"], batches=[3, 2])
    text = (campaign.run_dir / "records/benchmark.json").read_text()
    assert [pair["images"] for pair in json.loads(text)] == [3, 2], "measured again, it takes the place of the first"
    blendsearch.benchmark(campaign.run_dir, runtimes=["torch"], batches=[1])
    text = (campaign.run_dir / "records/benchmark.json").read_text()
    assert [pair["images"] for pair in json.loads(text)] == [3, 2, 1], "what was measured before stays"
    blendsearch.benchmark(campaign.run_dir, contender="unpruned", runtimes=["torch"], batches=[1])
    assert (campaign.run_dir / "records/benchmark.json").read_text() == text, "of the network to ship alone"
    (campaign.run_dir / "records/benchmark.json").unlink()
    for runtime in RUNTIMES:
        monkeypatch.setitem(RUNTIMES, runtime, broken)
    blendsearch.benchmark(campaign.run_dir, batches=[1])
    assert not (campaign.run_dir / "records/benchmark.json").exists(), "nothing was measured"
    monkeypatch.setitem(RUNTIMES, "torch", lambda *given: lambda: None)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    told = []
    found = blendsearch.benchmark(campaign.run_dir, runtimes=["torch"], batches=[1], progress=shown_to(told))
    assert len(found.pairs) == 1
    assert any("cannot be written, so what is measured is not kept" in line for line in told)
    assert not (campaign.run_dir / "records/benchmark.json").exists()
    monkeypatch.undo()
    monkeypatch.setitem(RUNTIMES, "torch", lambda *given: pytest.fail("measured in vain"))
    monkeypatch.setattr(RunFolder, "locked", another_is_at_work)
    with pytest.raises(RunError, match="another process"):
        blendsearch.benchmark(campaign.run_dir, runtimes=["torch"])


def test_a_runtime_that_cannot_is_left_out_with_its_reason_or_told_where_it_was_asked_for(monkeypatch):
    monkeypatch.setitem(RUNTIMES, "torch.compile", broken)
    monkeypatch.setitem(RUNTIMES, "onnxruntime", broken)
    model = network(8)
    pruned = blendsearch.prune(model, batches(), by="l1")
    given = {"model": model, "example": torch.rand(2, 3, 16, 16), "batches": (1,)}
    done = blendsearch.benchmark(pruned, **given)
    assert [pair.runtime for pair in done.pairs] == ["torch"]
    assert done.left_out == {"torch.compile": "no compiler here", "onnxruntime": "no compiler here"}
    with pytest.raises(ExportError, match="no compiler here"):
        blendsearch.benchmark(pruned, runtimes=["torch.compile"], **given)


def test_both_networks_are_compiled_for_every_batch_however_many_there_are(compiled):
    model, example = network(2), torch.rand(2, 3, 8, 8)
    blendsearch.benchmark(network(1), model=model, example=example, runtimes=["torch.compile"], batches=range(1, 7))
    assert len(compiled) == 12


class Choosing(nn.Module):
    """Its numbers decide what is done, so that each instance needs a compilation of its own."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return x + self.number if float(x.sum()) < 1e9 else x


def test_a_network_that_is_not_compiled_to_its_end_is_told(compiled, tmp_path):
    few, many = (nn.Sequential(*map(Choosing, range(count))) for count in (2, 20))
    terms = Terms(torch.rand(1, 3, 8, 8), Compute(), 1)
    torch.compiler.reset()
    RUNTIMES["torch.compile"](few, terms, tmp_path)
    with pytest.raises(ExportError, match=r"torch\.compile does not compile Sequential .*Limit"):
        RUNTIMES["torch.compile"](many, terms, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runtimes": ["torch.compil"]}, "did you mean 'torch.compile'"),
        ({"batches": ()}, "threads, batches: 1 and"),
        ({"threads": 0}, "threads, batches: 0"),
        ({"device": "gpu"}, "compute.device: 'gpu' given, allowed: 'auto', 'cpu'"),
        ({"model": None}, "model: not given"),
        ({"example": None}, "example: not given"),
    ],
)
def test_wrong_terms_are_told(changes, said):
    model = network(8)
    pruned = blendsearch.prune(model, batches(), by="l1")
    with pytest.raises(BlendsearchError, match=said):
        blendsearch.benchmark(pruned, **{"model": model, "example": torch.rand(2, 3, 16, 16), **changes})
