"""Run folders of the right form and wrong content: whoever reads a file names it, and the key, in one line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from tiny_campaign import TINIER

from blendsearch.campaigns.audit.run import run_audit
from blendsearch.campaigns.compare import compare_runs
from blendsearch.campaigns.curves.run import run_curves
from blendsearch.campaigns.leaderboard.run import run_leaderboard
from blendsearch.campaigns.search.run import run_search
from blendsearch.campaigns.single import run_prune, run_train
from blendsearch.errors import BlendsearchError
from blendsearch.experiment.loading import open_network
from blendsearch.reports.report import write_report
from blendsearch.results.runs import read_search_run
from blendsearch.review.sessions import open_decision
from blendsearch.validation.board import checked_board_from_dict
from blendsearch.validation.space import checked_from_dict

WRONG = ({}, [], None, "x", 3)
SPACE = checked_from_dict({**TINIER, "allocation": "sensitivity", "retraining": {"epochs": 0.2, "seeds": 2}})
LATENCY = checked_from_dict({**TINIER, "budget": {"latency": 0.9}})
AUDIT = checked_from_dict(
    {
        **TINIER,
        "model": {"name": "conv4", "arguments": {"width": 16}},
        "criteria": ["l1", "taylor", "random"],
        "audit": {"plans": 6, "proxies": ["zero_shot", "bn_recalibrated"], "seeds": 2},
    }
)
CURVES = checked_from_dict({**TINIER, "curves": {"draws": 1, "samples_per_class": [2, 5]}})
BOARD = checked_board_from_dict(
    {
        "name": "board",
        "networks": [{key: TINIER[key] for key in ("name", "data", "model", "training")}],
        "criteria": ["l1"],
        "allocations": ["uniform", "sensitivity"],
        "retraining": {"epochs": 0.2, "seeds": 1},
        "compute": TINIER["compute"],
    }
)
JOBS = {
    "search": lambda folder, resume: run_search(SPACE, folder, resume),
    "prune": lambda folder, resume: run_prune(LATENCY, "l1", folder, resume),
    "train": lambda folder, resume: run_train(SPACE, folder, resume),
    "curves": lambda folder, resume: run_curves(CURVES, folder, resume),
    "audit": lambda folder, resume: run_audit(AUDIT, folder, resume),
    "board": lambda folder, resume: run_leaderboard(BOARD, folder, resume),
}
READERS = {
    "search": [
        read_search_run,
        lambda folder: compare_runs([folder, folder.with_name("search")]),
        open_network,
        lambda folder: open_network(folder, contender="l1"),
        open_decision,
    ],
    "prune": [open_network],
    "train": [open_network],
    "curves": [write_report],
    "audit": [write_report],
    "board": [write_report],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, without_report):
    """Return a function that makes a finished run of a job, once."""
    place = tmp_path_factory.mktemp("made")

    def make(job: str) -> Path:
        folder = place / job
        if not folder.exists():
            JOBS[job](folder, False)
        return folder

    return make


def files_of(folder: Path) -> list[Path]:
    """Return the JSON files below a folder, of several retrainings or cells the first."""
    alike: dict[object, Path] = {}
    for file in sorted(folder.rglob("*.json")):
        several = file.parent.name in ("retrained", "cells", "draws", "scores", "estimates")
        alike.setdefault(file.parent if several else file, file.relative_to(folder))
    return list(alike.values())


def with_file(folder: Path, name: Path, text: str) -> Path:
    """Return a copy of a run folder with one file replaced; the others are shared, where nothing writes into them."""

    def put(source: str, target: str) -> None:
        (shutil.copy2 if source.endswith((".db", ".jsonl")) else os.link)(source, target)

    copy = folder.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, copy_function=put)
    (copy / name).unlink()
    (copy / name).write_text(text)
    return copy


def told(read, folder: Path, name: Path) -> str | None:
    """Return the line in which a reader refuses a folder, None where it has no need of the file."""
    try:
        read(folder)
    except BlendsearchError as error:
        (line,) = str(error).splitlines()
        assert str(name) in line, line
        return line
    return None


@pytest.mark.parametrize("job", ["search", "prune", "train"])
def test_every_record_is_named_by_whoever_reads_it(made, job):
    folder = made(job)
    refused = set()
    for name in files_of(folder):
        for wrong in WRONG[:2]:
            copy = with_file(folder, name, json.dumps(wrong))
            refused |= {name for read in READERS[job] if told(read, copy, name)}
    expected = {"search": {"summary.json", "blend.json", "plan.json", "job.json", "space.json", "model.json"}}
    assert {Path(name) for name in expected.get(job, {"job.json", "space.json", "model.json"})} <= refused


@pytest.mark.slow
@pytest.mark.parametrize("job", list(JOBS))
def test_every_record_is_named_by_a_job_that_goes_on(made, job):
    folder = made(job)
    for name in files_of(folder):
        for wrong in WRONG:
            copy = with_file(folder, name, json.dumps(wrong))
            for read in (lambda place: JOBS[job](place, True), *READERS[job]):
                told(read, copy, name)


def test_the_states_of_parts_are_named(made):
    for job, name in (
        ("search", "records/allocation.json"),
        ("search", "records/search.json"),
        ("prune", "records/latency.json"),
        ("search", "records/baseline.json"),
    ):
        for wrong in ({}, [], None):
            copy = with_file(made(job), Path(name), json.dumps(wrong))
            line = told(lambda place, job=job: JOBS[job](place, True), copy, Path(name))
            assert line is not None, (name, wrong)


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        ("summary.json", {"criteria": 3}, "criteria: "),
        ("summary.json", {"seed": "many"}, "seed: "),
        ("job.json", {"job": ["search"]}, "job: "),
        ("model.json", {"shape": "large"}, "shape"),
        ("plan.json", {"groups": {"conv1": {"width": 8}}}, "'conv1'"),
        ("plan.json", {"schema": 7}, "schema 7 given"),
        ("space.json", {"budget": {"flops": float("nan")}}, "budget.flops"),
        ("blend.json", {"unit": "layers"}, "unit: "),
        ("records/test.json", {"baseline": float("nan")}, "baseline"),
    ],
)
def test_the_key_is_named(made, name, change, key):
    file = made("search") / name
    copy = with_file(made("search"), Path(name), json.dumps({**json.loads(file.read_text()), **change}))
    lines = [line for read in READERS["search"] if (line := told(read, copy, Path(name)))]
    assert lines
    assert all(key in line for line in lines)


@pytest.mark.parametrize("text", ["{", "", '{"a": 1e999999}', "[" * 100_000, '{"seed": ' + "9" * 6000 + "}", "\x00"])
def test_what_is_no_json_is_told(made, text):
    for name in ("summary.json", "job.json", "space.json"):
        assert told(open_network, with_file(made("train"), Path("job.json"), text), Path("job.json")), name


@pytest.mark.parametrize("text", ["a: &a [1]\nb: [*a", "- x", "!!python/object:os.system x", "? [1]\n: 2", ""])
def test_what_is_no_space_in_yaml_is_told(made, text):
    assert told(read_search_run, with_file(made("search"), Path("space.yaml"), text), Path("space.yaml"))


def test_weights_of_another_network_are_named(made):
    copy = with_file(made("train"), Path("job.json"), (made("train") / "job.json").read_text())
    (copy / "baseline.safetensors").unlink()
    shutil.copy(made("search") / "scores.safetensors", copy / "baseline.safetensors")
    for read in (open_network, lambda folder: JOBS["train"](folder, True)):
        assert "does not fit the" in (told(read, copy, Path("baseline.safetensors")) or "")
