"""Where every job begins: what can be known to be wrong is told, then its folder is opened, or found again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blendsearch.compute import Compute, threads
from blendsearch.errors import DataError, RunError
from blendsearch.experiment.description import MODEL, describe_network
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.scoring import check_criteria
from blendsearch.experiment.source import code_of_network
from blendsearch.files import content_digest
from blendsearch.progress import tell
from blendsearch.results.records.common import JobRecord
from blendsearch.results.run_folder import (
    RunFolder,
    check_same_job,
    choose_folder,
    note_skipped,
    note_space,
)

SLOW = 2.0
"""How many times as long as float32 a number format must take for it to be remarked on."""


def check_before_work(experiment: Experiment) -> None:
    """Raise what can be known to be wrong before any work: data, network, budget, ratings, criteria.

    To be called before a job makes its folder, so that a job which cannot begin leaves none behind. Then the space has
    the numbers that it left to the data.
    """
    _ = experiment.splits, experiment.search_parts, experiment.structure
    _ = experiment.compensation, experiment.reconstruction
    check_criteria(experiment)
    if not experiment.splits.labelled and experiment.space.training.epochs:
        given = experiment.space.training.epochs
        raise DataError(f"training.epochs: {given:g} given, but the images have no labels to train on (allowed 0)")
    experiment.settle()


@contextlib.contextmanager
def open_run(
    experiment: Experiment,
    job: str,
    *,
    name: str,
    run_dir: Path | None,
    resume: bool,
    may_differ: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
    check: Callable[[RunFolder], None] = lambda folder: None,
) -> Iterator[Experiment]:
    """Open the folder of a job, new or, to resume, as it was left; yield the experiment in it, others kept out.

    name: of a new folder below runs/. may_differ: keys of the space that a resumed run may have changed. facts: what
    else decides the job, kept in job.json. check: raises what else speaks against going on in a folder. Raises
    BlendsearchError before the folder is made, RunError for a folder of another job or space.

    All work of the block runs on the space's number of threads, as that of worker processes does: in which order
    floating-point numbers are added depends on it, and with that the results.
    """
    if resume:
        choose_folder(run_dir, name, resume)  # that there is nothing to resume is told before the data are read
    check_before_work(experiment)
    folder = choose_folder(run_dir, name, resume)
    with folder.locked(), threads(experiment.space.compute.threads):
        check_same_job(folder, job)
        experiment.check_same(folder, may_differ)
        check(folder)
        code = code_of_network(experiment.space.model.name, experiment)
        _check_same_code(folder, experiment.space.model.name, code)
        note_space(folder, job, experiment.space, {**(facts or {}), **code, **_weights_at_start(folder, experiment)})
        folder.write_record(MODEL, describe_network(experiment))
        note_skipped(folder, experiment.splits.skipped)
        for note in notes_on_precision(experiment.compute):
            tell(experiment.progress, note)
            folder.event("note", text=note)
        yield experiment.at(folder)


def _weights_at_start(folder: RunFolder, experiment: Experiment) -> dict[str, str]:
    """Return "weights" -> the digest of the file that the space's network began from, where there is one."""
    if folder.has("job.json"):
        begun = folder.read_record("job.json", JobRecord).weights
        return {} if begun is None else {"weights": begun}
    file = experiment.space.model.weights
    return {"weights": content_digest(Path(file))} if file is not None and Path(file).is_file() else {}


def _check_same_code(folder: RunFolder, name: str, code: Mapping[str, str]) -> None:
    """Raise RunError where a folder was begun with other code of one's own network; earlier versions noted none."""
    begun = folder.read_record("job.json", JobRecord).code if folder.has("job.json") else None
    if begun is not None and code and begun != code["code"]:
        raise RunError(
            f"{folder.path}: was made with other code of {name} than there is now; undo what was changed of it, or "
            "choose another --run-dir"
        )


def notes_on_precision(compute: Compute, advice: str = "compute.precision=auto takes what is faster") -> list[str]:
    """Return a sentence where the processor is much slower in a number format than in float32; advice: how it ends."""
    times = compute.slowdown
    if times < SLOW:
        return []
    return [
        f"compute.precision is bfloat16, which this processor only emulates: a convolution takes {times:.0f} times as "
        f"long as in float32; {advice}"
    ]
