"""A torch.export program: graph and weights in one .pt2 file, which runs where only torch is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from blendsearch.campaigns.export.checking import compared, quiet, run_outside
from blendsearch.campaigns.export.subject import Subject
from blendsearch.campaigns.export.written import Written
from blendsearch.errors import ExportError, first_line
from blendsearch.files import staged


def write_program(subject: Subject, path: Path) -> Written:
    """Write the network as a torch.export program, and run it in a process that cannot import this package.

    Raises ExportError where the network cannot be exported or the program gives other outputs.
    """
    expected = subject.outputs()
    with staged(path.parent) as folder:
        file = folder / path.name
        with quiet():
            try:
                program = torch.export.export(
                    subject.network, (subject.example,), dynamic_shapes=dynamic_shapes(subject), strict=False
                )
                torch.export.save(program, file, extra_files={"blendsearch.json": json.dumps(subject.about.to_dict())})
            except Exception as error:  # whatever an exporter raises
                raise ExportError(why_not(subject, "torch_export", error)) from None
        what = f"{path}: the program"
        difference, largest = compared(expected, run_outside(subject, {"program": str(file)}, what), what)
    return Written(
        files=(path,),
        difference=difference,
        largest_output=largest,
        checked=f"torch {torch.__version__} in a process without blendsearch",
    )


def dynamic_shapes(subject: Subject) -> tuple[dict[int, Any]] | None:
    """Return what torch.export is told of the batch's size: that it varies, or nothing."""
    return ({0: torch.export.Dim("batch")},) if subject.dynamic else None


def why_not(subject: Subject, form: str, error: Exception) -> str:
    """Return in a line why a network cannot be exported, and what may help."""
    kind = type(subject.network).__name__
    hint = "; try a fixed batch (--batch fixed, dynamic_batch=False)" if subject.dynamic else ""
    return f"export: {kind} cannot be written as {form} ({type(error).__name__}: {first_line(error)[:200]}){hint}"
