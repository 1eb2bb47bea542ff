"""An export counts once it gave the network's outputs: in another runtime, or in a process without this package."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from blendsearch.campaigns.export import outside
from blendsearch.campaigns.export.subject import Subject
from blendsearch.errors import ExportError

TOLERANCE = 1e-3
"""The largest difference that is allowed, as a share of the largest output."""

PATIENCE = 600
"""Seconds that a process of its own is given."""

LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")

KEPT_OUT = "blendsearch is kept out of this process"


def compared(expected: Sequence[Tensor], found: Sequence[Tensor], what: str) -> tuple[float, float]:
    """Return the largest difference between outputs, and the largest output; ExportError beyond the tolerance."""
    for wanted, given in zip(expected, found, strict=True):
        if wanted.shape != given.shape:
            raise ExportError(f"{what} gives {tuple(given.shape)} where the network gives {tuple(wanted.shape)}")
        if not (wanted.isfinite().all() and given.isfinite().all()):
            raise ExportError(f"{what}: outputs that are not finite, its own or the network's, cannot be compared")
    difference = max(float((one - other).abs().max()) for one, other in zip(expected, found, strict=True))
    largest = max(float(one.abs().max()) for one in expected)
    if difference > TOLERANCE * max(largest, 1e-6):
        raise ExportError(
            f"{what} differs from the network by {difference:.2g} where the largest output is {largest:.2g}; allowed "
            f"{TOLERANCE:g} of that"
        )
    return difference, largest


def run_outside(subject: Subject, job: Mapping[str, Any], what: str, *, kept_out: bool = True) -> list[Tensor]:
    """Run an exported network on the trials in a process of its own; return its outputs.

    job: see outside.py. kept_out: whether this package cannot be imported there. Raises ExportError where it fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = {f"{number:03}": trial.contiguous() for number, trial in enumerate(subject.trials)}
        save_file(images, folder / "images.safetensors")
        files = {"images": str(folder / "images.safetensors"), "outputs": str(folder / "outputs.safetensors")}
        terms = {"kept_out": kept_out, "threads": torch.get_num_threads(), "paths": [os.getcwd()]}
        (folder / "job.json").write_text(json.dumps({**job, **files, **terms}))
        _run([sys.executable, outside.__file__, str(folder / "job.json")], what)
        outputs = load_file(folder / "outputs.safetensors")
    return [outputs[name] for name in images]


def _run(command: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise ExportError(f"{what} did not answer within {PATIENCE} seconds in a process of its own") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ExportError(f"{what} does not run in a process of its own ({said[:300]})")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep an exporter's notes from the terminal; what goes wrong is raised anyway."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
