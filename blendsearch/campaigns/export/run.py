"""From a run, a file or a network to what is shipped, tried before it is called done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from blendsearch.campaigns.export.checking import TOLERANCE
from blendsearch.campaigns.export.huggingface import HUB_FILES, write_huggingface
from blendsearch.campaigns.export.onnx_file import write_onnx
from blendsearch.campaigns.export.program import write_program
from blendsearch.campaigns.export.state_dict import FILES, write_state_dict
from blendsearch.campaigns.export.subject import Subject, read_subject
from blendsearch.campaigns.export.written import Written
from blendsearch.errors import ExportError, unknown_name
from blendsearch.files import in_the_way
from blendsearch.progress import Progress, silent
from blendsearch.results.records.shipping import ExportRecord


@dataclass(frozen=True)
class Format:
    """A form to ship a network in; suffix: of its file, "" for a folder with `files`."""

    write: Callable[[Subject, Path], Written]
    suffix: str = ""
    files: tuple[str, ...] = ()


FORMATS = {
    "onnx": Format(write_onnx, ".onnx"),
    "torch_export": Format(write_program, ".pt2"),
    "state_dict": Format(write_state_dict, files=FILES),
    "huggingface": Format(write_huggingface, files=HUB_FILES),
}


def export(
    network_or_run: Any,
    path: str | Path | None = None,
    *,
    to: str = "onnx",
    example: Any = None,
    dynamic_batch: bool = True,
    model: nn.Module | None = None,
    contender: str | None = None,
    trust_code: bool = False,
    progress: Progress = silent,
) -> ExportRecord:
    """Write a network in a form to ship, try it there, and return what came of it.

    network_or_run: a run folder, a file of a saved network, what `prune` or `search` returned, or any network.
    path: the file (onnx, torch_export) or folder (state_dict, huggingface); None puts it into `exported` in the run
    folder, or beside the file. example: a batch [N, C, H, W] as the network takes them, on which it is tried too;
    needed where the size of the images is not known. dynamic_batch: whether any number of images goes in, or the
    example's (without one: 1). model, contender, trust_code: as in `load`; for a network alone, model is the unpruned
    instance on which apply_plan.py is tried. progress: called with (task, done, total, detail) as the work goes on.
    Raises ExportError where the outputs differ by more than 0.1 % of the largest, and other BlendsearchError subclasses
    in one line for what cannot be exported or is not installed.
    """
    if to not in FORMATS:
        raise unknown_name("format", to, FORMATS, "to")
    begun, form = time.perf_counter(), FORMATS[to]
    progress("export", 0, 2, "reading the network")
    subject = read_subject(network_or_run, example, model, contender, dynamic=dynamic_batch, trust_code=trust_code)
    target = _target(network_or_run, path, to, subject.name)
    progress("export", 1, 2, f"writing and trying {to}")
    written = form.write(subject, target)
    progress("export", 2, 2, "")
    return ExportRecord(
        path=str(target),
        format=to,
        difference=written.difference,
        largest_output=written.largest_output,
        tolerance=TOLERANCE,
        batches=tuple(len(images) for images in subject.trials),
        dynamic_batch=dynamic_batch,
        checked=written.checked,
        bytes=sum(file.stat().st_size for file in written.files),
        seconds=round(time.perf_counter() - begun, 2),
        opset=written.opset,
        note=written.note,
    )


def _target(given: Any, path: str | Path | None, to: str, name: str) -> Path:
    """Return the file or folder to write; ExportError where that cannot be."""
    suffix = FORMATS[to].suffix
    source = getattr(given, "run_dir", given)
    if path is None:
        if not isinstance(source, str | Path):
            raise ExportError("path: not given; a network that is no run needs a file or folder to go to")
        place = Path(source).expanduser()
        folder = place / "exported" if place.is_dir() else place.parent
        target = folder / (f"{name}{suffix}" if suffix else f"{name}-{to}").replace(" ", "_")
    else:
        target = Path(path).expanduser()
    if suffix and target.suffix != suffix:
        raise ExportError(f"path: '{target}' given for {to}, allowed: a file that ends in {suffix}")
    if not suffix and target.is_file():
        raise ExportError(f"path: '{target}' is a file, {to} needs a folder")
    if suffix and target.is_dir():
        raise ExportError(f"path: '{target}' is a folder, {to} needs a file")
    if (file := in_the_way(target.parent)) is not None:
        raise ExportError(f"path: '{target}' given, but '{file}' is a file; allowed: a path in a folder")
    if not suffix:
        _check_ours(target, FORMATS[to].files)
    return target


def _check_ours(folder: Path, files: Sequence[str]) -> None:
    """Raise ExportError where files of a run, or such as no export wrote, would be replaced.

    Those of an earlier export are there all together.
    """
    run = next((name for name in ("job.json", "space.json") if (folder / name).exists()), None)
    if run is not None:
        raise ExportError(
            f"path: '{folder}' is a run folder ({run}), allowed: one of its own, such as '{folder / 'exported'}'"
        )
    there = {name for form in FORMATS.values() for name in form.files if (folder / name).exists()}
    ours = {name for form in FORMATS.values() if there.issuperset(form.files) for name in form.files}
    foreign = sorted(there.intersection(files) - ours)
    if foreign:
        raise ExportError(
            f"path: '{folder}' has files that no export wrote ({', '.join(foreign)}), allowed: a folder without them"
        )
