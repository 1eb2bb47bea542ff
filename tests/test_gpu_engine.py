"""The benchmark of candidates in flight: each way gives what one candidate after the other does, without a GPU."""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import math
import sys
import tarfile
import tempfile
import time
import types
from pathlib import Path

import pytest
import torch
from pretended_device import pretended_device
from small_networks import conv4, images, randomised, resnet20

from blendsearch.compute import Compute
from blendsearch.data.batches import ImageTensors
from blendsearch.data.resident import resident
from blendsearch.structure import Plan, Structure

SCRIPTS = Path(__file__).parents[1] / "scripts"


def loaded(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def in_flight():
    return loaded("in_flight")


@pytest.fixture(scope="module")
def report():
    return loaded("engine_report")


@pytest.fixture(scope="module")
def engine():
    return loaded("gpu_engine")


@pytest.fixture(scope="module", params=["option A", "option B", "plain"])
def candidates(request):
    """Three candidates of equal widths."""
    projected = loaded("engine_case").ProjectedResNet
    build = {"option A": resnet20, "option B": lambda: projected(1, 3, 3), "plain": conv4}[request.param]
    network = randomised(build())
    structure = Structure.of(network, images(2, 16))
    plans = []
    for seed in range(3):
        draws = torch.Generator().manual_seed(seed)
        scores = {group: torch.rand(width, generator=draws) for group, width in structure.widths.items()}
        plans.append(Plan.top(scores, {group: -(-width // 2) for group, width in structure.widths.items()}))
    return structure.trace.order[0], [structure.slice(network, plan).eval() for plan in plans]


def answers(networks, x):
    with torch.no_grad():
        return torch.stack([network(x) for network in networks], dim=1)


def test_candidates_answer_alike_alone_joined_and_stacked(in_flight, candidates):
    first, networks = candidates
    x = images(5, 16, seed=2)
    expected = answers(networks, x)
    with torch.no_grad():
        assert in_flight.joined(networks, first)(x).shape == (5, 3, 3)
        for found in (in_flight.joined(networks, first)(x), in_flight.stacked(networks)(x)):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_statistics_taken_together_are_each_candidates_own(in_flight, candidates):
    first, networks = candidates
    whole, x = in_flight.joined(networks, first), images(40, 16, seed=3)
    for network in (whole, *networks):
        in_flight.recalibrate(network, [(x, None)])
    with torch.no_grad():
        torch.testing.assert_close(whole(x), answers(networks, x), atol=1e-4, rtol=1e-4)


def test_a_filled_slot_is_the_candidate(in_flight, candidates):
    _, networks = candidates
    x = images(5, 16, seed=2)
    slot = in_flight.Slot(networks[0])
    expected = answers(networks[1:2], x)
    slot.fill(networks[1])
    assert torch.equal(answers([slot.network], x), expected)


@pytest.mark.parametrize("together", [False, True])
def test_what_a_graph_captures_neither_copies_nor_waits(in_flight, candidates, together):
    first, networks = candidates
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8, generator=draws)
    split = ImageTensors(pixels, torch.arange(60) % 3, (0.5, 0.4, 0.6), (0.2, 0.3, 0.25))
    host = Compute("cpu", channels_last=True)
    expected = [in_flight.Passes(split, split, host).evaluation(host.place(copy.deepcopy(one))) for one in networks]
    with pretended_device() as device:
        compute = Compute("cuda:0", channels_last=True)
        there = resident(split, compute)
        passes = in_flight.Passes(there, there, compute)
        placed = compute.place(in_flight.joined(networks, first) if together else copy.deepcopy(networks[0]))
        passes.evaluation(placed)  # what is copied once and kept
        device.copies = device.reads = 0
        found = passes.evaluation(placed)
        assert (device.copies, device.reads) == (0, 0)
        found = found.tolist() if together else [int(found)]
    assert found == [int(one) for one in expected[: len(found)]]


def test_layers_that_cannot_be_joined_are_named(in_flight):
    networks = [torch.nn.Sequential(torch.nn.LayerNorm(3)) for _ in range(2)]
    with pytest.raises(ValueError, match="LayerNorm"):
        in_flight.joined(networks, "")


def test_hits_are_counted_for_one_and_for_several(in_flight):
    logits = torch.tensor([[[1.0, 0], [0, 1]], [[0, 1], [0, 1]], [[1, 0], [1, 0]]])  # three images, two candidates
    labels = torch.tensor([0, 1, 1])
    assert in_flight.hits_of(logits, labels).tolist() == [2, 1]
    assert int(in_flight.hits_of(logits[:, 0], labels)) == 2


class Cuda:
    """Stands for torch.cuda: notes in which order it is used."""

    def __init__(self, torch_cuda) -> None:
        self.log: list[str] = []
        self.current = "main"
        self.is_available = torch_cuda.is_available

    def waiting(self, name):
        return types.SimpleNamespace(
            name=name, wait_stream=lambda other: self.log.append(f"{name} waits for {other.name}")
        )

    def Stream(self):
        return self.waiting("side")

    def current_stream(self):
        return self.waiting(self.current)

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream.name
        yield
        self.current = before

    def synchronize(self):
        self.log.append("all done")

    def CUDAGraph(self):
        return types.SimpleNamespace(replay=lambda: self.log.append("replay"))

    @contextlib.contextmanager
    def graph(self, graph, *, stream):
        self.log.append(f"capture on {stream.name}")
        with self.stream(stream):
            yield
        self.log.append("captured")


def test_a_graph_is_captured_after_the_work_was_done_on_its_stream(in_flight, monkeypatch):
    cuda = Cuda(torch.cuda)
    monkeypatch.setattr(in_flight.torch, "cuda", cuda)

    def work():
        cuda.log.append(f"work on {cuda.current}")
        return torch.tensor(3)

    graph = in_flight.Captured(work, "cuda")
    warming = ["side waits for main", "work on side", "work on side", "main waits for side", "all done"]
    assert cuda.log == [*warming, "capture on side", "work on side", "captured"]
    assert int(graph.replay()) == 3
    assert cuda.log[-1] == "replay"


def test_without_cuda_a_graph_is_the_work_itself_and_streams_are_none(in_flight):
    results = iter([torch.tensor(1), torch.tensor(2)])
    graph = in_flight.Captured(lambda: next(results), "cpu")
    assert (int(graph.result), int(graph.replay()), int(graph.result)) == (1, 2, 2)
    lanes = in_flight.Streams("cpu", 2)
    lanes.begin()
    with lanes.on(1):
        pass
    lanes.end()


def facts():
    return {"device": "none", "network": "small", "bfloat16_flops": 1e12}


def test_rows_tell_shares_and_ratios(report, tmp_path):
    found = report.Report(tmp_path, facts())
    found.rows = [
        report.Row("usual loop", "(a) files", 2.0, 1e11, whole=True),
        report.Row("engine", "ours", 0.5, 1e11, whole=True),
        report.Row("engine", "a part", 0.1, 1e10),
        report.Row("stacks", "broken", math.nan, note="failed: why"),
    ]
    found.write()
    table = (tmp_path / "results.md").read_text()
    assert "| engine | ours | 500 | 2 | 40.00 % | 4.0 |  |" in table
    assert "| engine | a part | 100 | 10 | 20.00 % | - |  |" in table
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert rows[3]["seconds"] is None
    assert rows[1]["share_of_peak"] == pytest.approx(0.4)


def test_a_section_that_fails_or_takes_too_long_leaves_the_others(engine, report, tmp_path, monkeypatch, capsys):
    def broken(case):
        yield report.Row("broken", "before", 1.0)
        raise RuntimeError("no such\nkernel")

    def endless(case):
        time.sleep(30)
        yield report.Row("endless", "never", 1.0)

    def good(case):
        yield report.Row("good", "all", 1.0)

    sections = {"broken": (broken, 10), "endless": (endless, 0.1), "good": (good, 10), "late": (good, 1e9)}
    monkeypatch.setattr(engine, "SECTIONS", sections)
    found = report.Report(tmp_path, facts())
    engine.measure(None, found, list(sections), time.perf_counter() + 19)
    assert [row.name for row in found.rows] == ["before", "all"]
    assert found.failures["broken"] == "RuntimeError: no such kernel"
    assert "not done" in found.failures["endless"]
    assert found.failures["late"] == "no time left"
    assert json.loads((tmp_path / "results.json").read_text())["failures"].keys() == {"broken", "endless", "late"}


@pytest.mark.parametrize(
    ("arguments", "told"), [(["--device", "cuda"], "no CUDA device"), (["--data", "nowhere.tar"], "is not there")]
)
def test_what_cannot_be_measured_is_told_in_a_line(engine, monkeypatch, capsys, tmp_path, arguments, told):
    monkeypatch.setattr(engine.torch.cuda, "is_available", lambda: False)
    given = arguments if "--device" in arguments else [*arguments, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["gpu_engine.py", "--out", str(tmp_path), *given])
    with pytest.raises(SystemExit):
        engine.main()
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_everything_runs_small_on_a_cpu(engine, monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPTS))  # workers unpack what is defined there
    arguments = ["--out", str(tmp_path), "--device", "cpu", "--small", "--seconds", "200"]
    monkeypatch.setattr(sys, "argv", ["gpu_engine.py", *arguments])
    engine.main()
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["failures"] == {}
    assert {row["section"] for row in found["rows"]} == set(engine.SECTIONS)
    assert not [row for row in found["rows"] if row["note"].startswith(("failed", "hits differ"))]


def test_an_archive_is_unpacked_once_all_of_it_and_another_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def packed(name, content):
        (tmp_path / "image.png").write_text(content)
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            archive.add(tmp_path / "image.png", f"test/cat/{name}.png")
        return tmp_path / name

    unpacked = loaded("gpu_proof").unpacked
    one, other = packed("one", "a" * 5000), packed("other", "b")
    first = unpacked(one)
    assert [file.name for file in first.rglob("*.png")] == ["one.png"]
    assert unpacked(one) == first
    assert [file.name for file in unpacked(other).rglob("*.png")] == ["other.png"]
    one.write_bytes(one.read_bytes()[:-20])
    for _ in range(2):
        with pytest.raises((EOFError, tarfile.TarError)):
            unpacked(one)
    assert len(list((tmp_path / "temporary").iterdir())) == 2
