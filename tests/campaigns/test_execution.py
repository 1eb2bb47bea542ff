"""Campaigns on other engines: all their work goes there, and what comes of it is what comes of it here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_campaign import TINIER, tiny_space

from blendsearch.campaigns.audit.run import run_audit
from blendsearch.campaigns.curves.run import run_curves
from blendsearch.campaigns.inspection import inspect
from blendsearch.campaigns.leaderboard.run import run_leaderboard
from blendsearch.campaigns.search.run import run_search
from blendsearch.errors import RunError, WorkerError
from blendsearch.evolution.engines import connecting
from blendsearch.experiment import experiment as module
from blendsearch.experiment.retraining import RetrainingSetup
from blendsearch.results.run_folder import FolderMark, RunFolder, check_same_space, checkpoint_at
from blendsearch.validation.board import checked_board_from_dict
from blendsearch.validation.space import checked_from_dict

pytestmark = pytest.mark.usefixtures("without_report")

BOARD = {
    "name": "board",
    "networks": [{key: TINIER[key] for key in ("name", "data", "model", "training")}],
    "criteria": ["l1", "taylor"],
    "retraining": TINIER["retraining"],
    "compute": TINIER["compute"],
}
RECORDS = ("evolution", "finals", "rivals", "control", "groups")
ELSEWHERE = {"compute": {"device": "cpu"}}


class Noting:
    """An engine that does all in this process, and notes which functions it was given."""

    nearby, workers = False, 1

    def __init__(self):
        self.functions = set()

    def run(self, work, items):
        self.functions.add(work.function.function.__name__)  # what is guarded
        for position, item in items.items():
            yield position, work.function(work.state, item)


def of_space(**changes):
    return checked_from_dict({**TINIER, **changes})


JOBS = [
    (run_search, lambda: tiny_space({"finals": {"candidates": 3, "rungs": [0.4, 1.0]}})),
    (run_audit, lambda: tiny_space(audit={"plans": 6, "proxies": ["zero_shot"], "seeds": 2})),
    (run_curves, lambda: of_space(curves={"samples_per_class": [1], "removed": [0.3], "draws": 1})),
    (run_leaderboard, lambda: checked_board_from_dict(BOARD)),
]


@pytest.mark.slow
def test_all_that_is_done_side_by_side_goes_to_the_engine(tmp_path, monkeypatch):
    engine = Noting()
    monkeypatch.setattr(module, "make_engine", lambda *given: engine)
    found = {}
    for job, settings in JOBS:
        engine.functions = set()
        job(settings(), tmp_path / job.__name__)
        found[job.__name__] = engine.functions
    assert found == {
        "run_search": {"_estimate", "train_for_rung", "retrain"},
        "run_audit": {"_estimate", "retrain"},
        "run_curves": {"measure_draw"},
        "run_leaderboard": {"retrain_cell"},
    }


@pytest.mark.parametrize(("job", "settings"), JOBS)
def test_where_nobody_answers_nothing_is_written(job, settings, tmp_path, monkeypatch):
    def refuse(*given):
        raise WorkerError("execution.address: nobody")

    monkeypatch.setattr(module, "make_engine", refuse)
    with pytest.raises(WorkerError, match="nobody"):
        job(settings(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_look_at_a_space_says_where_and_starts_nothing(monkeypatch):
    monkeypatch.setattr(module, "make_engine", None)
    far = of_space(**ELSEWHERE, execution={"engine": "dask", "address": "tcp://far:8786"})
    assert inspect(far).counted[0] == "execution: Dask at tcp://far:8786, all workers that are there; times are for one"
    known = of_space(**ELSEWHERE, execution={"engine": "ray", "address": "far:6379", "workers": 7})
    assert inspect(known).counted[:2][0] == "execution: Ray at far:6379"
    assert "7 workers" in inspect(known).counted[1]
    assert not any(line.startswith("execution") for line in inspect(of_space()).counted)


def test_a_run_may_go_on_elsewhere(tmp_path):
    folder, here = RunFolder(tmp_path), of_space().to_dict()
    older = {key: value for key, value in here.items() if key != "execution"}  # of a version without engines
    folder.write_json("space.json", older)
    there = of_space(**ELSEWHERE, execution={"engine": "dask", "workers": 1}).to_dict()
    check_same_space(folder, there)
    folder.write_json("space.json", there)
    check_same_space(folder, here)
    with pytest.raises(RunError, match=r"differing: compute\.threads"):
        check_same_space(folder, {**here, "compute": {**here["compute"], "threads": 2}})


def test_checkpoints_are_kept_where_the_run_folder_is_seen_alone(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.event("started", seed=0)
    mark = FolderMark.of(folder)
    assert checkpoint_at(folder / "checkpoints/a.pt", mark) is not None
    folder.event("resumed", seed=0)
    assert mark.seen
    shutil.rmtree(folder.path)  # as on a machine that has no such folder
    assert checkpoint_at(folder / "checkpoints/a.pt", mark) is None
    folder.event("started", seed=1)  # or that of another run
    assert checkpoint_at(folder / "checkpoints/a.pt", mark) is None
    assert "mark" in RetrainingSetup.__dataclass_fields__


def timeless(record):
    if isinstance(record, dict):
        return {key: timeless(value) for key, value in record.items() if key not in ("seconds", "latency_ms")}
    return [timeless(value) for value in record] if isinstance(record, list) else record


def results(folder: Path) -> dict[str, object]:
    """Return all of a run that is no time: records as data, networks and blends as bytes."""
    names = [folder / f"records/{name}.json" for name in RECORDS]
    names += sorted((folder / "records/retrained").iterdir())
    found = {str(file.relative_to(folder)): timeless(json.loads(file.read_text())) for file in names if file.exists()}
    for file in [*sorted((folder / "networks").iterdir()), folder / "network.safetensors", folder / "blend-plan.json"]:
        found[str(file.relative_to(folder))] = file.read_bytes()
    return found


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return results(run_search(tiny_space(), tmp_path_factory.mktemp("here") / "run").run_dir)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_campaign_comes_to_the_same_bit_for_bit(engine, here, tmp_path):
    pytest.importorskip(connecting.PACKAGES[engine])
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(connecting, "resolve_workers", lambda *given: 2)  # whatever the machine has
            space = tiny_space(**ELSEWHERE, execution={"engine": engine})
            there = run_search(space, tmp_path / "run").run_dir
    finally:
        connecting.leave_all()
    found = results(there)
    assert len(found) > 10
    assert found == here
    # Begun there, gone on with here: what is missing is done again, as it was.
    for file in list((there / "records/retrained").iterdir())[::2]:
        file.unlink()
    (there / "summary.json").unlink()
    assert results(run_search(tiny_space(), there, resume=True).run_dir) == here
