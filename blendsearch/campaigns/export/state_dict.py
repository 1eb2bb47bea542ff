"""A folder for users of plain torch: state dict, plan, and apply_plan.py, which needs nothing of this package."""

from __future__ import annotations

import copy
import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blendsearch.campaigns.export import apply_plan
from blendsearch.campaigns.export.checking import KEPT_OUT, compared, run_outside
from blendsearch.campaigns.export.subject import Subject
from blendsearch.campaigns.export.written import Written
from blendsearch.errors import ExportError, first_line
from blendsearch.experiment.loading import WEIGHTS_FILE, plain_arguments
from blendsearch.experiment.saved import describe, save_pruned
from blendsearch.files import staged
from blendsearch.models.loading import builder_of
from blendsearch.structure.example import FAILURES

SNIPPET, PLAN = "apply_plan.py", "plan.json"
FILES = (WEIGHTS_FILE, PLAN, SNIPPET)
ZOO = "its class is in this package, blendsearch/models/zoo.py; where that is not installed, ship onnx or torch_export"


def write_state_dict(subject: Subject, folder: Path) -> Written:
    """Write the folder, and try its apply_plan.py on a fresh instance; ExportError where it gives other outputs."""
    expected = subject.outputs()
    with staged(folder) as place:
        put_files(subject, place)
        found, checked, note = _tried(subject, place)
        difference, largest = compared(expected, found, f"{folder}: the network that {SNIPPET} makes")
    return Written(
        files=tuple(folder / name for name in FILES),
        difference=difference,
        largest_output=largest,
        checked=checked,
        note=note,
    )


def put_files(subject: Subject, folder: Path) -> None:
    """Write weights, plan and snippet into a folder."""
    save_pruned(
        subject.network,
        subject.plan,
        folder / WEIGHTS_FILE,
        original=subject.whole,
        about=subject.about if subject.about.name else None,
        figures=subject.figures,
    )
    record = describe(subject.network, subject.plan).to_dict()
    groups = {"schema": 1, "groups": {}, **(record["plan"] or {})}
    plan = {**groups, "sizes": record["sizes"], "buffers": record["buffers"]}
    (folder / PLAN).write_text(json.dumps(plan) + "\n", encoding="utf-8")
    shutil.copyfile(apply_plan.__file__, folder / SNIPPET)


def _tried(subject: Subject, folder: Path) -> tuple[list[Tensor], str, str]:
    """Return the outputs of the network that the snippet makes, how it was tried, and what a user has to know."""
    if not subject.about.name:
        return _tried_here(subject, folder)
    build = recipe(subject)
    job, what = {"folder": str(folder), "build": build}, SNIPPET
    checked, note = "a fresh instance in a process without blendsearch", f"fresh instance: {words(build)}"
    if build["library"] == "zoo":
        return run_outside(subject, job, what, kept_out=False), "a fresh instance in a process of its own", ZOO
    try:
        return run_outside(subject, job, what), checked, note
    except ExportError as error:
        if KEPT_OUT not in str(error):
            raise
    found = run_outside(subject, job, what, kept_out=False)
    return found, "a fresh instance in a process of its own", f"{note}; its module imports blendsearch"


def _tried_here(subject: Subject, folder: Path) -> tuple[list[Tensor], str, str]:
    """Run the snippet on a copy of the unpruned instance, or without one on a copy of the network itself."""
    note = "" if subject.whole is not None else "not tried on an unpruned instance: give model= for that"
    apply: Callable[..., Any] = runpy.run_path(str(folder / SNIPPET))["apply_plan"]
    network = apply(copy.deepcopy(subject.whole or subject.network).cpu(), folder)
    with torch.no_grad():
        try:
            found = [network(images) for images in subject.trials]
        except FAILURES as error:
            raise ExportError(f"the network that {SNIPPET} makes does not run ({first_line(error)[:200]})") from None
    whose = "network itself" if subject.whole is None else f"{type(subject.whole).__name__} given"
    return found, f"a copy of the {whose}", note


def recipe(subject: Subject) -> dict[str, Any]:
    """Return how a fresh instance is built without this package: library, name, arguments; see outside.py."""
    about = subject.about
    assert about.shape is not None
    library, _, rest = about.name.partition(":")
    _, facts = builder_of(about.name, num_classes=len(about.classes), shape=about.shape)
    arguments = {**facts, **plain_arguments(about.arguments)}
    return {"library": library if rest else "zoo", "name": rest or library, "arguments": arguments}


def words(build: dict[str, Any]) -> str:
    """Return the line of Python that builds a fresh instance."""
    given = ", ".join(f"{name}={value!r}" for name, value in build["arguments"].items())
    if build["library"] == "torchvision":
        return f"torchvision.models.get_model({build['name']!r}, {given})"
    if build["library"] == "timm":
        return f"timm.create_model({build['name']!r}, {given})"
    return f"{build['library']}.{build['name']}({given})"
