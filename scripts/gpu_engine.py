"""Candidates per second on one GPU: the usual loop, this engine, and several in flight; in less than ten minutes.

    python scripts/gpu_engine.py --out runs/gpu_engine      # random JPEG files
    python scripts/gpu_engine.py --data cifar10-jpeg.tar.xz --out runs/gpu_engine   # or a folder of class folders
    python scripts/gpu_engine.py --small --out runs/tried   # on few images in a minute, also with --device cpu

ResNet-56 with random weights, half of its FLOPs, batch norm on 1,000 images, accuracy on 2,000. Its shortcuts are 1 x 1
convolutions (option B), since Torch-Pruning does not know those without parameters; a row tells what these cost. Every
section stands alone: what fails is told in a line, what no longer fits into --seconds is left out, and OUT/results.md
and OUT/results.json are written after each. "Share of peak" is of the bfloat16 matrix products measured first.

What goes into the package by what is found here:
- streams, where 4 in flight give more than 1.3 candidates for one; else they only complicate.
- graphs, where "graph, filled and replayed" beats the whole evaluation by more than 1.3: one capture serves a search at
  equal shares. A capture for each candidate (its seconds are a row) pays only above so many images as it costs.
- stacks, where a candidate of a stack of 8 costs less than one alone. On a CPU they do not: by groups 1.5 x as much in
  float32 and 1.2 x in bfloat16, by vmap 1.7 x and 2.8 x (ResNet-20 at 30 % of its FLOPs, K = 8, one core).
- widths of whole eights, where they are faster than fewer filters: then candidates are padded with zero filters.
- torch.compile, where what it saves in a search of 1,000 candidates is more than its compilation.
- refits by windows instead of patches, from the widths on at which they are faster.
- several worker processes on one GPU, where they beat one: then `compute.workers: auto` should say so.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_engine import random_images
from engine_case import Case, Sizes
from engine_report import Report, Row, TookTooLong, device_facts, told, within
from gpu_proof import unpacked
from in_flight import Captured, Slot, Streams, hits_of, joined, stacked
from torch import Tensor, nn
from torch.func import functional_call

from blendsearch.evolution.engines.local import LocalEngine, end_workers
from blendsearch.evolution.fitness import FitnessFunction
from blendsearch.proxies import PROXIES
from blendsearch.training.folding import fold_norms

Found = Iterator[Row]


def in_flight_counts(case: Case) -> tuple[int, ...]:
    """Return how many candidates are tried at a time."""
    return (1, 2) if case.sizes.small else (1, 2, 4, 8)


def usual(case: Case) -> Found:
    """(a) The loop that everyone writes, and (b) the same with images as tensors on the device."""
    for name, read in (("(a) DataLoader over files", case.from_files), ("(b) tensors on the device", case.on_device)):
        row = partial(Row, "usual loop", f"{name}, Torch-Pruning, float32", work=case.work, whole=True)
        yield row(case.seconds_of(partial(case.usual, read)), note="deepcopy, dependency graph, pruner")


def engine(case: Case) -> Found:
    """(c) Whole evaluations, and their parts."""
    row, evaluation = partial(Row, "engine"), partial(Row, "engine", whole=True)
    for kind in ("bn_recalibrated", "compensated", "agreement"):
        yield evaluation(f"{kind}, bfloat16", case.seconds_of(case.estimate(kind)), case.estimated_work(kind))
    plain = case.with_plain_shortcuts()
    seconds = case.seconds_of(plain.estimate("bn_recalibrated"))
    yield evaluation("bn_recalibrated, option-A shortcuts", seconds, plain.work)
    yield row("slice on the host, then place", case.seconds_of(case.slice_on_host))
    yield row("slice on the device", case.seconds_of(case.slice_on_device))
    network = case.candidates(1)[0]
    yield row("batch norms taken anew", case.seconds_of(lambda: case.passes.recalibrate(network)), case.recalibration)
    for batch in (250, 500, 1000, 2000):
        hits = partial(case.passes.hits, network, batch)
        yield row(f"accuracy pass, batches of {batch}", case.seconds_of(hits), case.accuracy)
    hits = partial(case.from_host.hits, network)
    yield row("accuracy pass, images copied from the host", case.seconds_of(hits), case.accuracy)
    for width in case.sizes.refit_widths:
        for name, squares in case.refits(width).items():
            yield row(f"refit of {width} channels by {name}", case.seconds_of(squares), note="3 x 3, 32 x 8 x 8 a time")


def stacks(case: Case) -> Found:
    """Candidates of equal widths as one network."""
    for count in case.sizes.stacks:
        yield from ways_to_stack(case, count, eights=False)
        yield from ways_to_stack(case, count, eights=True)
    whole = case.compute.place(joined(case.candidates(count), case.first))
    seconds = case.seconds_of(lambda: case.passes.evaluation(whole), count)
    yield Row("stacks", f"{count} by groups, whole bn_recalibrated", seconds, case.work, "not cut", whole=True)


def ways_to_stack(case: Case, count: int, *, eights: bool) -> Found:
    """The accuracy pass of so many candidates, in each way; one that fails leaves the others."""
    networks = case.candidates(count, eights=eights)
    expected = torch.stack([case.passes.hits(one) for one in networks]).tolist()
    ways: dict[str, Callable[[], Callable[[], Tensor]]] = {
        "one after the other": lambda: lambda: torch.stack([case.passes.hits(one) for one in networks]),
        "groups": lambda: partial(case.passes.hits, case.compute.place(joined(networks, case.first))),
        "vmap": lambda: partial(case.passes.hits, stacked(networks)),
    }
    for name, prepare in ways.items():
        shape = ", widths of whole eights" if eights else ""
        row = partial(Row, "stacks", f"{count} by {name}, accuracy pass{shape}")
        try:
            hits = prepare()
            note = difference(expected, hits().tolist())
            yield row(case.seconds_of(hits, count), case.work_of(case.sizes.search, eights=eights), note)
        except Exception as error:
            yield row(math.nan, note=f"failed: {told(error)}")


def streams(case: Case) -> Found:
    """Evaluations side by side on streams, by one thread that gives them out in turn and by a thread each."""
    for count in in_flight_counts(case):
        networks, lanes = case.candidates(count), Streams(case.device, count)
        row = partial(Row, "streams", work=case.accuracy)

        def in_turn(networks: list[nn.Module] = networks, lanes: Streams = lanes) -> Tensor:
            found = []
            lanes.begin()
            with torch.no_grad(), case.compute.autocast():
                for images, labels in case.passes.batches():
                    for number, network in enumerate(networks):
                        with lanes.on(number):
                            found.append(hits_of(network(images), labels))
            lanes.end()
            return torch.stack(found).sum()

        def on_lane(number: int, networks: list[nn.Module] = networks, lanes: Streams = lanes) -> Tensor:
            with lanes.on(number):
                return case.passes.hits(networks[number])

        yield row(f"{count} in flight, one thread in turn", case.seconds_of(in_turn, count))
        with ThreadPoolExecutor(count) as pool:

            def threaded(lanes: Streams = lanes, count: int = count, pool: Any = pool) -> Tensor:
                lanes.begin()
                found = list(pool.map(on_lane, range(count)))
                lanes.end()
                return torch.stack(found).sum()

            yield row(f"{count} in flight, a thread each", case.seconds_of(threaded, count))


def graphs(case: Case) -> Found:
    """CUDA graphs of the accuracy pass."""
    for images, passes in case.larger().items():
        network = case.candidates(1)[0]
        work = case.accuracy * images / len(case.passes.search)
        row = partial(Row, "graphs", work=work)
        yield row(f"{images} images, launched", case.seconds_of(lambda p=passes, n=network: p.hits(n)))
        start = time.perf_counter()
        graph = Captured(lambda p=passes, n=network: p.hits(n), case.device)
        case.synchronise()
        yield Row("graphs", f"{images} images, one capture", time.perf_counter() - start, note="with two passes before")
        off = difference([int(passes.hits(network))], [int(graph.replay())])
        yield row(f"{images} images, replayed", case.seconds_of(graph.replay), note=off)
    folded = fold(case.candidates(1)[0], case)
    graph = Captured(lambda: case.passes.hits(folded), case.device)
    yield Row("graphs", "replayed, norms folded", case.seconds_of(graph.replay), case.accuracy)
    torch.backends.cudnn.benchmark = True
    try:
        network = case.candidates(1)[0]
        graph = Captured(lambda: case.passes.hits(network), case.device)
    finally:
        torch.backends.cudnn.benchmark = False
    yield Row("graphs", "replayed, kernels tried out", case.seconds_of(graph.replay), case.accuracy)


def filled_graphs(case: Case) -> Found:
    """The CUDA graph of a whole evaluation, captured once and filled with candidate after candidate."""
    row = partial(Row, "filled graphs", work=case.work)
    slot = Slot(case.candidates(1)[0])
    whole = Captured(lambda: case.passes.evaluation(slot.network), case.device)
    others = case.candidates(4, seed=1)
    expected, found = [], []
    for one in others:
        slot.fill(one)
        found.append(int(whole.replay()))
        expected.append(int(case.passes.evaluation(one)))
    yield row("bn_recalibrated replayed", case.seconds_of(whole.replay), note=difference(expected, found))
    yield Row("filled graphs", "filling the graph's network", case.seconds_of(lambda: slot.fill(others[0])))

    def filled() -> Tensor:
        slot.fill(case.slice_on_device())
        return whole.replay()

    yield row("graph, filled and replayed", case.seconds_of(filled), note="slice, fill, replay, read", whole=True)


def many_graphs(case: Case) -> Found:
    """Several graphs at once, and the graph of a stack."""
    for count in in_flight_counts(case)[1:]:
        made = [Captured(partial(case.passes.evaluation, one), case.device) for one in case.candidates(count)]
        lanes = Streams(case.device, count)

        def replayed(made: list[Captured] = made, lanes: Streams = lanes) -> Tensor:
            lanes.begin()
            for number, one in enumerate(made):
                with lanes.on(number):
                    one.replay()
            lanes.end()
            return torch.stack([one.result for one in made])

        yield Row("many graphs", f"{count} bn_recalibrated on streams", case.seconds_of(replayed, count), case.work)
    count = case.sizes.stacks[-1]
    stack = case.compute.place(joined(case.candidates(count, eights=True), case.first))
    graph = Captured(lambda: case.passes.evaluation(stack), case.device)
    work = case.work_of(case.sizes.calibration + case.sizes.search, eights=True)
    name = f"{count} by groups, widths of whole eights, bn_recalibrated"
    yield Row("many graphs", name, case.seconds_of(graph.replay, count), work)


def compiled(case: Case) -> Found:
    """torch.compile, its compilation counted; tensors are arguments, so that equal widths need none anew."""
    network = case.candidates(1)[0]

    def call(tensors: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(network, tensors, (images,))

    backend = "inductor" if case.device.startswith("cuda") else "eager"
    fast = torch.compile(call, backend=backend, dynamic=False)

    def hits(one: nn.Module) -> Tensor:
        tensors = {**dict(one.named_parameters()), **dict(one.named_buffers())}
        return case.passes.hits(lambda images: fast(tensors, images))

    with torch.no_grad():
        for name, one in {"first": network, "of equal widths": case.candidates(2)[1]}.items():
            start = time.perf_counter()
            off = difference([int(case.passes.hits(one))], [int(hits(one))])
            yield Row("compiled", f"{name}: compilation and one pass", time.perf_counter() - start, note=off)
        yield Row("compiled", "accuracy pass", case.seconds_of(lambda: hits(network)), case.accuracy, backend)


def workers(case: Case) -> Found:
    """Worker processes that share the device, as `compute.workers` starts them."""
    for count in in_flight_counts(case)[1:-1] or (2,):
        proxy, local = PROXIES.get("bn_recalibrated")(), LocalEngine(count, case.device)
        fitness = FitnessFunction(proxy, case.context(), engine=local)
        try:
            fitness(case.plans(2 * count, seed=3))  # the processes start, and their device with them
            plans = case.plans(case.sizes.candidates, seed=2)
            start = time.perf_counter()
            fitness(plans)
            seconds = (time.perf_counter() - start) / len(plans)
        finally:
            end_workers()
        yield Row("workers", f"{count} processes, bn_recalibrated", seconds, case.work, whole=True)


SECTIONS: dict[str, tuple[Callable[[Case], Found], float]] = {
    "usual loop": (usual, 60),
    "engine": (engine, 90),
    "stacks": (stacks, 90),
    "streams": (streams, 40),
    "graphs": (graphs, 40),
    "filled graphs": (filled_graphs, 30),
    "many graphs": (many_graphs, 40),
    "workers": (workers, 80),
    "compiled": (compiled, 80),
}
"""What is measured, and how many seconds it takes at most."""


def fold(network: nn.Module, case: Case) -> nn.Module:
    """Return the network with each batch norm folded into the convolution before it."""
    fold_norms(network, case.structure.trace.norm)
    return case.compute.place(network)


def difference(expected: list[int], found: list[int]) -> str:
    """Say by how many hits two ways differ at most."""
    most = max(abs(one - other) for one, other in zip(expected, found, strict=True))
    return f"hits differ by {most} at most" if most else "equal hits"


def measure(case: Case, report: Report, wanted: list[str], until: float) -> None:
    """Go through the sections as far as the time goes."""
    for name in wanted:
        work, longest = SECTIONS[name]
        left = until - time.perf_counter()
        if left < min(20.0, longest):
            report.failures[name] = "no time left"
            report.write()
            continue
        begun = len(report.rows)
        try:
            with within(min(longest, left)):
                for row in work(case):
                    report.rows.append(row)
        except (Exception, TookTooLong) as error:  # whatever a section runs into, the others are measured
            report.failures[name] = told(error)
            (report.out / f"{name.replace(' ', '-')}.traceback.txt").write_text(traceback.format_exc())
        report.write()
        lines = report.table().splitlines()
        print("\n".join(lines[len(lines) - len(report.rows) + begun :]), flush=True)
        if name in report.failures:
            print(f"{name} failed: {report.failures[name]}", flush=True)


def main() -> None:
    """Measure section by section."""
    start = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="archive or folder of class folders; random images else")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=560, help="begin no section after so many")
    parser.add_argument("--sections", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("--device: torch finds no CUDA device here; --device cpu --small tries everything on few images")
    if given.data is not None and not given.data.exists():
        parser.error(f"--data: '{given.data}' is not there")
    given.out.mkdir(parents=True, exist_ok=True)
    sizes = Sizes.small_ones() if given.small else Sizes()
    with tempfile.TemporaryDirectory() as folder:
        images = given.data or random_images(Path(folder), 32)
        images = images if images.is_dir() else unpacked(images)
        case = Case(images / "train" if (images / "train").is_dir() else images, given.device, sizes)
        facts = {"network": case.described, **device_facts(given.device, small=given.small)}
        report = Report(given.out, facts)
        report.write()
        print(report.table(), flush=True)
        measure(case, report, given.sections, start + given.seconds)
    print(report.table() + f"\n{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
