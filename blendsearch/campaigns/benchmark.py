"""How long a network takes before and after pruning, by turns, in the runtimes that are installed."""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.campaigns.export.run import export
from blendsearch.campaigns.export.subject import read_subject
from blendsearch.compute import Compute, threads, without_autocast
from blendsearch.errors import BlendsearchError, ConfigError, ExportError, first_line, unknown_name
from blendsearch.experiment.latency import BATCHES, rounds_within
from blendsearch.progress import Progress, silent, tell
from blendsearch.reports.report import write_report
from blendsearch.results.records.search import LatencyPair
from blendsearch.results.run_folder import RunFolder
from blendsearch.results.runs import BENCHMARK

Run = Callable[[], Any]
COMPILED = "torch.compile"


@dataclass(frozen=True)
class Terms:
    """On what networks are timed: one batch, in so many threads (of a CPU)."""

    images: Tensor
    compute: Compute
    threads: int


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and runtime -> why it was not."""

    pairs: list[LatencyPair]
    left_out: dict[str, str]


def benchmark(
    network_or_run: Any,
    *,
    model: nn.Module | None = None,
    contender: str | None = None,
    example: Any = None,
    runtimes: Sequence[str] | None = None,
    batches: Sequence[int] = BATCHES,
    threads: int = 1,
    device: str | torch.device = "auto",
    trust_code: bool = False,
    progress: Progress = silent,
) -> Benchmark:
    """Measure the latency of the unpruned and of the pruned network side by side, as medians of rounds by turns.

    network_or_run, model, contender, example, trust_code: as in `blendsearch.export`; without a run folder, model is
    the unpruned network. runtimes: of "torch", "torch.compile" and "onnxruntime"; None takes those that are installed
    and can run the network. threads: of a CPU. What was measured on a run folder is kept there and shown by its report.
    Raises ConfigError for an unknown runtime or wrong numbers, and ExportError for one that was asked for and cannot
    run the network.
    """
    wanted = list(RUNTIMES) if runtimes is None else list(runtimes)
    for name in wanted:
        if name not in RUNTIMES:
            raise unknown_name("runtime", name, RUNTIMES, "runtimes")
    if threads < 1 or not batches or min(batches) < 1:
        raise ConfigError(f"threads, batches: {threads} and {list(batches)} given, allowed: whole numbers from 1")
    subject = read_subject(network_or_run, example, model, contender, dynamic=True, trust_code=trust_code)
    if subject.whole is None:
        raise BlendsearchError("model: not given; the unpruned network is timed beside the pruned one")
    pairs: list[LatencyPair] = []
    left_out: dict[str, str] = {}
    steps = [(name, count) for name in wanted for count in batches]
    with _kept_in(network_or_run, contender, progress) as folder:
        for done, (name, count) in enumerate(steps):
            if name in left_out:
                continue
            progress("benchmark", done, len(steps), f"{name}, batch of {count}")
            images = subject.example[torch.arange(count) % len(subject.example)]
            terms = Terms(images, Compute.here(device), threads)
            try:
                pairs.append(_pair(name, subject.whole, subject.network, terms))
            except BlendsearchError as error:
                if runtimes is not None:
                    raise
                left_out[name] = str(error)
        progress("benchmark", len(steps), len(steps), "")
        if folder is not None and pairs:
            _keep(folder, pairs, progress)
    return Benchmark(pairs, left_out)


@contextlib.contextmanager
def _kept_in(given: Any, contender: str | None, progress: Progress) -> Iterator[RunFolder | None]:
    """Hold the folder of a finished search whose shipped network is measured; None where nothing is or can be kept.

    From before the measurement on: what cannot be kept in the end need not be measured.
    """
    source = getattr(given, "run_dir", given)
    if contender is None and isinstance(source, str | Path) and Path(source).expanduser().is_dir():
        folder = RunFolder(Path(source).expanduser())
        if folder.has("job.json") and folder.job == "search" and folder.has("summary.json"):
            if os.access(folder.path, os.W_OK):
                with folder.locked():
                    yield folder
                return
            tell(progress, f"{folder.path}: cannot be written, so what is measured is not kept in its report")
    yield None


def _keep(folder: RunFolder, pairs: Sequence[LatencyPair], progress: Progress) -> None:
    """Add what was measured on the network that a search ships to what is known of it, and write its report anew."""
    before = folder.read_record(BENCHMARK, list[LatencyPair]) if folder.has(BENCHMARK) else []
    known = {(one.runtime, one.device, one.threads, one.images): one for one in (*before, *pairs)}
    folder.write_record(BENCHMARK, list(known.values()), list[LatencyPair])
    write_report(folder.path, progress)


def _pair(runtime: str, whole: nn.Module, pruned: nn.Module, terms: Terms) -> LatencyPair:
    if runtime == COMPILED:
        torch.compiler.reset()  # what was compiled for earlier pairs counts towards the limit of recompilations
    with threads(terms.threads), without_autocast(), torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        runs = [
            RUNTIMES[runtime](network, terms, Path(folder) / f"{at}.onnx") for at, network in enumerate((whole, pruned))
        ]
        unpruned, own = _by_turns(runs, terms.compute)
    return LatencyPair(
        runtime=runtime,
        device="cpu" if runtime == "onnxruntime" else terms.compute.device,
        threads=terms.threads,
        images=len(terms.images),
        unpruned_ms=round(unpruned * 1e3, 4),
        shipped_ms=round(own * 1e3, 4),
    )


def _by_turns(runs: Sequence[Run], compute: Compute) -> list[float]:
    """Return the median seconds of each run; a first round, in which much is set up, does not count."""

    def once() -> list[float]:
        return [_seconds(run, compute) for run in runs]

    once()
    first = once()
    times = [first, *(once() for _ in range(rounds_within(sum(first)) - 1))]
    return [median(column) for column in zip(*times, strict=True)]


def _seconds(run: Run, compute: Compute) -> float:
    start = time.perf_counter()
    run()
    if compute.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _in_torch(network: nn.Module, terms: Terms, file: Path) -> Run:
    placed, images = terms.compute.place(copy.deepcopy(network)).eval(), terms.compute.images(terms.images)
    return lambda: placed(images)


def _compiled(network: nn.Module, terms: Terms, file: Path) -> Run:
    run = torch.compile(terms.compute.place(copy.deepcopy(network)).eval(), dynamic=False)
    images = terms.compute.images(terms.images)
    try:
        # At its limit of recompilations torch goes on uncompiled; torch 2.6 knows this setting by this name alone.
        with torch._dynamo.config.patch(fail_on_cache_limit_hit=True):
            run(images)
    except Exception as error:  # no compiler, an operator that it does not know, that limit, ...
        reason = f"{type(error).__name__}: {first_line(error)[:150]}"
        raise ExportError(f"torch.compile does not compile {type(network).__name__} ({reason})") from None
    return lambda: run(images)


def _in_onnxruntime(network: nn.Module, terms: Terms, file: Path) -> Run:
    if find_spec("onnxruntime") is None:
        raise ExportError("onnxruntime is not installed; install blendsearch[export]")
    with torch.inference_mode(False):
        export(network, file, to="onnx", example=terms.images.clone(), dynamic_batch=False)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, terms.threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: terms.images.numpy()}
    return lambda: session.run(None, given)


RUNTIMES: dict[str, Callable[[nn.Module, Terms, Path], Run]] = {
    "torch": _in_torch,
    COMPILED: _compiled,
    "onnxruntime": _in_onnxruntime,
}
