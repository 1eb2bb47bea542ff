"""What scripts/gpu_engine.py finds: rows, written after each section, the device's peak, and the time a section has."""

from __future__ import annotations

import contextlib
import json
import math
import platform
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from blendsearch.files import atomic
from blendsearch.results.run_folder import versions


@dataclass(frozen=True)
class Row:
    """One thing measured: seconds a candidate, and what it computes, in multiply-accumulates.

    work: 0 for what runs no network. whole: whether it is all of an evaluation, to be compared with (a).
    """

    section: str
    name: str
    seconds: float
    work: float = 0.0
    note: str = ""
    whole: bool = False


def told(error: BaseException) -> str:
    """Return an error in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


class TookTooLong(BaseException):
    """A section was not done in its time; no part of it goes on."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Run a block for so long at most."""

    def stop(number: int, frame: object) -> None:
        raise TookTooLong(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Report:
    """What is known so far, written after each section."""

    def __init__(self, out: Path, facts: dict[str, Any]) -> None:
        self.out, self.facts = out, facts
        self.rows: list[Row] = []
        self.failures: dict[str, str] = {}

    def write(self) -> None:
        """Write both files."""
        rows = [{**asdict(row), "share_of_peak": self._share(row)} for row in self.rows]
        for row in rows:
            row["seconds"] = None if math.isnan(row["seconds"]) else row["seconds"]
        found = {**self.facts, "rows": rows, "failures": self.failures}
        with atomic(self.out / "results.json") as part:
            part.write_text(json.dumps(found, indent=1) + "\n")
        with atomic(self.out / "results.md") as part:
            part.write_text(self.table())

    def _share(self, row: Row) -> float:
        return 2 * row.work / row.seconds / self.facts["bfloat16_flops"] if row.work and row.seconds > 0 else 0.0

    def table(self) -> str:
        """Return everything as Markdown; (a) is what the last column compares with."""
        lines = [f"## {self.facts['device']}: candidates per second, {self.facts['network']}", ""]
        lines += [f"- {key}: {value}" for key, value in self.facts.items()]
        lines += [f"- {section} failed: {why}" for section, why in self.failures.items()]
        lines += [
            "",
            "| section | what | ms | per second | share of peak | (a) / this | |",
            "|---|---|---|---|---|---|---|",
        ]
        first = next((row.seconds for row in self.rows if row.name.startswith("(a)")), float("nan"))
        for row in self.rows:
            ratio = f"{first / row.seconds:.1f}" if row.whole and not math.isnan(first) else "-"
            share = f"{100 * self._share(row):.2f} %" if row.work else "-"
            numbers = f"{1000 * row.seconds:.3g} | {1 / row.seconds:.4g} | {share} | {ratio}"
            lines.append(f"| {row.section} | {row.name} | {numbers} | {row.note} |")
        return "\n".join(lines) + "\n"


def device_facts(device: str, *, small: bool) -> dict[str, Any]:
    """Return what the device is and what it reaches: bfloat16 matrix products (FLOPs a second), bytes a second."""
    cuda = device.startswith("cuda")
    size, length, turns = (256, 2**20, 3) if small else (8192, 2**28, 20)
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    numbers = torch.empty(length, device=device)

    def seconds(work: Callable[[], object]) -> float:
        for count in (3, turns):
            if cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(count):
                work()
            if cuda:
                torch.cuda.synchronize()
        return (time.perf_counter() - start) / turns

    products, copies = seconds(lambda: matrix @ matrix), seconds(numbers.clone)
    facts: dict[str, Any] = {"device": torch.cuda.get_device_name() if cuda else platform.processor() or "CPU"}
    if cuda:
        facts |= {"memory": torch.cuda.get_device_properties(0).total_memory, "cuda": torch.version.cuda}
        facts |= {"capability": list(torch.cuda.get_device_capability()), "cudnn": torch.backends.cudnn.version()}
    facts |= {"bfloat16_flops": 2 * size**3 / products, "bytes_a_second": 2 * numbers.nbytes / copies}
    return {**facts, "versions": versions()}
